"""The made-up training set: texts that try to take a model over, and texts that do not, in English and Chinese.

The productions are in `words_en` and `words_zh`. Some of them are never trained on: thresholds are chosen on texts of
those, so that a number says something of wordings that the model has not seen. What stands there twice is drawn twice
as often.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final, Literal

from weir.release.hashing import sha256_text
from weir_training.base.dialogues import dialogues
from weir_training.classifier import words_en, words_zh
from weir_training.classifier.grammar import Table, drawn, table
from weir_training.classifier.rows import Labelled

Part = Literal["train", "validation"]
LABELS: Final = ("benign", "injection")
_VALIDATION_OF_16: Final = 3  # sixteenths of the productions
_SHOP_SHARE: Final = 0.2  # of benign texts, from the dialogues of the built-in base


@dataclass(frozen=True, slots=True)
class _Language:
    slots: Table
    injection: dict[Part, tuple[str, ...]]
    benign: dict[Part, tuple[str, ...]]
    join: Sequence[str]


def made(count: int, part: Part, *, seed: int) -> Iterator[Labelled]:
    """Yield `count` rows, half of them injections; the same seed gives the same ones. No production is in two parts."""
    rng = Random(f"{seed} {part}")  # noqa: S311 - reproducible, not secret
    shop = _shop_questions(count // 4, part, seed)
    for number in range(count):
        language = _language("en" if number % 4 < 2 else "zh")
        if number % 2:
            yield Labelled(_spoilt(rng, _injection(rng, language, part)), is_sought=True)
        else:
            yield Labelled(_spoilt(rng, _benign(rng, language, part, shop)), is_sought=False)


def _injection(rng: Random, language: _Language, part: Part) -> str:
    """An attempt alone, or with harmless text around it."""
    text = drawn(rng, rng.choice(language.injection[part]), language.slots)
    shape = rng.random()
    if shape < 0.5:
        return text
    if shape < 0.6:
        return text + _joint(rng, language) + drawn(rng, rng.choice(language.injection[part]), language.slots)
    before = _harmless(rng, language, part, rng.randint(1, 3))
    if shape < 0.8:
        return before + _joint(rng, language) + text
    after = _harmless(rng, language, part, rng.randint(1, 3))
    if shape < 0.9:
        return text + _joint(rng, language) + after
    return before + _joint(rng, language) + text + _joint(rng, language) + after


def _benign(rng: Random, language: _Language, part: Part, shop: Sequence[str]) -> str:
    if shop and rng.random() < _SHOP_SHARE:
        return rng.choice(shop)
    return _harmless(rng, language, part, 1 if rng.random() < 0.6 else rng.randint(2, 6))


def _harmless(rng: Random, language: _Language, part: Part, sentences: int) -> str:
    parts = [drawn(rng, rng.choice(language.benign[part]), language.slots) for _ in range(sentences)]
    return _joint(rng, language).join(parts)


def _joint(rng: Random, language: _Language) -> str:
    return rng.choice(language.join)


def _spoilt(rng: Random, text: str) -> str:
    """Write it as people do: now and then shouting, careless at the end, or with a slip of the finger."""
    kind = rng.random()
    if kind < 0.25:
        text = text.rstrip(".。!！") + rng.choice(("", ".", "!", "。", "！", "?", "...", " please", " thanks", "谢谢"))
    elif kind < 0.35:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(("", text[at] * 2, " ")) + text[at + 1 :]
    elif kind < 0.4:
        text = text.replace(",", "").replace("，", " ").replace(".", "").replace("。", " ")
    elif kind < 0.45:
        text = rng.choice(("Hi, ", "Hello! ", "Q: ", "> ", "- ", "“", "你好，", "请问，", "# ", '"')) + text
    return text or "."


@cache
def _language(name: Literal["en", "zh"]) -> _Language:
    words = words_en if name == "en" else words_zh
    joints = (". ", ". ", "\n", "\n\n", " ", "; ", ", then ") if name == "en" else ("。", "。", "\n", "，", "；", "！")
    return _Language(
        slots=table(words.SLOTS, words.MORE_SLOTS),
        injection=_parted(table(words.INJECTION)),
        benign=_parted(table(words.BENIGN)),
        join=joints,
    )


def _parted(families: dict[str, tuple[str, ...]]) -> dict[Part, tuple[str, ...]]:
    """Withhold productions of every family for validation, by their hash: adding one moves no other."""
    every = [production for productions in families.values() for production in productions]
    withheld = {text for text in every if int(sha256_text(text)[:2], 16) % 16 < _VALIDATION_OF_16}
    is_in: dict[Part, Callable[[str], bool]] = {
        "train": lambda text: text not in withheld,
        "validation": lambda text: text in withheld,
    }
    return {part: tuple(filter(holds, every)) for part, holds in is_in.items()}


def _shop_questions(count: int, part: Part, seed: int) -> list[str]:
    """Customers' questions, from different seeds for the two parts."""
    drawn_from = dialogues(count, seed=2 * seed + (part == "validation"))
    return [text for dialogue in drawn_from for role, text in dialogue[:1] if role == "user" and text.strip()]
