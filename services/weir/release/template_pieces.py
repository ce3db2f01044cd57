"""Templates that only copy what was said: their rendering is known but for the words in it.

Most chat templates put contents between fixed texts that depend on roles alone. For these the fixed texts are found
once, with marks in place of contents. Whether a template is one of them is read off its syntax tree; where it is not
certain, it is not one.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from jinja2 import nodes

Kind = Literal["messages", "message", "content"] | None

_MARK: Final = "\u0001weir-content-%d\u0001"
_MARKS: Final = re.compile("\u0001weir-content-(\\d+)\u0001")


def mark(number: int) -> str:
    """Return what stands for the content of a message while the fixed texts are found."""
    return _MARK % number


def pieces(rendered: str) -> tuple[list[str], list[int]]:
    """Return the texts between the marks, one more than there are, and the numbers of the marks."""
    parts = _MARKS.split(rendered)
    return parts[::2], [int(number) for number in parts[1::2]]


def only_copies(tree: nodes.Template) -> bool:
    """Whether contents are written as they are, decide nothing, and nothing else changes from one time to the next."""
    reader = _Reader()
    reader.learn_names(tree)
    return all(reader.is_harmless(parent, child) for parent, child in _pairs(tree))


def _pairs(node: nodes.Node) -> Iterator[tuple[nodes.Node, nodes.Node]]:
    for child in node.iter_child_nodes():
        yield node, child
        yield from _pairs(child)


class _Reader:
    """Knows which names stand for a message."""

    def __init__(self) -> None:
        self._messages: set[str] = set()

    def learn_names(self, tree: nodes.Template) -> None:
        for loop in tree.find_all(nodes.For):
            if isinstance(loop.target, nodes.Name) and self._kind(loop.iter) == "messages":
                self._messages.add(loop.target.name)

    def is_harmless(self, parent: nodes.Node, child: nodes.Node) -> bool:
        match self._kind(child):
            case None:
                return _is_constant(child)
            case "messages":
                return isinstance(parent, nodes.Getitem) or (isinstance(parent, nodes.For) and parent.iter is child)
            case "message":
                is_target = isinstance(parent, nodes.For) and parent.target is child
                return is_target or _field(parent) is not None
            case "content":
                is_asked = isinstance(parent, nodes.Test) and parent.name == "string"  # it always is one
                return is_asked or isinstance(parent, (nodes.Output, nodes.Add, nodes.Concat))

    def _kind(self, node: nodes.Node) -> Kind:
        kind: Kind = None
        match node:
            case nodes.Name(name="messages"):
                kind = "messages"
            case nodes.Name(name=name) if name in self._messages:
                kind = "message"
            case nodes.Getitem(node=inner, arg=index) if self._kind(inner) == "messages":
                kind = "messages" if isinstance(index, nodes.Slice) else "message"
            case nodes.Getitem(node=inner) | nodes.Getattr(node=inner) if self._kind(inner) == "message":
                kind = "content" if _field(node) == "content" else None
            case nodes.Add(left=left, right=right):
                kind = self._kind_of_sum((left, right))
            case nodes.Concat(nodes=parts):
                kind = self._kind_of_sum(parts)
            case _:
                pass
        return kind

    def _kind_of_sum(self, parts: Iterable[nodes.Node]) -> Kind:
        return "content" if any(self._kind(part) == "content" for part in parts) else None


def _is_constant(node: nodes.Node) -> bool:
    """Whether it comes to the same every time, as far as it is up to this node, and gives nothing a new name."""
    if isinstance(node, nodes.Call):
        return isinstance(node.node, nodes.Name) and node.node.name == "raise_exception"
    if isinstance(node, nodes.Filter):
        return bool(node.name != "random")
    return not isinstance(node, (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.FilterBlock))


def _field(node: nodes.Node) -> str | None:
    """Return the name of the field that is looked up, if it is written out."""
    match node:
        case nodes.Getattr(attr=name):
            return str(name)
        case nodes.Getitem(arg=nodes.Const(value=str() as name)):
            return name
        case _:
            return None
