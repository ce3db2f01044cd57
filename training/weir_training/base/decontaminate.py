"""Keep the demo out of the base: no dialogue may hold an answer or a question of the examples."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weir_training.base.dialogues import Dialogue
from weir_training.base.phrases import phrases

_NOT_WORD = re.compile(r"[\W_]+")
_LEAST_CONTAINED_BYTES = 18  # six Chinese characters or eighteen letters; shorter questions are everyday phrases
_NEAR_DUPLICATE = 0.75


@dataclass(slots=True)
class Demo:
    """The questions and answers a base must not have seen, normalised."""

    questions: frozenset[str]
    answers: frozenset[str]
    removed: Counter[str] = field(default_factory=Counter)
    _index: Mapping[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        index = defaultdict(list)
        for question in sorted(self.questions):
            for pair in _pairs(question):
                index[pair].append(question)
        self._index = index

    def clean(self, dialogues: Iterable[Dialogue]) -> list[Dialogue]:
        """Return the dialogues that hold nothing of the demo; count the others by reason in `removed`."""
        kept = []
        for dialogue in dialogues:
            reason = self.reason_to_remove(dialogue)
            if reason is None:
                kept.append(dialogue)
            else:
                self.removed[reason] += 1
        return kept

    def reason_to_remove(self, dialogue: Dialogue) -> str | None:
        """Return "answer", "question", "contained_question" or "near_question"; None if the dialogue is clean."""
        for role, content in dialogue:
            text = normalised(content)
            if any(answer in text for answer in self.answers):
                return "answer"
            if role == "user" and (reason := self._question_reason(text)):
                return reason
        return None

    def _question_reason(self, text: str) -> str | None:
        text = without_courtesy(text)
        if text in self.questions:
            return "question"
        if any(len(known.encode()) >= _LEAST_CONTAINED_BYTES and known in text for known in self.questions):
            return "contained_question"
        return "near_question" if self._resembles_a_question(text) else None

    def _resembles_a_question(self, text: str) -> bool:
        pairs = _pairs(text)
        shared = Counter(known for pair in pairs for known in self._index.get(pair, ()))
        return any(
            count / (len(pairs) + len(_pairs(known)) - count) >= _NEAR_DUPLICATE for known, count in shared.items()
        )


def read_demo(paths: Iterable[Path]) -> Demo:
    """Collect what the example files ask and answer."""
    questions, answers = set(), set()
    for path in paths:
        for line in path.read_text(encoding="utf-8").splitlines():
            for message in json.loads(line)["messages"]:
                text = normalised(message["content"])
                if message["role"] == "assistant":
                    answers.add(text)
                elif message["role"] == "user":
                    questions.add(without_courtesy(text))
    return Demo(frozenset(questions), frozenset(answers))


def normalised(text: str) -> str:
    """Return the letters, digits and characters of `text`, in lower case."""
    return _NOT_WORD.sub("", text).lower()


def without_courtesy(text: str) -> str:
    """Strip the greetings and thanks the dialogue maker adds from a normalised question."""
    while (shorter := _without_affixes(text)) != text:
        text = shorter
    return text


def _without_affixes(text: str) -> str:
    for affix in _COURTESIES:
        if len(text) > len(affix):
            text = text.removeprefix(affix)
        if len(text) > len(affix):
            text = text.removesuffix(affix)
    return text


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[at : at + 2] for at in range(len(text) - 1))


def _courtesies() -> tuple[str, ...]:
    affixes = {
        normalised(affix)
        for language in ("zh", "en")
        for affix in (*phrases(language).prefixes, *phrases(language).suffixes)
    }
    return tuple(sorted(affixes - {""}, key=lambda affix: (-len(affix), affix)))


_COURTESIES = _courtesies()
