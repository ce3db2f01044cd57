"""Literals that are looked for in text all at once: in C where that was built, with `ahocorasick_rs` elsewhere."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import ahocorasick_rs

from weir.guard.fold import is_word_character
from weir.guard.native.library import ANYWHERE, AT_WORD, Core, LiteralSet, core
from weir.guard.searched import Searched

_PLANE = 1 << 16


class Found(NamedTuple):
    """Literal number `literal` stands in `[start, end)`."""

    literal: int
    start: int
    end: int


class Literals(Protocol):
    def finds(self, text: Searched) -> Iterable[Found]:
        """Return where literals stand, by where they end; some of those may be left out that no one wants."""
        ...

    def which(self, text: Searched) -> Iterable[int]:
        """Return the literals that stand in it."""
        ...

    def finds_drawn_out(self, text: Searched, letters: str) -> Iterable[Found]:
        """Return where literals stand that are not there as they are, but once none of `letters` follows itself."""
        ...


def literals(some: Sequence[str], *, at_word: bool, mapping: Mapping[int, int] | None = None) -> Literals:
    """Compile different literals, none of them empty.

    `at_word`: what begins with a letter, digit or underscore may be left out where one precedes it. `mapping`: what
    each character of a text is read as; it knows none beyond the first plane.
    """
    native = core()
    if native is None:
        return _Portable(some, mapping)
    return _Compiled(native, some, mapping, at_word=at_word)


class _Portable:
    def __init__(self, some: Sequence[str], mapping: Mapping[int, int] | None) -> None:
        self._automaton = ahocorasick_rs.AhoCorasick(list(some))
        self._mapping = mapping

    def finds(self, text: Searched) -> Iterable[Found]:
        read = text.text if self._mapping is None else text.text.translate(self._mapping)
        return map(Found._make, self._automaton.find_matches_as_indexes(read, overlapping=True))

    def which(self, text: Searched) -> Iterable[int]:
        return {literal for literal, _, _ in self._automaton.find_matches_as_indexes(text.text, overlapping=True)}

    def finds_drawn_out(self, text: Searched, letters: str) -> Iterable[Found]:
        short = text.text
        for letter in letters:
            while letter * 2 in short:
                short = short.replace(letter * 2, letter)
        matches = self._automaton.find_matches_as_indexes(short, overlapping=True)
        if not matches or short == text.text:
            return
        before, some = "\0" + text.text, frozenset(letters)
        places = [i for i, letter in enumerate(text.text) if letter != before[i] or letter not in some]
        places.append(len(text.text))
        for literal, first, last in matches:
            if places[last] - places[first] > last - first:
                yield Found(literal, places[first], places[last])


class _Compiled:
    def __init__(self, native: Core, some: Sequence[str], mapping: Mapping[int, int] | None, *, at_word: bool) -> None:
        flags = bytes(AT_WORD if at_word and is_word_character(one[0]) else ANYWHERE for one in some)
        self._set = LiteralSet(native, some, flags)
        self._mapping = None if mapping is None else _table(mapping)

    def finds(self, text: Searched) -> Iterable[Found]:
        found = self._set.find(text.wide, self._mapping)
        return [Found(literal, start, end) for _, literal, start, end in found] if found else ()

    def which(self, text: Searched) -> Iterable[int]:
        return self._set.which(text.wide)

    def finds_drawn_out(self, text: Searched, letters: str) -> Iterable[Found]:
        return [Found(literal, start, end) for _, literal, start, end in self._set.find_drawn_out(text.wide, letters)]


def _table(mapping: Mapping[int, int]) -> bytes:
    table = array("I", range(_PLANE))
    for code, meant in mapping.items():
        table[code] = meant
    return table.tobytes()
