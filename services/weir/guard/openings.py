"""What every match of a regex holds: literals, a first character, a rare one. Where it is not, there is no match.

Characters are sets of characters; more in them than there must be does no harm. None stands for all.
"""

from collections.abc import Iterable, Iterator, Sequence
from re import _constants as ops  # type: ignore[attr-defined]
from typing import Any

Characters = frozenset[str] | None

LEAST_OTHER = 2  # characters of a literal, beyond ASCII or of signs alone, that is worth looking for
_LEAST_ASCII = 3
_MOST = 4096  # characters; classes of more are as good as all
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT})
_CATEGORIES = {
    ops.CATEGORY_DIGIT: frozenset("0123456789"),
    ops.CATEGORY_SPACE: frozenset(" \t\n\r\f\v"),
    ops.CATEGORY_WORD: frozenset("0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"),
}
_ALSO = {"k": "\u212a", "s": "\u017f"}  # what RE2 takes for the same letter where case does not count
_COMMON = 10  # how much more often ordinary text has a letter than a sign


def first_characters(nodes: Sequence[Any]) -> Characters:
    """Return what the first character of a match of the nodes may be; they match nothing empty."""
    return _first(nodes)[0]


def needed_characters(nodes: Iterable[Any]) -> Characters:
    """Return characters of which every match of the nodes has one: those that are seldom elsewhere."""
    needs = [need for op, content in nodes if (need := _need(op, content)) is not None]
    return min(needs, key=_frequency, default=None)


def united(some: Iterable[Characters]) -> Characters:
    found: set[str] = set()
    for one in some:
        if one is None:
            return None
        found |= one
    return frozenset(found)


def _first(nodes: Sequence[Any]) -> tuple[Characters, bool]:
    """Return the first characters, and whether the nodes may match nothing."""
    found: list[Characters] = []
    for op, content in nodes:
        characters, is_empty = _first_of(op, content)
        found.append(characters)
        if not is_empty:
            return united(found), False
    return united(found), True


def _first_of(op: Any, content: Any) -> tuple[Characters, bool]:
    if op is ops.AT:
        return frozenset(), True
    if op is ops.SUBPATTERN:
        return _first(content[3])
    if op is ops.BRANCH:
        branches = [_first(branch) for branch in content[1]]
        return united(characters for characters, _ in branches), any(is_empty for _, is_empty in branches)
    if op in _REPEATS:
        characters, is_empty = _first(content[2])
        return characters, is_empty or content[0] == 0
    return _single(op, content), False


def _need(op: Any, content: Any) -> Characters:
    if op is ops.SUBPATTERN:
        return needed_characters(content[3])
    if op is ops.BRANCH:
        return united(needed_characters(branch) for branch in content[1])
    if op in _REPEATS:
        return needed_characters(content[2]) if content[0] > 0 else None
    return None if op is ops.AT else _single(op, content)


def _single(op: Any, content: Any) -> Characters:
    if op is ops.LITERAL:
        return _cases(content, content)
    if op is ops.IN and content[0][0] is not ops.NEGATE:
        return united(_item(*item) for item in content)
    return None


def _item(op: Any, content: Any) -> Characters:
    if op is ops.LITERAL:
        return _cases(content, content)
    return _cases(*content) if op is ops.RANGE else _CATEGORIES.get(content)


def _cases(low: int, high: int) -> Characters:
    """Return characters and what they are in capitals and small letters."""
    if high - low >= _MOST:
        return None
    found: set[str] = set()
    for character in map(chr, range(low, high + 1)):
        if not character.isascii() and character.lower() != character.upper():
            return None  # there may be more of them than two
        found |= {character, character.lower(), character.upper()}
        found.update(_ALSO.get(character.lower(), ""))
    return frozenset(found)


def _frequency(characters: Characters) -> int:
    return sum(_COMMON if one.isascii() and (one.isalpha() or one in " .,-") else 1 for one in characters or ())


def required_literals(nodes: Iterable[Any]) -> frozenset[str]:
    """Return literals, in small letters, of which every match of a syntax tree's nodes holds one; none: no such."""
    return max(_required(nodes), key=_worst, default=frozenset())


def ways(nodes: Sequence[Any]) -> tuple[tuple[frozenset[str], ...], ...]:
    """Return sets of literals, way by way: every match holds one of each set of one of the ways. None: no such.

    A way's set whose shortest literal is longest comes first.
    """
    sets = list(_required(nodes))
    branches = [[list(_required(branch)) for branch in branches] for branches in _branches(nodes)]
    branch = max(branches, key=lambda some: min(map(len, some)), default=[])
    found = [[*sets, *some] for some in branch] if branch else [sets]
    return tuple(map(_sharpest, found)) if all(found) else ()


def _sharpest(sets: Sequence[frozenset[str]]) -> tuple[frozenset[str], ...]:
    """Return the sets that no other one implies."""
    least = (some for some in dict.fromkeys(sets) if not any(other < some for other in sets))
    return tuple(sorted(least, key=_worst, reverse=True))


def _branches(nodes: Iterable[Any]) -> Iterator[Sequence[Any]]:
    for op, content in nodes:
        if op is ops.SUBPATTERN:
            yield from _branches(content[3])
        elif op is ops.BRANCH:
            yield content[1]


def _required(nodes: Iterable[Any]) -> Iterator[frozenset[str]]:
    """Yield sets of literals; every match holds one of each."""
    run = ""
    for op, content in nodes:
        if op is ops.LITERAL and len(small := chr(content).lower()) == 1:
            run += small
        elif op is not ops.AT:
            yield from _worth(run)
            yield from _inside(op, content)
            run = ""
    yield from _worth(run)


def _inside(op: Any, content: Any) -> Iterator[frozenset[str]]:
    if op is ops.SUBPATTERN:
        yield from _required(content[3])
    elif op in _REPEATS and content[0] > 0:
        yield from _required(content[2])
    elif op is ops.BRANCH:
        branches = [required_literals(branch) for branch in content[1]]
        if all(branches):
            yield frozenset().union(*branches)


def _worth(literal: str) -> Iterator[frozenset[str]]:
    is_seldom = not literal.isascii() or not any(map(str.isalnum, literal))  # as `![` and `<|`
    if len(literal) >= (LEAST_OTHER if is_seldom else _LEAST_ASCII):
        yield frozenset({literal})


def _worst(literals: Iterable[str]) -> int:
    return min(map(_weight, literals), default=0)


def _weight(literal: str) -> int:
    return len(literal.encode())
