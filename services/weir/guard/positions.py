"""Regexes as positions in C, which tell where a text may have a match (native/positions.c): whatever it is, as fast.

As in `automata.py` a class may hold a character more than RE2's, and what repeats often may do so without end. Where a
match begins and ends is exact, so that random characters seldom give reason to search for it.
"""

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from weir.guard.automata import PLACE, SET, SPLIT, Program
from weir.guard.native.library import Core
from weir.guard.patterns import Pattern

_COUNTED, _LEAST = 40, 16  # repeats, of what is counted to its end, and of what is not
_DEEPEST = 36  # characters that are looked at: whatever begins so is a match
_MOST_CODE, _MOST_POSITIONS = 1 << 13, 1 << 10  # of one regex
_MOST_EDGES = 1 << 14
_MOST_WORDS, _BITS = 64, 64  # see positions.h
_HEAD = 3  # positions that words share with other regexes' first ones: in ordinary text there are only these
_NOWHERE = -1
_MATCH = 0  # its place in a program
_NONE, _WORD, _BREAK, _OTHER = range(4)  # traits, see classes.h
_ALWAYS = 0xFFFF
_PAIRS = [(before, behind, 1 << 4 * before + behind) for before in range(4) for behind in range(4)]
_HOLDS = (  # of the places of a program: between which traits they are, a bit for each pair
    sum(bit for before, _, bit in _PAIRS if before == _NONE),
    sum(bit for before, _, bit in _PAIRS if before in (_NONE, _BREAK)),
    sum(bit for before, behind, bit in _PAIRS if (before == _WORD) != (behind == _WORD)),
    sum(bit for before, behind, bit in _PAIRS if (before == _WORD) == (behind == _WORD)),
    sum(bit for _, behind, bit in _PAIRS if behind == _NONE),
    sum(bit for _, behind, bit in _PAIRS if behind in (_NONE, _BREAK)),
)


class Positions:
    """Tells which of some patterns may match in a text. Immutable."""

    def __init__(self, made_by: Core, program: Program, shapes: Sequence["_Shape"], places: dict[int, int]) -> None:
        spans, members, traits = program.classes()
        num_slots = -(-(max(places.values(), default=0) + 1) // _BITS) * _BITS
        sets, owners = array("i", [_NOWHERE] * num_slots), array("i", bytes(4 * num_slots))
        edges, firsts, lasts = array("i"), array("i"), array("i")
        for number, shape in enumerate(shapes):
            for at, follows in shape.follows.items():
                sets[places[at]], owners[places[at]] = program.code[at][1], number
                for to, when in follows.items():
                    if to == _MATCH:
                        lasts.extend((places[at], when))
                    else:
                        edges.extend((places[at], places[to]))
            for at, when in shape.firsts.items():
                firsts.extend((places[at], when))
        tables = (spans, members, traits, sets.tobytes(), owners.tobytes(), len(shapes))
        self._held = made_by.module.positions(*tables, edges.tobytes(), firsts.tobytes(), lasts.tobytes())
        self._may_match = made_by.module.may_match

    def which(self, text: str) -> Sequence[int]:
        """Return the numbers of the patterns that may match."""
        found: Sequence[int] = self._may_match(self._held, text)
        return found


class _Shape(NamedTuple):
    """One pattern's positions: the instructions of a program that hold a character, in the order of its text.

    Attributes:
        firsts: which may be first, and between which traits.
        follows: for each which may follow it, and between which traits.
    """

    firsts: dict[int, int]
    follows: dict[int, dict[int, int]]


@lru_cache(maxsize=16)  # profiles and the next policy have mostly the same
def positions_of(made_by: Core, patterns: tuple[Pattern, ...]) -> tuple[tuple[Sequence[int], Positions], ...]:
    """Compile, in as many parts as it takes, each with its patterns' places. Those that are too large are in none."""
    program, shapes = Program(_COUNTED, _LEAST), dict[int, _Shape]()
    for number, pattern in enumerate(patterns):
        shape = _shape(program, pattern)
        if shape is not None:
            shapes[number] = shape
    parts: list[tuple[Sequence[int], Positions]] = []
    while shapes:
        layout = _Layout()
        part = [number for number, shape in shapes.items() if layout.add(shape)]
        parts.append((part, Positions(made_by, program, list(map(shapes.pop, part)), layout.places)))
    return tuple(parts)


def _shape(program: Program, pattern: Pattern) -> _Shape | None:
    begin = len(program.code)
    program.add(pattern)
    firsts, follows = _reached(program, program.entries[-1]), dict[int, dict[int, int]]()
    if len(program.code) - begin > _MOST_CODE or _MATCH in firsts:
        return None
    known: dict[int, dict[int, int]] = {}
    latest, num_edges = set(firsts), 0
    for depth in range(_DEEPEST):
        for at in latest:
            behind = program.code[at][2]
            if behind not in known:
                known[behind] = _reached(program, behind) if depth < _DEEPEST - 1 else {_MATCH: _ALWAYS}
            follows[at] = known[behind]
            num_edges += len(follows[at])
        latest = {to for at in latest for to in follows[at] if to != _MATCH and to not in follows}
        if len(follows) + len(latest) > _MOST_POSITIONS or num_edges > _MOST_EDGES:
            return None
    return _Shape(firsts, dict(sorted(follows.items(), reverse=True)))


def _reached(program: Program, begin: int) -> dict[int, int]:
    """Return what holds a character, or is the end, that is reached without one; and between which traits."""
    seen: dict[int, int] = {}
    waiting = [(begin, _ALWAYS)]
    while waiting:
        at, when = waiting.pop()
        if when | seen.get(at, 0) == seen.get(at, 0):
            continue
        seen[at] = when | seen.get(at, 0)
        op, x, y = program.code[at]
        if op == SPLIT:
            waiting += (x, when), (y, when)
        elif op == PLACE:
            waiting.append((y, when & _HOLDS[x]))
    return {at: when for at, when in seen.items() if at == _MATCH or program.code[at][0] == SET}


class _Layout:
    """Bits of words for positions: what a text begins often and seldom goes on with is in few words."""

    def __init__(self) -> None:
        self.places: dict[int, int] = {}
        self._num_words = 0
        self._free: dict[bool, tuple[int, int]] = {}  # where the next is, and how much is free from there on

    def add(self, shape: _Shape) -> bool:
        """Place a pattern; False: there is no room left."""
        heads = _near(shape)
        tails = [at for at in shape.follows if at not in heads]
        if self._num_words + 2 + (len(heads) + len(tails)) // _BITS > _MOST_WORDS:
            return False
        for is_tail, some in ((False, [at for at in shape.follows if at in heads]), (True, tails)):
            for at, place in zip(some, self._taken(is_tail, len(some)), strict=True):
                self.places[at] = place
        return True

    def _taken(self, is_tail: bool, count: int) -> Iterator[int]:
        at, free = self._free.get(is_tail, (0, 0))
        if count > free:
            num_words = -(-count // _BITS)
            at, free = self._num_words * _BITS, num_words * _BITS
            self._num_words += num_words
        self._free[is_tail] = at + count, free - count
        yield from range(at, at + count)


def _near(shape: _Shape) -> set[int]:
    """Return the positions that the first few characters may be in."""
    found, latest = set(shape.firsts), list(shape.firsts)
    for _ in range(_HEAD - 1):
        latest = [to for at in latest for to in shape.follows[at] if to != _MATCH and to not in found]
        found.update(latest)
    return found
