"""Regexes in the characters of the text that they see: width, accents, look-alikes and traditional forms are undone.

A text is folded before regexes search it, so `страница`, `前後` or `é` as written would match nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from weir.guard.fold import plain

_Node = tuple[Any, Any]
_ASCII = 128
_WIDEST = 512  # characters of a range whose folded forms are added to its class; 一-鿿 is meant as it is
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT})


def folded_nodes(nodes: Iterable[_Node]) -> list[_Node]:
    """Return a syntax tree whose characters are folded; a class holds the folded form of each beside it."""
    return [folded for node in nodes for folded in _folded(node)]


def _folded(node: _Node) -> Sequence[_Node]:
    op, content = node
    if op is ops.LITERAL:
        return [(op, ord(one)) for one in _spelled(content)]
    if op is ops.NOT_LITERAL and len(spelled := _spelled(content)) == 1 and spelled.isalpha():
        content = ord(spelled)  # `[^：]` does not deny the colon; see `_also`
    elif op is ops.IN:
        content = [*content, *dict.fromkeys(_also(content))]
    elif op is ops.BRANCH:
        content = (content[0], [_part(branch) for branch in content[1]])
    elif op is ops.SUBPATTERN:
        content = (*content[:3], _part(content[3]))
    elif op in _REPEATS:
        content = (*content[:2], _part(content[2]))
    return [(op, content)]


def _part(nodes: Any) -> Any:
    return parser.SubPattern(nodes.state, folded_nodes(nodes))


def _spelled(code: int) -> str:
    """Return what a character becomes; itself, where nothing would be left of it."""
    return chr(code) if code < _ASCII else plain(chr(code)) or chr(code)


def _also(items: Sequence[_Node]) -> Iterator[_Node]:
    """Yield what characters of a class become that are one character then.

    A class that denies `：` does not deny the colon that it becomes, which web addresses have; letters it denies.
    """
    denies = items[0][0] is ops.NEGATE
    for op, content in items:
        codes: Iterable[int] = ()
        if op is ops.LITERAL:
            codes = (content,)
        elif op is ops.RANGE and content[1] - content[0] < _WIDEST:
            codes = range(content[0], content[1] + 1)
        for code in codes:
            spelled = _spelled(code)
            if len(spelled) == 1 and spelled != chr(code) and (not denies or spelled.isalpha()):
                yield ops.LITERAL, ord(spelled)
