"""Regexes as the program of one automaton in C, which follows streams (native/automaton.c).

It tells where a match may begin, never less than there is: a class may hold a character more than RE2's, and what
repeats more than `_COUNTED` times may do so without end. What it reports is then looked at by RE2.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cache, lru_cache
from itertools import chain
from re import DOTALL, IGNORECASE, MULTILINE
from re import _constants as ops  # type: ignore[attr-defined]
from typing import Any

from weir.guard.native.library import Core
from weir.guard.patterns import Pattern

Spans = tuple[tuple[int, int], ...]  # of characters, both ends in it

SET, SPLIT, PLACE, _MATCH = range(4)
_TEXT_BEGIN, _LINE_BEGIN, _BOUNDARY, _NO_BOUNDARY, _TEXT_END, _LINE_END = range(6)
_WORD, _BREAK, _OTHER = 1, 2, 3  # traits of characters
_COUNTED = 12
_MOST_CODE = 1 << 17  # instructions
_MOST_CLASSES = 1 << 12
_LAST = 0x10FFFF
_ASCII = 128
_CASED = (  # where such characters are
    *((0, 0x2E80), (0xA640, 0xABC0), (0xFB00, 0xFB18), (0xFF21, 0xFF5B), (0x10400, 0x10600), (0x10C80, 0x10D00)),
    *((0x118A0, 0x118E0), (0x16E40, 0x16E80), (0x1E900, 0x1E944)),
)
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT})
_PLACES = {
    ops.AT_BEGINNING_STRING: _TEXT_BEGIN,
    ops.AT_BOUNDARY: _BOUNDARY,
    ops.AT_NON_BOUNDARY: _NO_BOUNDARY,
    ops.AT_END_STRING: _TEXT_END,
}

_WORDS: Spans = ((48, 57), (65, 90), (95, 95), (97, 122))
_NEWLINE: Spans = ((10, 10),)
_ALL: Spans = ((0, _LAST),)
CATEGORIES: dict[Any, Spans] = {
    ops.CATEGORY_DIGIT: ((48, 57),),
    ops.CATEGORY_SPACE: ((9, 10), (12, 13), (32, 32)),  # RE2's, which has no vertical tab
    ops.CATEGORY_WORD: _WORDS,
}
OTHERS = {
    ops.CATEGORY_NOT_DIGIT: ops.CATEGORY_DIGIT,
    ops.CATEGORY_NOT_SPACE: ops.CATEGORY_SPACE,
    ops.CATEGORY_NOT_WORD: ops.CATEGORY_WORD,
}


class Automaton:
    """Tells where in a text one of some patterns may begin. It learns from each text that leads it somewhere new."""

    def __init__(self, made_by: Core, program: "Program") -> None:
        spans, members, traits = program.classes()
        code = array("i", [number for one in program.code for number in one]).tobytes()
        entries = array("i", program.entries).tobytes()
        self.held = made_by.module.automaton(code, entries, spans, members, traits)
        self._num_states = made_by.module.num_states

    @property
    def num_states(self) -> int:
        return int(self._num_states(self.held))


@lru_cache(maxsize=8)  # profiles and the next policy have mostly the same
def automaton_of(made_by: Core, patterns: tuple[Pattern, ...]) -> Automaton | None:
    """Compile; None: they would be too large a program."""
    program = Program()
    for pattern in patterns:
        program.add(pattern)
    is_fit = len(program.code) <= _MOST_CODE and program.num_classes() <= _MOST_CLASSES
    return Automaton(made_by, program) if is_fit else None


class Program:
    """Instructions, each made before those that lead to it, and the sets of characters that they name.

    What may repeat more than `counted` times may do so without end, from `least` times on if it must repeat as often.
    """

    def __init__(self, counted: int = _COUNTED, least: int = _COUNTED) -> None:
        self._counted, self._least = counted, least
        self.code: list[tuple[int, int, int]] = [(_MATCH, 0, 0)]
        self.entries: list[int] = []
        self._sets: dict[Spans, int] = {_WORDS: 0, _NEWLINE: 1}
        self._known: dict[tuple[int, int], int] = {}  # the sets of nodes, by where those are: repeats meet them often
        self._classes: tuple[list[int], list[frozenset[int]]] | None = None

    def add(self, pattern: Pattern) -> None:
        self.entries.append(self._row(pattern.nodes, pattern.flags, 0))
        self._known.clear()

    def classes(self) -> tuple[bytes, bytes, bytes]:
        """Return where spans of one class begin, which sets hold which classes, and each class's trait."""
        spans, kinds = self._split()
        members = bytearray(len(self._sets) * len(kinds))
        for place, kind in enumerate(kinds):
            for number in kind:
                members[number * len(kinds) + place] = 1
        traits = bytes(_WORD if 0 in kind else _BREAK if 1 in kind else _OTHER for kind in kinds)
        return array("I", spans).tobytes(), bytes(members), traits

    def num_classes(self) -> int:
        return len(self._split()[1])

    def _split(self) -> tuple[list[int], list[frozenset[int]]]:
        """Return spans of characters that no set tells apart, with their class, and the sets that hold each class."""
        if self._classes is not None:
            return self._classes
        changes: dict[int, list[int]] = {0: []}
        for spans, number in self._sets.items():
            for first, last in spans:
                changes.setdefault(first, []).append(number)
                changes.setdefault(last + 1, []).append(~number)
        held: set[int] = set()
        kinds: dict[frozenset[int], int] = {}
        found: list[int] = []
        for place in sorted(changes):
            held.difference_update(~number for number in changes[place] if number < 0)
            held.update(number for number in changes[place] if number >= 0)
            found += place, kinds.setdefault(frozenset(held), len(kinds))
        self._classes = found, list(kinds)
        return self._classes

    def number_of(self, spans: Spans) -> int:
        """Return the number of a set."""
        return self._sets.setdefault(spans, len(self._sets))

    def _class(self, op: Any, content: Any, flags: int) -> Spans:
        return single(op, content, flags)

    def _put(self, op: int, x: int, y: int) -> int:
        self.code.append((op, x, y))
        return len(self.code) - 1

    def _set(self, op: Any, content: Any, flags: int, then: int) -> int:
        node = (id(content), flags) if op is ops.IN else (-content - 1, flags) if op is ops.LITERAL else None
        if node is None or node not in self._known:
            number = self.number_of(self._class(op, content, flags))
            if node is not None:
                self._known[node] = number
        else:
            number = self._known[node]
        return self._put(SET, number, then)

    def _row(self, nodes: Sequence[Any], flags: int, then: int) -> int:
        """Compile `nodes` before what follows them; return where they begin."""
        for op, content in reversed(nodes):
            if len(self.code) <= _MOST_CODE:
                then = self._node(op, content, flags, then)
        return then

    def _node(self, op: Any, content: Any, flags: int, then: int) -> int:
        if op is ops.AT:
            return self._put(PLACE, _place(content, flags), then)
        if op is ops.SUBPATTERN:
            return self._row(content[3], (flags | content[1]) & ~content[2], then)
        if op is ops.BRANCH:
            first, *others = [self._row(branch, flags, then) for branch in content[1]]
            for other in others:
                first = self._put(SPLIT, first, other)
            return first
        if op in _REPEATS:
            return self._repeat(op, content, flags, then)
        return self._set(op, content, flags, then)

    def _repeat(self, _: Any, content: Any, flags: int, then: int) -> int:
        low, high, body = content
        behind = then
        if high > self._counted:
            low = min(low, self._least)
            loop = self._put(SPLIT, behind, behind)
            self.code[loop] = (SPLIT, self._row(body, flags, loop), behind)
            then = loop
        else:
            for _ in range(high - low):
                then = self._put(SPLIT, self._row(body, flags, then), behind)
        for _ in range(low):
            then = self._row(body, flags, then)
        return then


def _place(content: Any, flags: int) -> int:
    if content is ops.AT_BEGINNING:
        return _LINE_BEGIN if flags & MULTILINE else _TEXT_BEGIN
    if content is ops.AT_END:
        return _LINE_END if flags & MULTILINE else _TEXT_END
    return _PLACES[content]


def single(op: Any, content: Any, flags: int) -> Spans:
    if op is ops.ANY:
        return _ALL if flags & DOTALL else without(_NEWLINE)
    if op is ops.LITERAL:
        return _united([(content, content)], flags)
    if op is ops.NOT_LITERAL:
        return without(_surely([(op, content)], flags))
    if content[0][0] is ops.NEGATE:
        return without(_surely(content[1:], flags))
    return _united(_items(content), flags)


def _items(content: Iterable[Any]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for op, item in content:
        if op is ops.LITERAL:
            spans.append((item, item))
        elif op is ops.RANGE:
            spans.append(item)
        else:
            spans += without(CATEGORIES[OTHERS[item]]) if item in OTHERS else CATEGORIES[item]
    return spans


def _united(spans: Iterable[tuple[int, int]], flags: int) -> Spans:
    """Put spans together, with all that may be the same letters where case does not count."""
    spans = list(spans)
    return merged([*spans, *((code, code) for code in _same_letters(spans))] if flags & IGNORECASE else spans)


def _surely(content: Iterable[Any], flags: int) -> Spans:
    """As `_united`, with no more than what is certain: what is not in these may be in the class that denies them."""
    spans: list[tuple[int, int]] = []
    for op, item in content:
        if op is ops.CATEGORY and item in OTHERS:  # K is no \W, nor is the sign for Kelvin where case does not count
            spans += without(_united(CATEGORIES[OTHERS[item]], flags))
            continue
        some = _items([(ops.LITERAL if op is ops.NOT_LITERAL else op, item)])
        spans += some
        spans += ((code, code) for code in _same_letters(some) if flags & IGNORECASE and code < _ASCII)
    return merged(spans)


def _same_letters(spans: Iterable[tuple[int, int]]) -> Iterator[int]:
    cased, families = _families()
    for first, last in spans:
        for code in cased[bisect_left(cased, first) : bisect_right(cased, last)]:
            yield from families[code]


def merged(spans: Iterable[tuple[int, int]]) -> Spans:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def without(spans: Iterable[tuple[int, int]]) -> Spans:
    rest, begin = [], 0
    for first, last in merged(spans):
        if first > begin:
            rest.append((begin, first - 1))
        begin = last + 1
    if begin <= _LAST:
        rest.append((begin, _LAST))
    return tuple(rest)


@cache
def _families() -> tuple[Sequence[int], Mapping[int, Set[int]]]:
    """Return all characters of which there are capitals and small ones, and for each those that are the same letter."""
    known: dict[str, set[int]] = {}
    for code in chain.from_iterable(range(*part) for part in _CASED):
        one = chr(code)
        related = {one, one.lower(), one.upper(), one.title(), one.casefold()}
        if len(related) > 1:
            known.setdefault(one.casefold(), set()).update(ord(other) for other in related if len(other) == 1)
    families: dict[int, set[int]] = {}
    for family in known.values():
        for code in family:
            families.setdefault(code, set()).update(family)  # İ and ı both have to do with I
    return sorted(families), families
