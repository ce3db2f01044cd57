"""Notices that a model's process is gone, sooner than its server says.

Triton calls a model ready whose process died, takes a second to refuse a request to it, and leaves those that it was
working on without a word. So the node is asked for beats; when they stop, one canary decides.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import monotonic
from typing import Final

from weir.contracts.errors import WeirError
from weir.oip.wire import BEAT_S

_LEAST_PATIENCE_S: Final = 0.5
_MOST_PATIENCE_S: Final = 5.0
_GAPS: Final = 3.0  # longest of the last gaps that are no reason to worry: a busy machine beats irregularly
_FORGET: Final = 0.98  # of a gap's weight is left after each beat: half a minute makes it small
_PAUSE_S: Final = 0.2


class NoPulseError(Exception):
    """The model knows no beats."""


class Pulse:
    """Listens from `start` to `aclose`.

    Args:
        beats: asks the node; yields once a beat, ends now and then. Raises NoPulseError, or a WeirError.
        is_alive: the canary; None: no answer in time, which may come of a machine that is busy.
        lost: called when beats stopped and the canary said that the node is gone.
    """

    def __init__(
        self,
        beats: Callable[[], AsyncGenerator[None, None]],
        is_alive: Callable[[], Awaitable[bool | None]],
        lost: Callable[[], None],
    ) -> None:
        self._beats = beats
        self._is_alive = is_alive
        self._lost = lost
        self._task: asyncio.Task[None] | None = None
        self._longest_s = BEAT_S
        self._heard = asyncio.Event()
        self._heard.set()

    @property
    def is_silent(self) -> bool:
        """Whether beats have stopped, and nothing has shown since that the node lives."""
        return not self._heard.is_set()

    @property
    def patience_s(self) -> float:
        """How long a beat may be late."""
        return min(max(_LEAST_PATIENCE_S, _GAPS * self._longest_s), _MOST_PATIENCE_S)

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._listen())

    async def heard_within(self, seconds: float) -> bool:
        """Wait until the node is known to live, for so long at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        return not self.is_silent

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        while True:
            try:
                if await self._series():
                    continue
            except NoPulseError:
                self._heard.set()
                return
            except WeirError:  # not there, or not loaded: whoever asks it for something is told
                self._heard.set()
            await asyncio.sleep(_PAUSE_S)

    async def _series(self) -> bool:
        """Listen to one series of beats; False when they stopped for good."""
        async with aclosing(self._beats()) as beats:
            last = monotonic()
            while True:
                try:
                    async with asyncio.timeout(self.patience_s):
                        await anext(beats)
                except StopAsyncIteration:
                    return True
                except TimeoutError:
                    return await self._asked()
                now = monotonic()
                self._longest_s = max(now - last, self._longest_s * _FORGET)
                last = now
                self._heard.set()

    async def _asked(self) -> bool:
        self._heard.clear()
        is_alive = await self._is_alive()
        if is_alive:
            self._heard.set()
        elif is_alive is False:
            self._lost()
        return is_alive is True
