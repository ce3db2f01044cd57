"""Regexes to compare searches with one another on: the packaged ones, any, and texts that they match."""

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from weir.guard.automata import single
from weir.guard.patterns import Pattern, read_regex
from weir.guard.policy import default_policy

_BASE = default_policy().base
_STREAMED = {rule.id: rule for rule in _BASE.output if rule.regexes}
_ALL = _STREAMED | {rule.id: rule for rule in _BASE.input if rule.regexes}


def packaged_patterns(*, is_streamed: bool) -> list[Pattern]:
    """Return those of all rules, or of the rules for answers as streams follow them."""
    return [
        pattern
        for rule in (_STREAMED if is_streamed else _ALL).values()
        for regex in rule.regexes
        for pattern in read_regex(
            regex,
            keeps_case=rule.keeps_case,
            until=rule.until,
            cap=rule.cap or (400 if is_streamed else None),
            is_streamed=is_streamed,
        )
    ]


def matching(random: Random, nodes: Iterable[Any], flags: int) -> Iterator[str]:
    """Yield a text that a syntax tree matches, or nearly."""
    for op, content in nodes:
        name = str(op)
        if name == "BRANCH":
            yield from matching(random, random.choice(content[1]), flags)
        elif name == "SUBPATTERN":
            yield from matching(random, content[3], flags)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, body = content
            for _ in range(random.randint(low, min(int(high), low + random.choice((1, 3, 70))))):
                yield from matching(random, body, flags)
        elif name != "AT":
            first, last = random.choice(single(op, content, flags))
            code = random.randint(first, min(last, first + 90))
            yield random.choice((chr(code), chr(code).swapcase())) if not 0xD800 <= code < 0xE000 else "x"


_ATOMS = (
    *("a", "b", "k", "S", ".", "-", "1", r"\w", r"\d", r"\s", r"\W", r"\S", "[ab]", "[^a]", "[k-z1]", r"[^\Wab]"),
    *(r"[^\sK]", "词", "[一-龥]", r"\b", r"\B", "^", "$", r"\n"),
)


def any_regex(random: Random, depth: int = 0) -> str:
    kind = random.randrange(9 if depth < 3 else 4)
    if kind < 4:
        return random.choice(_ATOMS)
    if kind < 6:
        return "".join(any_regex(random, depth + 1) for _ in range(random.randint(1, 3)))
    if kind < 7:
        return "(?:" + "|".join(any_regex(random, depth + 1) for _ in range(random.randint(2, 3))) + ")"
    if kind < 8:
        return f"(?{random.choice(('i', 's', 'm', '-i'))}:{any_regex(random, depth + 1)})"
    count = random.choice(("?", "*", "+", "{2}", "{1,3}", "{0,2}", "{2,}", "{0,20}"))
    return f"(?:{any_regex(random, depth + 1)}){count}{random.choice(('', '', '?'))}"
