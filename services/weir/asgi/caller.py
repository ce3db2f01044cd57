"""Noticing that the caller went away, also while nothing is being sent."""

import asyncio
from types import TracebackType

from weir.asgi.types import Receive

_FIRST_LOOK_S = 0.03  # most whole answers of a fast node are done by then, and a task costs more than a timer


class CallerGoneError(Exception):
    """The caller closed its connection; nobody reads an answer."""


class caller_watched:  # noqa: N801 - used as a context manager, named like one
    """Run the block; as soon as the caller disconnects, cancel it and raise `CallerGoneError` here.

    The request's body must have been read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_gone = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application always runs in a task")
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_FIRST_LOOK_S, self._start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error, trace
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if (
            kind is not None
            and issubclass(kind, asyncio.CancelledError)
            and self._is_gone
            and not self._task.uncancel()
        ):
            raise CallerGoneError from None

    def _start(self) -> None:
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._task.cancel()
