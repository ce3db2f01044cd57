"""Asking at given times, whoever is asked."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """Seconds from arrival to the first and to the last token, how many there were; the end since the load began."""

    first_s: float
    total_s: float
    tokens: int
    ended_s: float = 0.0


async def at_their_times(
    requests: Sequence[dict[str, Any]], ask: Callable[[dict[str, Any]], Awaitable[Answer]], *, at_once: int | None
) -> list[Answer]:
    """Ask each request `arrival_s` after the start; with `at_once`, hold back while so many are being answered.

    A request that is late is asked at once and its times still count from its arrival. With `at_once` they count from
    when it was let go: that is a load of so many users who each ask again when answered, not of arrivals.
    """
    began = time.perf_counter()
    room = asyncio.Semaphore(at_once or len(requests) or 1)

    async def one(request: dict[str, Any]) -> Answer:
        arrival = began + request["arrival_s"]
        await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
        async with room:
            late = 0.0 if at_once else max(0.0, time.perf_counter() - arrival)
            answer = await ask(request)
        return Answer(answer.first_s + late, answer.total_s + late, answer.tokens, time.perf_counter() - began)

    return list(await asyncio.gather(*(one(request) for request in requests)))
