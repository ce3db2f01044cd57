"""Noticing that the caller went away, also while nothing is being sent."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from weir.asgi.types import Receive


class CallerGoneError(Exception):
    """The caller closed its connection; nobody reads an answer."""


@asynccontextmanager
async def caller_watched(receive: Receive) -> AsyncGenerator[None, None]:
    """Run the block; as soon as the caller disconnects, cancel it and raise `CallerGoneError` here.

    The request's body must have been read.
    """
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("an ASGI application always runs in a task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise CallerGoneError from None
        raise
    finally:
        watcher.cancel()
