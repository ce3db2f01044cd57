"""Which of many regexes a text gives reason to search for.

Most of them need some literal, and one Aho-Corasick pass tells which of those a text has: `ghp_` is reason enough to
search for its regex alone, `password` only to look closer, at all such regexes at once, in an RE2 set. Those that need
no literal are followed position by position in C (`positions.py`). Where that was not built they are other sets: RE2
builds a state for each situation that it meets, and on random characters every one is new, since patterns that count
multiply each other's states; so sets are small, and what needs an `@` is looked for where one is.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
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
_MARKS = "@"  # rare in ordinary text


class Candidates:
    """Tells which patterns may match. Immutable."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        regexes, literals = [one.search for one in patterns], [one.literals for one in patterns]
        self._first = united(one.first for one in patterns)
        rare = [number for number, some in enumerate(literals) if some and all(map(_is_rare, some))]
        words = [n for n, some in enumerate(literals) if some and n not in set(rare) and all(map(_is_word, some))]
        named = {*rare, *words}
        self._words = _Set(words, regexes)
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
        meant: dict[str, set[int]] = {}
        for number in (*rare, *words):
            for literal in literals[number]:
                meant.setdefault(literal, set()).add(number)
        self._meant = [(numbers.intersection(rare), self._words.parts_with(numbers)) for numbers in meant.values()]
        self._search = compiled_literals(list(meant), at_word=False) if meant else None

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
        if self._search is not None:
            parts: set[int] = set()
            for literal in self._search.which(text.folded):
                rare, some = self._meant[literal]
                found |= rare
                parts |= some
            found |= self._words.matching(text.raw, sorted(parts))
        return sorted(found)

    def _unnamed(self, text: Encoded) -> set[int]:
        found = self._others.matching(text.raw)
        for numbers, positions in self._placed:
            found.update(map(numbers.__getitem__, positions.which(text.plain)))
        return found


class _Set:
    """Some of the patterns, searched for all at once, or in parts."""

    def __init__(self, numbers: Sequence[int], regexes: Sequence[str], *, most: int | None = None) -> None:
        """`most`: of them in one part."""
        self._parts = [
            (numbers[first : first + len(some)], _compiled(some))
            for first, some in _parts([regexes[number] for number in numbers], most or len(numbers))
        ]

    def parts_with(self, numbers: Set[int]) -> frozenset[int]:
        return frozenset(part for part, (some, _) in enumerate(self._parts) if not numbers.isdisjoint(some))

    def matching(self, raw: bytes, parts: Iterable[int] | None = None) -> set[int]:
        some = self._parts if parts is None else map(self._parts.__getitem__, parts)
        return {numbers[place] for numbers, one in some for place in one.Match(raw) or ()}


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


def _is_word(literal: str) -> bool:
    return len(literal) >= (_LEAST_WORD if literal.isascii() else LEAST_OTHER)
