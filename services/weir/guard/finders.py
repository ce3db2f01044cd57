"""Regexes as automata in C that find their matches just as RE2 does, for texts with many (native/finder.c).

RE2 in Python costs a microsecond or two for each match; here one call finds all. What is not certain to be the same (a
class with letters beyond ASCII whose capitals RE2 knows by its own tables, a part that repeats without end and may be
empty) has no finder.
"""

from array import array
from collections.abc import Callable, Iterable
from functools import lru_cache
from re import IGNORECASE
from re import _constants as ops  # type: ignore[attr-defined]
from typing import Any, TypeVar

from weir.guard.automata import CATEGORIES, OTHERS, SPLIT, Program, Spans, merged, single, without
from weir.guard.native.library import Core
from weir.guard.patterns import Pattern
from weir.guard.searched import Encoded

Found = TypeVar("Found", bound=tuple[Any, ...])
Check = tuple[int, Callable[[str], bool] | None]
_MOST_EXACT = 20_000  # instructions
_NO_RUN = -1
_CASELESS: Spans = (  # characters beyond ASCII that are no one else's capital or small letter
    *((0x80, 0xB4), (0xB6, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2000, 0x20FF), (0x2190, 0x24B5), (0x24EA, 0x2BFF)),
    *((0x2E80, 0xA63F), (0xAC00, 0xFAFF), (0xFE00, 0xFF20), (0xFF5B, 0x103FF), (0x1F000, 0x10FFFF)),
)
_ALSO = ((ord("k"), 0x212A), (ord("s"), 0x17F))  # the same letters, to RE2
_ASCII = 128
_CASE = ord("a") - ord("A")


class Finder:
    """Finds the matches of one regex. Immutable, but for what it learns."""

    def __init__(self, made_by: Core, program: Program, run: int) -> None:
        spans, members, traits = program.classes()
        code = array("i", [number for one in program.code for number in one]).tobytes()
        self._held = made_by.module.finder(code, program.entries[0], spans, members, traits, run)
        self._matches = made_by.module.matches

    def matches(
        self, kind: type[Found], numbers: tuple[int, int], text: Encoded, begin: int, check: Check, *, is_end: bool
    ) -> tuple[list[Found], int]:
        """Return the matches from `begin` on, and from where on RE2 is to be asked (mostly the end).

        `kind`, `numbers`: `regexes.Match`, its order and pattern; `check`: what may deny one, in C and in Python.
        """
        found: tuple[list[Found], int] = self._matches(
            self._held, kind, numbers, 0, text.wide, text.plain, begin, is_end, *check
        )
        return found

    def finds(
        self, kind: type[Found], rest: tuple[int, str], text: Encoded, begin: int, check: Check
    ) -> tuple[list[Found], int]:
        """As `matches`, for a whole text. `kind`: has where it starts, where it ends, and `rest`."""
        found: tuple[list[Found], int] = self._matches(
            self._held, kind, rest, 1, text.wide, text.plain, begin, 1, *check
        )
        return found


@lru_cache(maxsize=1024)
def finder_of(made_by: Core, pattern: Pattern) -> Finder | None:
    """Compile; None: it would be too large, or it is not certain that it found what RE2 does."""
    program = _Exact()
    try:
        program.add(pattern)
        run = program.number_of(_run(pattern)) if pattern.run else _NO_RUN
    except _UnsureError:
        return None
    is_fit = pattern.until is None and len(program.code) <= _MOST_EXACT
    return Finder(made_by, program, run) if is_fit else None


class _UnsureError(Exception):
    """It is not certain what RE2 takes a class for."""


class _Exact(Program):
    """A program whose instructions stand in the order in which RE2 prefers them, and whose sets are RE2's."""

    def _class(self, op: Any, content: Any, flags: int) -> Spans:
        return _set(op, content, flags)

    def _repeat(self, op: Any, content: Any, flags: int, then: int) -> int:
        low, high, body = content
        behind = then
        if high == ops.MAXREPEAT:
            if _may_be_empty(body):
                raise _UnsureError
            loop = self._put(SPLIT, behind, behind)
            self._choose(loop, op, self._row(body, flags, loop), behind)
            then = loop
        for _ in range(high - low if high != ops.MAXREPEAT else 0):
            then = self._put(SPLIT, *_preferred(op, self._row(body, flags, then), behind))
            if len(self.code) > _MOST_EXACT:
                break
        for _ in range(low):
            then = self._row(body, flags, then)
        return then

    def _choose(self, at: int, op: Any, body: int, behind: int) -> None:
        self.code[at] = (SPLIT, *_preferred(op, body, behind))


def _run(pattern: Pattern) -> Spans:
    return merged(span for node in pattern.run_nodes for span in _set(*node, pattern.flags))


def _preferred(op: Any, body: int, behind: int) -> tuple[int, int]:
    return (behind, body) if op is ops.MIN_REPEAT else (body, behind)


def _may_be_empty(nodes: Iterable[Any]) -> bool:
    return all(map(_node_may_be_empty, nodes))


def _node_may_be_empty(node: Any) -> bool:
    op, content = node
    if op is ops.SUBPATTERN:
        return _may_be_empty(content[3])
    if op is ops.BRANCH:
        return any(map(_may_be_empty, content[1]))
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        return content[0] == 0 or _may_be_empty(content[2])
    return op is ops.AT


def _set(op: Any, content: Any, flags: int) -> Spans:
    """Return the characters of a class, as RE2 reads it."""
    if op is ops.ANY:
        return single(op, content, flags)
    if op is ops.LITERAL:
        return _folded([(content, content)], flags)
    if op is ops.NOT_LITERAL:
        return without(_folded([(content, content)], flags))
    if op is not ops.IN:
        raise _UnsureError
    is_negated = content[0][0] is ops.NEGATE
    spans = merged(span for kind, item in content[is_negated:] for span in _item(kind, item, flags))
    return without(spans) if is_negated else spans


def _item(op: Any, content: Any, flags: int) -> Spans:
    if op is ops.CATEGORY and content in OTHERS:
        return without(_folded(CATEGORIES[OTHERS[content]], flags))
    if op is ops.CATEGORY:
        return _folded(CATEGORIES[content], flags)
    return _folded([content if op is ops.RANGE else (content, content)], flags)


def _folded(spans: Iterable[tuple[int, int]], flags: int) -> Spans:
    """Return spans with the capitals and small letters of theirs, where case does not count."""
    if not flags & IGNORECASE:
        return merged(spans)
    found = list(spans)
    if not all(map(_is_caseless, ((max(first, _ASCII), last) for first, last in found if last >= _ASCII))):
        raise _UnsureError
    found += [
        (max(first, low) + step, min(last, high) + step)
        for first, last in found
        for low, high, step in ((65, 90, _CASE), (97, 122, -_CASE))
        if max(first, low) <= min(last, high)
    ]
    found += [(also, also) for small, also in _ALSO if any(first <= small <= last for first, last in found)]
    return merged(found)


def _is_caseless(span: tuple[int, int]) -> bool:
    return any(first <= span[0] and span[1] <= last for first, last in _CASELESS)
