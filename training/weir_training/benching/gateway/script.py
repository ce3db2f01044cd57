"""What the scripted nodes say, and how a request tells them the pace.

They stand in for a node with a model, which would be the slowest part of every figure. Each token is an ordinary word
of English and the space behind it, so that a guard treats it as most text: it may go on at once. (A number with dots,
or a word whose space comes with the next token, may yet become a telephone number or an e-mail address: rules that
redact those hold it until the next token comes, and the figure would be the node's pace.) A token's id is the moment it
was sent, on the machine's clock; gateways hand ids through, so whoever reads it on the same machine knows how long it
was under way. OpenAI's streams have no ids: there the moment stands behind the word, and nothing that reads the text
is measured with them.
"""

import re
import time
from typing import Final, NamedTuple

TEXT: Final = "the quick brown fox jumps over the lazy dog and asks when its order will be at home. "
_WORDS: Final = tuple(f"{word} " for word in TEXT.split())
_PACE: Final = re.compile(r"\[\[(\d+)\]\]")
_MOMENTS: Final = 1 << 31  # microseconds until they begin anew, 36 minutes; ids are no larger


class Order(NamedTuple):
    """`interval_s` 0: everything at once, the first token in a message of its own."""

    tokens: int
    interval_s: float


def mark(interval_s: float) -> str:
    """Return what a prompt must hold to be answered at this pace: it passes every gateway, as other fields may not."""
    return f"[[{round(interval_s * 1e6)}]]"


def order(prompt: str, tokens: int) -> Order:
    found = _PACE.search(prompt)
    return Order(tokens, int(found.group(1)) / 1e6 if found else 0.0)


def word(number: int) -> str:
    """Return the text of an answer's token."""
    return _WORDS[number % len(_WORDS)]


def moment() -> int:
    """Return the time as a token's id."""
    return time.monotonic_ns() // 1000 % _MOMENTS


def under_way_s(sent: int, arrived: int) -> float:
    """Return the seconds between two moments."""
    return (arrived - sent) % _MOMENTS / 1e6
