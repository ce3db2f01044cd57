"""A rule's regex as a syntax tree: which of the forms that a stream can follow it has, and how its matches begin.

Only the tree is Python's (`re._parser`, at load); what searches text is RE2, given the regexes that are written here.
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import re2

from weir.guard.folded_regex import folded_nodes
from weir.guard.openings import Characters, first_characters, needed_characters, required_literals, ways
from weir.guard.rules import MAX_HOLD

_SEARCH_MEMORY = 64 << 20  # bytes; RE2 builds its automata as it goes and starts anew when they are full
_Node = tuple[Any, Any]
_UNBOUNDED = int(ops.MAXREPEAT)
_FEW = 4  # repeats that are counted where beginnings are looked for loosely
_SINGLE = frozenset({ops.LITERAL, ops.NOT_LITERAL, ops.ANY, ops.IN})
_REPEATS = frozenset({ops.MAX_REPEAT, ops.MIN_REPEAT})
_WHITE = " \t\n\r\f\v"
_CLASSES = {
    ops.CATEGORY_DIGIT: r"\d",
    ops.CATEGORY_NOT_DIGIT: r"\D",
    ops.CATEGORY_SPACE: r"\s",
    ops.CATEGORY_NOT_SPACE: r"\S",
    ops.CATEGORY_WORD: r"\w",
    ops.CATEGORY_NOT_WORD: r"\W",
}
_PLACES = {
    ops.AT_BEGINNING: "^",
    ops.AT_BEGINNING_STRING: r"\A",
    ops.AT_BOUNDARY: r"\b",
    ops.AT_NON_BOUNDARY: r"\B",
    ops.AT_END: "$",
    ops.AT_END_STRING: r"\z",
}
_MISSING = {
    ops.ASSERT: "look-around such as (?=…) or (?<=…): write what stands there as part of the regex, or \\b",
    ops.ASSERT_NOT: "look-around such as (?!…) or (?<!…): use \\b or a negated class, or let `validate` deny finds",
    ops.GROUPREF: "backreference such as \\1: write out what may stand there",
    ops.GROUPREF_EXISTS: "condition such as (?(1)…): write both cases out under `any`",
    ops.ATOMIC_GROUP: "atomic group (?>…): write (?:…), it never backtracks",
    ops.POSSESSIVE_REPEAT: "possessive repeat such as a++: drop the second +, it never backtracks",
}
_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001 - the wrapper has no name for it
_ANCHORED = re2._re2.RE2.Anchor.ANCHOR_START  # noqa: SLF001
_FLAGS = {re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s"}


class PatternError(ValueError):
    """A regex that the guard cannot follow; the message is the reason, without the rule."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is searched for one form of a regex.

    Attributes:
        search: RE2 for a whole find; of a running find or one with `until`, for the part that makes it certain.
        literals: of which every match of `search` holds one, in small letters; none: no such.
        ways: sets of such literals; it holds one of each set of one of the ways.
        first: what a match of `search` may begin with; needed: of which it has one.
        longest: the most characters that `search` matches.
        run: RE2 for one character; a find goes on over all that follow of it.
        nodes, run_nodes, flags: the syntax trees of `search`, and of each class that `run` consists of.
        until: a find goes on to the end of this one's first match, or of the text.
        is_overflow: stands for the finds that are longer than the rule's cap.
    """

    search: str
    literals: frozenset[str]
    ways: tuple[tuple[frozenset[str], ...], ...]
    first: Characters
    needed: Characters
    longest: int
    nodes: Sequence[_Node] = field(default=(), compare=False, repr=False)
    flags: int = 0
    run: str = ""
    run_nodes: Sequence[_Node] = field(default=(), compare=False, repr=False)
    until: "Pattern | None" = None
    is_overflow: bool = False

    @property
    def begun(self) -> str:
        """RE2 for every beginning of what `search` matches, itself and the empty one included."""
        return _flags(self.flags) + _begun(self.nodes)

    @property
    def begun_loosely(self) -> str:
        """The same and more: what repeats often may do so without end. RE2 builds a fraction of the states for it."""
        return _flags(self.flags) + _begun(_loosened(self.nodes))


@lru_cache(maxsize=4096)
def read_regex(
    regex: str, *, keeps_case: bool = False, until: str | None = None, cap: int | None = None, is_streamed: bool = True
) -> tuple[Pattern, ...]:
    """Return the patterns whose finds together are those of `regex`.

    Where nothing is streamed, an unbounded regex without `cap` is taken as it is.

    Raises:
        PatternError: RE2 cannot take it, it may match nothing, or no stream could follow it.
    """
    if not is_streamed:
        with suppress(PatternError):  # the same patterns, read once for both, but for what no stream could follow
            return read_regex(regex, keeps_case=keeps_case, until=until, cap=cap)
    tree = _Tree(regex, keeps_case=keeps_case)
    if until is not None:
        end = _Tree(until, keeps_case=keeps_case)
        return (tree.bounded("the part before `until`", tree.nodes, until=end.bounded("`until`", end.nodes)),)
    return tuple(pattern for nodes in tree.alternatives() for pattern in tree.forms(nodes, cap, is_streamed))


class _Tree:
    """One parsed regex."""

    def __init__(self, regex: str, *, keeps_case: bool) -> None:
        parsed = _parse(regex)
        self._state = parsed.state
        flags = parsed.state.flags | (0 if keeps_case else re.IGNORECASE)
        self._flags = flags
        self._prefix = _flags(flags)
        self.nodes = folded_nodes(_flat(parsed))
        if self._width(self.nodes)[0] == 0:
            raise PatternError("it matches the empty text")

    def alternatives(self) -> Iterable[list[_Node]]:
        """Alternatives of an unbounded regex are searched one by one: a find of any of them is a find."""
        if len(self.nodes) == 1 and self.nodes[0][0] is ops.BRANCH and self._width(self.nodes)[1] >= _UNBOUNDED:
            return [_flat(branch) for branch in self.nodes[0][1][1]]
        return [self.nodes]

    def forms(self, nodes: list[_Node], cap: int | None, is_streamed: bool) -> Iterable[Pattern]:
        loops = [index for index, node in enumerate(nodes) if self._width([node])[1] >= _UNBOUNDED]
        if not loops:
            if is_streamed:
                return [self.bounded("a match", nodes)]
            return [self._pattern(nodes)]
        if loops == [len(nodes) - 1] and _is_run(nodes[-1]) and self._width(_at_least(nodes))[0] > 0:
            return [self._running(nodes)]
        if cap is not None:
            return self._capped(nodes, loops, min(cap, MAX_HOLD))
        if is_streamed:
            raise PatternError(
                "a part other than the last character class repeats without end: "
                "give it a bound ({1,64}) or the rule a `cap`"
            )
        return [self._pattern(nodes)]

    def bounded(self, what: str, nodes: list[_Node], until: Pattern | None = None) -> Pattern:
        longest = self._width(nodes)[1]
        if longest >= _UNBOUNDED:
            raise PatternError(f"{what} has no longest length")
        if longest > MAX_HOLD:
            raise PatternError(f"{what} may have {longest} characters; a stream holds back at most {MAX_HOLD}")
        return self._pattern(nodes, until=until)

    def _running(self, nodes: list[_Node], run: Sequence[_Node] = (), *, is_overflow: bool = False) -> Pattern:
        least = _at_least(nodes)
        shape = self.bounded("the part that makes a match certain", least)
        run = run or _flat(nodes[-1][1][2])
        written = "|".join(dict.fromkeys(_written([one]) for one in run))
        return replace(shape, run=f"{self._prefix}(?:{written})", run_nodes=tuple(run), is_overflow=is_overflow)

    def _capped(self, nodes: list[_Node], loops: list[int], cap: int) -> Iterable[Pattern]:
        """Bound the loops so that a find has `cap` characters, and for each one run on from where its bound is met."""
        has_run = loops[-1] == len(nodes) - 1 and _is_run(nodes[-1])
        inner = loops[:-1] if has_run else loops
        bounds = self._bounds(nodes, inner, cap)
        bounded = list(nodes)
        for index, bound in bounds.items():
            op, (low, _, body) = nodes[index]
            bounded[index] = (op, (low, bound, body))
        yield self._running(bounded) if has_run else self.bounded("a match", bounded)
        for index in inner:
            body = nodes[index][1][2]
            head = [*bounded[:index], (ops.MAX_REPEAT, (bounds[index], ops.MAXREPEAT, body))]
            yield self._running(head, _swallowed(body, nodes[index + 1 :]), is_overflow=True)

    def _bounds(self, nodes: list[_Node], loops: list[int], cap: int) -> dict[int, int]:
        fixed = sum(self._width([node])[1] for index, node in enumerate(_at_least(nodes)) if index not in loops)
        room = (cap - fixed) // len(loops) if loops else 0
        bounds = {}
        for index in loops:
            op, content = nodes[index]
            longest = self._width(content[2])[1] if op in _REPEATS else _UNBOUNDED
            if longest >= _UNBOUNDED:
                raise PatternError("repeats without end inside one another: give the inner ones a bound ({1,64})")
            bounds[index] = room // max(longest, 1)
            if bounds[index] <= content[0]:
                raise PatternError(f"`cap` {cap} leaves no room for what repeats without end")
        return bounds

    def _pattern(self, nodes: list[_Node], until: Pattern | None = None) -> Pattern:
        search = self._prefix + _written(nodes)
        try:
            compiled(search)
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
            raise PatternError(f"RE2 cannot take it: {reason}") from error
        known = (required_literals(nodes), ways(nodes), first_characters(nodes), needed_characters(nodes))
        longest, tree = self._width(nodes)[1], tuple(nodes)
        return Pattern(search, *known, longest, tree, self._flags, until=until)

    def _width(self, nodes: Sequence[_Node]) -> tuple[int, int]:
        low, high = parser.SubPattern(self._state, list(nodes)).getwidth()
        return int(low), int(high)


@lru_cache(maxsize=4096)
def compiled(regex: str) -> Any:
    """Return what searches for a regex. Directions, profiles and a policy's next version share it, warm as it is."""
    return re2.compile(regex, search_options())


def spans(regex: Any, raw: bytes, begin: int) -> Iterator[tuple[int, int]]:
    """Yield where matches of a regex, which is never empty, stand in UTF-8.

    RE2's wrapper in Python makes four objects of each; what it wraps is asked here.
    """
    match, size = regex._regexp.Match, len(raw)  # noqa: SLF001 - see above
    while True:
        start, end = match(_UNANCHORED, raw, begin, size)[0]
        if end <= start:
            return
        yield start, end
        begin = end


def run_end(regex: Any, raw: bytes, begin: int) -> int:
    """Return where the match of a regex that may match nothing ends, which begins just there."""
    return int(regex._regexp.Match(_ANCHORED, raw, begin, len(raw))[0][1])  # noqa: SLF001 - see above


def search_options() -> Any:
    options = re2.Options()
    options.max_mem = _SEARCH_MEMORY
    options.log_errors = False
    options.never_capture = True
    return options


def _flags(flags: int) -> str:
    letters = "".join(letter for flag, letter in _FLAGS.items() if flags & flag)
    return f"(?{letters})" if letters else ""


def _parse(regex: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return parser.parse(regex)
        except (re.error, Warning, OverflowError, RecursionError) as error:
            hint = r"; for \p{Han} write [\u4e00-\u9fff]" if str(error).startswith(r"bad escape \p") else ""
            raise PatternError(f"not a regex: {error}{hint}") from error


def _flat(nodes: Iterable[_Node]) -> list[_Node]:
    """Groups without flags of their own say nothing here."""
    flat: list[_Node] = []
    for op, content in nodes:
        if op is ops.SUBPATTERN and not content[1] and not content[2]:
            flat += _flat(content[3])
        else:
            flat.append((op, content))
    return flat


def _is_run(node: _Node) -> bool:
    return node[0] is ops.MAX_REPEAT and len(body := _flat(node[1][2])) == 1 and body[0][0] in _SINGLE


def _at_least(nodes: list[_Node]) -> list[_Node]:
    """Return the shortest form of a trailing repeat without end."""
    op, content = nodes[-1]
    if op is not ops.MAX_REPEAT or content[1] != ops.MAXREPEAT:
        return nodes
    return [*nodes[:-1], (op, (content[0], content[0], content[2]))] if content[0] else nodes[:-1]


def _swallowed(body: Iterable[_Node], rest: Iterable[_Node]) -> Sequence[_Node]:
    """Return the classes of what a find that overflows goes on over.

    That is the loop's characters and those of all that may follow it: a token's signature is not left standing behind
    its payload. A loop that does not cross white space does not begin to.
    """
    own = list(_characters(body))
    if any(map(_is_white, own)):
        return own
    return [*own, *(one for one in _characters(rest) if not _is_white(one))]


def _is_white(one: _Node) -> bool:
    return any(re2.fullmatch(_written([one]), character) for character in _WHITE)


def _characters(nodes: Iterable[_Node]) -> Iterable[_Node]:
    for op, content in nodes:
        if op in _SINGLE:
            yield op, content
        elif op in _REPEATS:
            yield from _characters(content[2])
        elif op is ops.SUBPATTERN:
            yield from _characters(content[3])
        elif op is ops.BRANCH:
            for branch in content[1]:
                yield from _characters(branch)


def _written(nodes: Iterable[_Node]) -> str:
    return "".join(_both(op, content)[0] for op, content in nodes)


def _begun(nodes: Sequence[_Node]) -> str:
    """Return the regex of all beginnings of what `nodes` match: the first node's, or it whole and then the rest's."""
    begun = ""
    for op, content in reversed(list(nodes)):
        whole, part = _both(op, content)
        begun = f"(?:{whole}{begun}|{part})" if begun else part
    return begun


def _loosened(nodes: Iterable[_Node]) -> list[_Node]:
    """Return nodes that match all that these do, without counting beyond `_FEW`."""
    loose: list[_Node] = []
    for op, content in nodes:
        if op in _REPEATS:
            low, high, body = content
            loose.append((op, (min(low, _FEW), high if high <= _FEW else ops.MAXREPEAT, _loosened(body))))
        elif op is ops.SUBPATTERN:
            loose.append((op, (*content[:3], _loosened(content[3]))))
        elif op is ops.BRANCH:
            loose.append((op, (content[0], [_loosened(branch) for branch in content[1]])))
        else:
            loose.append((op, content))
    return loose


def _both(op: Any, content: Any) -> tuple[str, str]:
    """Return a node as RE2 and the regex of its beginnings."""
    if op in _SINGLE:
        one = _single(op, content)
        return one, f"(?:{one})?"
    if op is ops.AT:
        return _PLACES[content], ""
    if op is ops.BRANCH:
        branches = content[1]
        return f"(?:{'|'.join(map(_written, branches))})", f"(?:{'|'.join(map(_begun, branches))})"
    if op is ops.SUBPATTERN:
        group = f"(?{_group_flags(content[1], content[2])}:"
        return f"{group}{_written(content[3])})", f"{group}{_begun(content[3])})"
    if op in _REPEATS:
        return _repeat(op, *content)
    raise PatternError(f"RE2 has no {_MISSING.get(op, op)}")


def _repeat(op: Any, low: int, high: int, body: Sequence[_Node]) -> tuple[str, str]:
    whole, part = _written(body), _begun(body)
    lazy = "?" if op is ops.MIN_REPEAT else ""
    if high == ops.MAXREPEAT:
        return f"(?:{whole}){{{low},}}{lazy}", f"(?:(?:{whole})*{part})"
    begun = f"(?:(?:{whole}){{0,{high - 1}}}{part})" if high > 1 else part
    return f"(?:{whole}){{{low},{high}}}{lazy}", begun


def _group_flags(added: int, removed: int) -> str:
    on = "".join(letter for flag, letter in _FLAGS.items() if added & flag)
    off = "".join(letter for flag, letter in _FLAGS.items() if removed & flag)
    return f"{on}-{off}" if off else on


def _single(op: Any, content: Any) -> str:
    if op is ops.LITERAL:
        return f"\\x{{{content:x}}}"
    if op is ops.NOT_LITERAL:
        return f"[^\\x{{{content:x}}}]"
    if op is ops.ANY:
        return "."
    is_negated = content[0][0] is ops.NEGATE
    return f"[{'^' if is_negated else ''}{''.join(_class_item(*item) for item in content[is_negated:])}]"


def _class_item(op: Any, content: Any) -> str:
    if op is ops.LITERAL:
        return f"\\x{{{content:x}}}"
    if op is ops.RANGE:
        return f"\\x{{{content[0]:x}}}-\\x{{{content[1]:x}}}"
    return _CLASSES[content]
