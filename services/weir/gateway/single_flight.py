"""Equal requests at the same time are one piece of work: the first one asks a node, the others wait for its answer."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from weir.contracts.errors import DeadlineExceededError
from weir.contracts.events import GenerationEvent
from weir.gateway.generation import Generation
from weir.gateway.response_cache import ResponseCache, recorded
from weir.gateway.streams import Events

_MOST_WAITING: Final = 256  # for one answer; more ask a node themselves, where admission bounds them
Answer = tuple[GenerationEvent, ...]


def _future() -> "asyncio.Future[Answer | None]":
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class _Flight:
    """An answer on its way; none lands when the one who asked for it failed or went away."""

    priority: int
    landed: "asyncio.Future[Answer | None]" = field(default_factory=_future)
    waiting: int = 0

    def end(self, answer: Answer | None) -> None:
        if not self.landed.done():
            self.landed.set_result(answer)


class SingleFlight:
    """Joins equal requests that the cache may keep.

    Nobody waits beyond his deadline, nor longer than `longest_s` in all: then he asks a node himself. Nobody waits for
    one of a lower priority. When the one who asks fails or hangs up, the next one who waits takes over.
    """

    def __init__(self, cache: ResponseCache, *, longest_s: float) -> None:
        self._cache = cache
        self._longest_s = longest_s
        self._flights: dict[bytes, _Flight] = {}

    async def answer(
        self,
        key: bytes,
        generation: Generation,
        *,
        ask: Callable[[], Events],
        replay: Callable[[Answer], Events],
    ) -> Events:
        """Yield the answer that `key` names: from `ask` and kept, or through `replay` once an equal request has it.

        Raises:
            DeadlineExceededError: the caller's deadline passed while another one's answer was on its way.
        """
        priority = generation.ask.context.effective_priority
        began = monotonic()
        while (flight := self._joinable(key, priority)) is not None and monotonic() - began < self._longest_s:
            answer = await self._landed(flight, began + self._longest_s, generation.ask.context.deadline)
            if answer is not None:
                self._cache.count("joined")
                generation.queue_s = monotonic() - began
                async with aclosing(replay(answer)) as events:
                    async for event in events:
                        yield event
                return
        self._cache.count("miss")
        async with aclosing(self._led(key, priority, ask())) as events:
            async for event in events:
                yield event

    def _joinable(self, key: bytes, priority: int) -> _Flight | None:
        flight = self._flights.get(key)
        return None if flight is None or flight.priority < priority or flight.waiting >= _MOST_WAITING else flight

    async def _landed(self, flight: _Flight, latest: float, deadline: float | None) -> Answer | None:
        """Wait for the answer; none: there will not be one, or not in time."""
        until = latest if deadline is None else min(latest, deadline)
        flight.waiting += 1
        try:
            await asyncio.wait((flight.landed,), timeout=max(until - monotonic(), 0.0))
        finally:
            flight.waiting -= 1
        if flight.landed.done():
            return flight.landed.result()
        if deadline is not None and monotonic() >= deadline:
            raise DeadlineExceededError
        return None

    async def _led(self, key: bytes, priority: int, events: Events) -> Events:
        """Yield the events, and hand them to all who wait; another flight with this key keeps its place."""
        flight = _Flight(priority)
        self._flights.setdefault(key, flight)

        def keep(answer: Answer) -> None:
            self._cache.keep(key, answer)
            self._over(key, flight, answer)

        try:
            async with aclosing(recorded(events, keep)) as kept:
                async for event in kept:
                    yield event
        finally:
            self._over(key, flight, None)

    def _over(self, key: bytes, flight: _Flight, answer: Answer | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        flight.end(answer)
