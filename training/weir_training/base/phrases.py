"""The slot tables of both languages, parsed."""

from dataclasses import dataclass
from functools import cache
from types import ModuleType

from weir_training.base import phrases_en, phrases_zh

Table = dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Phrases:
    """What the dialogue maker says in one language; a table maps a canonical name to wordings that mean the same."""

    language: str
    actions: Table
    things: Table
    action_asks: Table
    thing_asks: Table
    scenes: Table
    chat: tuple[tuple[str, str], ...]
    facts: tuple[str, ...]
    details: tuple[str, ...]
    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    cities: tuple[str, ...]
    adjectives: tuple[str, ...]
    words: tuple[str, ...]


@cache
def phrases(language: str) -> Phrases:
    """Return the tables of "zh" or "en"."""
    source: ModuleType = {"zh": phrases_zh, "en": phrases_en}[language]
    return Phrases(
        language=language,
        actions=_table(source.ACTIONS),
        things=_table(source.THINGS),
        action_asks=_table(source.ACTION_ASKS),
        thing_asks=_table(source.THING_ASKS),
        scenes=_table(source.SCENES),
        chat=tuple((name, answer) for name, answer in map(_named, _lines(source.CHAT))),
        facts=tuple(_lines(source.FACTS)),
        details=_alternatives(source.DETAILS),
        prefixes=_alternatives(source.PREFIXES),
        suffixes=_alternatives(source.SUFFIXES),
        cities=tuple(source.CITIES.split()),
        adjectives=tuple(source.ADJECTIVES.split()),
        words=tuple(dict.fromkeys(source.WORDS.split())),
    )


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()


def _named(line: str) -> tuple[str, str]:
    name, _, rest = line.partition(": ")
    return name, rest


def _alternatives(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def _table(text: str) -> Table:
    return {name: _alternatives(rest) for name, rest in map(_named, _lines(text))}
