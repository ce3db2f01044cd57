"""Ways to use an event stream."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Self

from weir.contracts.errors import BackendError
from weir.contracts.events import Finished, GenerationEvent, Token

Events = AsyncGenerator[GenerationEvent, None]


class Started:
    """A stream whose first event has arrived; iterate it once, and close it."""

    def __init__(self, first: GenerationEvent, rest: Events) -> None:
        self._first: GenerationEvent | None = first
        self._rest = rest

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerationEvent:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        await self._rest.aclose()


async def started(events: Events) -> Started:
    """Wait for the first event, so that an early failure still gets its own HTTP status."""
    try:
        return Started(await anext(events), events)
    except BaseException:
        await events.aclose()
        raise


@dataclass(slots=True)
class Collected:
    """A whole answer."""

    finished: Finished
    texts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


async def collected(events: Started) -> Collected:
    """Read the whole stream."""
    texts: list[str] = []
    tokens: list[Token] = []
    async for event in events:
        if isinstance(event, Finished):
            return Collected(event, texts, tokens)
        texts.append(event.text)
        tokens += event.tokens
    raise BackendError("the answer ended without saying why")
