"""Where the end of a text may be the beginning of what a regex matches."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import re2

from weir.guard.automata import Program
from weir.guard.native.library import Core, core
from weir.guard.openings import Characters, united
from weir.guard.patterns import Pattern, search_options
from weir.guard.searched import Encoded

_LOOSELY_HELD = 32  # characters; what waits longer is looked at closely
_SHORT = 64  # characters of a text that is looked through for single characters
_MOST_AT_ONCE = 6_000  # characters of regexes compiled in one: that holds up all threads
_MOST_CODE = 1 << 16  # instructions; a regex that a stream can follow has no repeat that is not counted to its end


class _Group(NamedTuple):
    """Patterns with the same kind of first character: mostly a text has none of those."""

    first: Characters
    loosely: Any
    exactly: Sequence[Any]


class Beginnings(Protocol):
    """The beginnings of some patterns' matches. Immutable."""

    def open_from(self, text: Encoded, begin: int, *, closely: bool) -> int:
        """Return where the longest end of `text` starts, not before `begin`, that more text may make a find.

        `closely`: and not a short one that only looks like it.
        """
        ...


class CompiledBeginnings:
    """They are read from the text's end, position by position (native/backward.c): what it says is always close."""

    def __init__(self, made_by: Core, held: object) -> None:
        self.held = held
        self._open_from = made_by.module.open_from

    def open_from(self, text: Encoded, begin: int, *, closely: bool) -> int:  # noqa: ARG002 - it always is
        place: int = self._open_from(self.held, text.plain, begin)
        return place


class _Portable:
    """RE2 looks for any of them before the text's end."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self._groups = groups

    def open_from(self, text: Encoded, begin: int, *, closely: bool) -> int:
        size, part = len(text.plain), text.plain[begin:]
        start, near = size, []
        for group in self._groups:
            if group.first is None or len(part) > _SHORT or not group.first.isdisjoint(part):
                near.append(group)
                start = min(start, open_place(group.loosely, text, begin))
        if not closely and size - start <= _LOOSELY_HELD:
            return start
        return min((open_place(one, text, start) for group in near for one in group.exactly), default=size)


def beginnings(patterns: Iterable[Pattern]) -> Beginnings:
    native, patterns = core(), tuple(patterns)
    return (None if native is None else compiled_beginnings(native, patterns)) or _portable(patterns)


@lru_cache(maxsize=8)  # profiles and the next policy have mostly the same
def compiled_beginnings(made_by: Core, patterns: tuple[Pattern, ...]) -> CompiledBeginnings | None:
    """Compile; None: there are none, or they would be too large."""
    program = Program(_MOST_CODE, _MOST_CODE)
    for pattern in patterns:
        program.add(pattern)
    if not patterns or len(program.code) > _MOST_CODE:
        return None
    code, entries = array("i", [number for one in program.code for number in one]), array("i", program.entries)
    held = made_by.module.backward(code.tobytes(), entries.tobytes(), *program.classes())
    return None if held is None else CompiledBeginnings(made_by, held)


def _portable(patterns: Iterable[Pattern]) -> _Portable:
    groups: dict[int, list[Pattern]] = {}
    for pattern in patterns:
        groups.setdefault(_kind(pattern.first), []).append(pattern)
    return _Portable([_group(groups[kind]) for kind in sorted(groups)])


def open_place(begun: Any, text: Encoded, begin: int) -> int:
    found = begun.search(text.raw, text.byte(begin))
    return len(text.plain) if found is None else text.character(found.start())


@lru_cache(maxsize=64)  # the next policy has most of them too
def end_of(begun: tuple[str, ...]) -> Any:
    return re2.compile("(?:" + "|".join(f"(?:{one})" for one in begun) + r")\z", search_options())


def _kind(first: Characters) -> int:
    """Whether a match may begin with a small letter (what most texts consist of), with a capital, with neither."""
    if first is None or any("a" <= one <= "z" for one in first):
        return 0
    return 1 if any("A" <= one <= "Z" for one in first) else 2


def _group(patterns: Sequence[Pattern]) -> _Group:
    exactly = [end_of(some) for some in _parts([one.begun for one in patterns])]
    return _Group(united(one.first for one in patterns), end_of(tuple(one.begun_loosely for one in patterns)), exactly)


def _parts(regexes: Sequence[str]) -> Iterator[tuple[str, ...]]:
    part: list[str] = []
    for regex in regexes:
        if part and sum(map(len, part)) + len(regex) > _MOST_AT_ONCE:
            yield tuple(part)
            part = []
        part.append(regex)
    if part:
        yield tuple(part)
