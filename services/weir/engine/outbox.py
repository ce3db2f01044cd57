"""Carries one request's events from the engine's thread to a coroutine."""

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, GenerationEvent, TokenChunk


class Outbox:
    """The engine's thread puts and never waits; one coroutine takes.

    Chunks that were not taken yet become one, except the first of the stream: a client's first token is never kept
    for company. What is kept is bounded by the request's own `max_new_tokens`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._first: TokenChunk | None = None
        self._had_first = False
        self._later: list[TokenChunk] = []
        self._end: Finished | WeirError | None = None

    def put(self, chunk: TokenChunk) -> None:
        with self._lock:
            if self._had_first:
                self._later.append(chunk)
            else:
                self._first, self._had_first = chunk, True

    def end(self, how: Finished | WeirError) -> None:
        with self._lock:
            self._end = how

    async def take(self) -> list[GenerationEvent]:
        """Return what there is, at least one event.

        Raises:
            WeirError: the generation failed, and everything before that was taken.
        """
        while True:
            self._news.clear()  # before looking, so that no news gets lost
            events, failure = self._grab()
            if events:
                return events
            if failure is not None:
                raise failure
            await self._news.wait()

    def _grab(self) -> tuple[list[GenerationEvent], WeirError | None]:
        with self._lock:
            first, later, end = self._first, self._later, self._end
            self._first, self._later = None, []
            if isinstance(end, Finished):
                self._end = None
        events: list[GenerationEvent] = [] if first is None else [first]
        if later:
            events.append(_joined(later))
        if isinstance(end, Finished):
            return [*events, end], None
        return events, end

    def notify(self) -> None:
        """Wake the taker; on its loop only."""
        self._news.set()


def _joined(chunks: list[TokenChunk]) -> TokenChunk:
    if len(chunks) == 1:
        return chunks[0]
    tokens = tuple(token for chunk in chunks for token in chunk.tokens)
    prompt = tuple(token for chunk in chunks for token in chunk.prompt)
    return TokenChunk("".join(c.text for c in chunks), sum(c.token_count for c in chunks), tokens, prompt)


def wake(outboxes: Iterable[Outbox]) -> None:
    """Wake all takers, with one call into each event loop; from any thread. A loop that is closed has no takers."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Outbox]] = {}
    for outbox in outboxes:
        by_loop.setdefault(outbox.loop, []).append(outbox)
    for loop, boxes in by_loop.items():
        with suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_notify, boxes)


def _notify(outboxes: list[Outbox]) -> None:
    for outbox in outboxes:
        outbox.notify()
