"""What the scripted nodes say, and how a request tells them the pace.

They stand in for a node with a model, which would be the slowest part of every figure. Each token's text is the
moment it was sent (`time.monotonic`), so that whoever reads it on the same machine knows how long it was under way.
"""

import re
import time
from typing import Final, NamedTuple

_PACE: Final = re.compile(r"\[\[(\d+)\]\]")
TOKEN_ID: Final = 7


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


def token_text() -> str:
    return f"{time.monotonic():.6f} "
