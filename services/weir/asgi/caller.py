"""Noticing that the caller went away, also while nothing is being sent."""

import asyncio
from types import TracebackType
from typing import Any

from weir.asgi.cycle import RequestCycle
from weir.asgi.types import Receive

_FIRST_LOOK_S = 0.03  # most whole answers of a fast node are done by then, and a task costs more than a timer


class CallerGoneError(Exception):
    """The caller closed its connection; nobody reads an answer."""


class caller_watched:  # noqa: N801 - used as a context manager, named like one
    """Run the block; as soon as the caller disconnects, cancel it and raise `CallerGoneError` here.

    The request's body must have been read. A connection of ours says by itself when its caller is gone; another
    server has to be asked, again and again, by a task.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        owner: Any = getattr(receive, "__self__", None)
        self._cycle: RequestCycle | None = owner if isinstance(owner, RequestCycle) else None
        self._is_gone = False
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        if self._cycle is not None and self._cycle.task is not None:
            self._task = self._cycle.task
            self._cycle.tell_gone(self._gone)
            return
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application always runs in a task")
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_FIRST_LOOK_S, self._start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error, trace
        if self._cycle is not None:
            self._cycle.tell_gone(None)
        if self._timer is not None:
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
        self._gone()

    def _gone(self) -> None:
        self._is_gone = True
        self._task.cancel()
