"""Bounds how many requests are worked on and how many may wait, in the order they came."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import monotonic

from weir.contracts.errors import OverloadedError
from weir.telemetry.metrics import GatewayMetrics

_SMOOTHING = 0.1  # weight of the newest request in the mean duration
_FIRST_GUESS_S = 2.0
_LONGEST_RETRY_S = 60.0


class Admission:
    """`max_in_flight` requests run, `max_queue` wait for at most `queue_timeout_s`; the rest is told when to retry."""

    def __init__(self, metrics: GatewayMetrics, *, max_in_flight: int, max_queue: int, queue_timeout_s: float) -> None:
        self._metrics = metrics
        self._free = max_in_flight
        self._max_in_flight = max_in_flight
        self._max_queue = max_queue
        self._queue_timeout_s = queue_timeout_s
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = _FIRST_GUESS_S

    @property
    def in_flight(self) -> int:
        return self._max_in_flight - self._free

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[float, None]:
        """Hold one of the slots; the value is how long it took to get it, in seconds.

        Raises:
            OverloadedError: the queue is full, or no slot came free in time.
        """
        asked = monotonic()
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait()
        began = monotonic()
        self._metrics.queue_wait.observe(began - asked)
        try:
            yield began - asked
        finally:
            self._mean_s += _SMOOTHING * (monotonic() - began - self._mean_s)
            self._release()

    async def _wait(self) -> None:
        if len(self._waiting) >= self._max_queue:
            raise OverloadedError(self._retry_after_s())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._metrics.queue_depth.set(len(self._waiting))
        try:
            async with asyncio.timeout(self._queue_timeout_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # the slot was handed over in the very moment of giving up
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise OverloadedError(self._retry_after_s()) from None
            raise
        finally:
            self._metrics.queue_depth.set(len(self._waiting))

    def _release(self) -> None:
        """Hand the slot to whoever waits longest, or put it back."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _retry_after_s(self) -> float:
        """Return when the queue will have moved on, going by how long requests took lately."""
        ahead = len(self._waiting) + 1
        return min(max(ahead * self._mean_s / self._max_in_flight, 1.0), _LONGEST_RETRY_S)
