"""Callers' deadlines, on `time.monotonic()`."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import TypeVar

from weir.contracts.errors import DeadlineExceededError

T = TypeVar("T")

_SHORTEST_S, _LONGEST_S = 0.001, 86_400.0  # what a node takes


async def in_time(work: Awaitable[T], deadline: float | None) -> T:
    """Wait for `work`, but not beyond `deadline`: then it is cancelled.

    Raises:
        DeadlineExceededError: the deadline passed.
    """
    if deadline is None:
        return await work
    limit = asyncio.timeout(deadline - monotonic())
    try:
        async with limit:
            return await work
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceededError from None
        raise


def seconds_left(deadline: float | None) -> float | None:
    """Return what a node is told: seconds from now."""
    return None if deadline is None else min(max(deadline - monotonic(), _SHORTEST_S), _LONGEST_S)
