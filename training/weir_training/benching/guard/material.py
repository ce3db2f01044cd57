"""Texts and terms that all guards are given: ordinary Chinese and English, and 10,000 terms that are not in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from random import Random
from typing import Final

from weir_training.base.dialogues import dialogues
from weir_training.benching.guard.patterns import PLANTS

LANGUAGES: Final = ("zh", "en", "mixed")
_STARTS: Final = tuple("b c d f g h j k l m n p r s t v w z br st tr pl gr sh".split())  # noqa: SIM905
_ENDS: Final = tuple("a e i o u an en in ar or ist ing".split())  # noqa: SIM905
_PASSAGE_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Text:
    """`size` in bytes of UTF-8. `kind`: `benign`, or `hits` with six finds planted in it."""

    language: str
    size: int
    kind: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.language} {self.size // 1024} KB {self.kind}"


@cache
def running(language: str) -> str:
    """Return much ordinary text: made-up dialogues in Chinese, the Python language reference in English."""
    if language == "en":
        topics: dict[str, str] = import_module("pydoc_data.topics").topics
        return "\n".join(topics[name] for name in sorted(topics))
    said = (turn for dialogue in dialogues(12_000, seed=11) for pair in dialogue for turn in pair)
    return "".join(turn for turn in said if sum("\u4e00" <= one <= "\u9fff" for one in turn) * 2 > len(turn))


def texts(sizes: Sequence[int], terms: Sequence[str]) -> Iterator[Text]:
    """Yield each language and size, plain and with three of `terms` and three values that patterns look for."""
    for language in LANGUAGES:
        for size in sizes:
            plain = _cut(_mixed(language, size), size)
            yield Text(language, size, "benign", plain)
            rng = Random(size)  # noqa: S311  reproducible, not secret
            yield Text(language, size, "hits", _planted(rng, plain, [*rng.sample(terms, 3), *rng.sample(PLANTS, 3)]))


def terms(count: int = 10_000) -> tuple[str, ...]:
    """Return terms, half Chinese, half Latin, that the running texts do not hold.

    They begin as ordinary text does (that is what makes a stream wait): joined from two pieces of it.
    """
    rng = Random(2)  # noqa: S311  reproducible, not secret
    known = (running("zh") + running("en")).lower()
    known = f"{known}\0{''.join(filter(str.isalnum, known))}"  # nor with something between their letters
    words = sorted({word for word in running("en").lower().split() if word.isascii() and word.isalpha()})
    chinese = [one for one in running("zh") if "\u4e00" <= one <= "\u9fff"]
    found: dict[str, None] = {}
    while len(found) < count:
        term = _chinese(rng, chinese) if len(found) % 2 else _latin(rng, words)
        if term not in known:
            found[term] = None
    return tuple(found)


def _chinese(rng: Random, characters: Sequence[str]) -> str:
    """Return three to six characters: shorter terms are seldom fit to be looked for in all disguises."""
    pieces = []
    for least in (1, 2):
        at = rng.randrange(len(characters) - 3)
        pieces.append("".join(characters[at : at + rng.randrange(least, 4)]))
    return "".join(pieces)


def _latin(rng: Random, words: Sequence[str]) -> str:
    if rng.random() < 0.3:
        return f"{rng.choice(words)} {rng.choice(words)}"
    return "".join(rng.choice(_STARTS) + rng.choice(_ENDS) for _ in range(rng.randrange(2, 5)))


def _mixed(language: str, size: int) -> str:
    """Return at least `size` bytes of passages; `mixed` draws each from either language."""
    rng = Random(size + 1)  # noqa: S311  reproducible, not secret
    parts: list[str] = []
    while sum(len(part.encode()) for part in parts) < size:
        source = running(rng.choice(("zh", "en")) if language == "mixed" else language)
        at = rng.randrange(len(source) - _PASSAGE_CHARS)
        # Far enough apart that no term is spelled out across the ends of two passages.
        parts.append(source[at : at + rng.randrange(_PASSAGE_CHARS // 2, _PASSAGE_CHARS)] + "\n\n\n\n")
    return "".join(parts)


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")


def _planted(rng: Random, text: str, finds: Sequence[str]) -> str:
    for find in finds:
        at = rng.randrange(len(text))
        text = f"{text[:at]} {find} {text[at:]}"
    return text
