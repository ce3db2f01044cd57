"""Which of many regexes a text gives reason to search for.

Most of them need some literals, and one Aho-Corasick pass tells which of those a text has: `ghp_` is reason enough to
search for its regex; words are if one of each set is there that a regex needs, as `ignore` and `instructions`. (An RE2
set of all these looks at a text once, but on one that it has not seen it builds states for whatever words stand beside
each other there, and takes three times as long.) Those that need no literal are followed position by position in C
(`positions.py`). Where that was not built they are RE2 sets: on random characters every state is new, and patterns
that count multiply each other's; so sets are small, and what needs an `@` is looked for where one is.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import re2

from weir.guard.literals import literals as compiled_literals
from weir.guard.native.library import core
from weir.guard.openings import LEAST_OTHER, united
from weir.guard.patterns import Pattern, search_options
from weir.guard.positions import positions_of
from weir.guard.searched import Encoded

_SHORT = 64  # characters of a text that is looked through for single characters
_MOST_AT_ONCE = 60_000  # characters of regexes in one set: compiling it holds up all threads
_LEAST_WORD = 4  # of one that is made of letters
_MOST_TOGETHER = 50  # patterns without a literal: on random characters 100 cost five times as much as four times 25
_MOST_BESIDE = 3  # sets of words besides the first that are asked for: more tell little more
_MARKS = "@"  # rare in ordinary text


class Candidates:
    """Tells which patterns may match. Immutable."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        regexes, literals = [one.search for one in patterns], [one.literals for one in patterns]
        self._first = united(one.first for one in patterns)
        rare = [number for number, some in enumerate(literals) if some and all(map(_is_rare, some))]
        words = [n for n, one in enumerate(patterns) if n not in set(rare) and _is_named_by_words(one)]
        named = {*rare, *words}
        self._marked = [
            (mark.encode(), {n for n, one in enumerate(patterns) if one.needed == frozenset(mark)} - named)
            for mark in _MARKS
        ]
        named = named.union(*(numbers for _, numbers in self._marked))
        others = [number for number in range(len(regexes)) if number not in named]
        native = core()
        parts = () if native is None else positions_of(native, tuple(patterns[number] for number in others))
        self._placed = [([others[place] for place in places], one) for places, one in parts]
        placed = {number for numbers, _ in self._placed for number in numbers}
        self._others = _Set([number for number in others if number not in placed], regexes, most=_MOST_TOGETHER)
        self._needed = united(patterns[number].needed for number in others)
        self._named = _Named(patterns, rare, words) if named else None

    def may_begin(self, text: str) -> bool:
        """Whether `text`, if it is short, has a character that a match may begin with."""
        return self._first is None or len(text) > _SHORT or not self._first.isdisjoint(text)

    def among(self, text: Encoded) -> list[int]:
        """Return the places of the patterns that may match."""
        if not self.may_begin(text.plain):
            return []
        is_short = len(text.plain) <= _SHORT
        is_needless = is_short and self._needed is not None and self._needed.isdisjoint(text.plain)
        found = set() if is_needless else self._unnamed(text)
        for mark, numbers in self._marked:
            if mark in text.raw:
                found |= numbers
        if self._named is not None:
            found |= self._named.among(text)
        return sorted(found)

    def _unnamed(self, text: Encoded) -> set[int]:
        found = self._others.matching(text.raw)
        for numbers, positions in self._placed:
            found.update(map(numbers.__getitem__, positions.which(text.plain)))
        return found


class _Named:
    """Patterns that need literals."""

    def __init__(self, patterns: Sequence[Pattern], rare: Iterable[int], words: Iterable[int]) -> None:
        """`rare`: one literal is reason enough; `words`: one of each set of a way is."""
        self._numbers: dict[str, int] = {}
        self._reasons: dict[int, list[tuple[int, tuple[frozenset[int], ...]]]] = {}
        for number in rare:
            self._add(number, patterns[number].literals, ())
        for number in words:
            for first, *others in patterns[number].ways:
                self._add(number, first, tuple(map(self._numbered, others[:_MOST_BESIDE])))
        self._search = compiled_literals(list(self._numbers), at_word=False)

    def _add(self, number: int, literals: Iterable[str], beside: tuple[frozenset[int], ...]) -> None:
        for literal in self._numbered(literals):
            self._reasons.setdefault(literal, []).append((number, beside))

    def _numbered(self, literals: Iterable[str]) -> frozenset[int]:
        return frozenset(self._numbers.setdefault(literal, len(self._numbers)) for literal in literals)

    def among(self, text: Encoded) -> set[int]:
        held = set(self._search.which(text.folded))
        lacks, found = held.isdisjoint, set[int]()
        for literal in held:
            for number, beside in self._reasons.get(literal, ()):
                for some in beside:
                    if lacks(some):
                        break
                else:
                    found.add(number)
        return found


class _Set:
    """Some of the patterns, searched for all at once, or in parts."""

    def __init__(self, numbers: Sequence[int], regexes: Sequence[str], *, most: int | None = None) -> None:
        """`most`: of them in one part."""
        self._parts = [
            (numbers[first : first + len(some)], _compiled(some))
            for first, some in _parts([regexes[number] for number in numbers], most or len(numbers))
        ]

    def matching(self, raw: bytes) -> set[int]:
        return {numbers[place] for numbers, one in self._parts for place in one.Match(raw) or ()}


def _parts(regexes: Sequence[str], most: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield parts of `most` that are compiled in a few milliseconds, and the place of the first of each."""
    first, size = 0, 0
    for place, regex in enumerate(regexes):
        if place > first and (size + len(regex) > _MOST_AT_ONCE or place - first == most):
            yield first, tuple(regexes[first:place])
            first, size = place, 0
        size += len(regex)
    if regexes:
        yield first, tuple(regexes[first:])


@lru_cache(maxsize=32)  # the next policy has most of them too
def _compiled(regexes: tuple[str, ...]) -> Any:
    found = re2.Set.SearchSet(search_options())
    for regex in regexes:
        found.Add(regex)
    found.Compile()
    return found


def _is_rare(literal: str) -> bool:
    return literal.isascii() and not literal.isalpha()


def _is_named_by_words(pattern: Pattern) -> bool:
    """Whether words tell enough: one that is long, or several short ones."""
    return bool(pattern.ways) and all(len(way) > 1 or all(map(_is_word, way[0])) for way in pattern.ways)


def _is_word(literal: str) -> bool:
    return len(literal) >= (_LEAST_WORD if literal.isascii() else LEAST_OTHER)
