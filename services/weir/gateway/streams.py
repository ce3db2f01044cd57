"""Ways to use an event stream."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Self, TypeVar

from weir.contracts.errors import BackendError
from weir.contracts.events import Finished, GenerationEvent, PromptToken, Token

Events = AsyncGenerator[GenerationEvent, None]
T = TypeVar("T")


class Started(ABC):
    """A stream whose first event has arrived; iterate it once, and close it."""

    def __aiter__(self) -> Self:
        return self

    @abstractmethod
    async def __anext__(self) -> GenerationEvent: ...

    @abstractmethod
    async def aclose(self) -> None: ...


class Pumped(Started):
    """A started stream that is read ahead, whoever waits.

    Answers of one job run side by side: one that stood still until the others have begun would keep their places.
    """

    def __init__(self, source: Started) -> None:
        self._source = source
        self._arrived: asyncio.Queue[GenerationEvent | Exception] = asyncio.Queue()  # as long as an answer at most
        self._pump = asyncio.create_task(self._read())

    async def __anext__(self) -> GenerationEvent:
        event = await self._arrived.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def aclose(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._source.aclose()

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._arrived.put_nowait(event)
        except Exception as error:  # noqa: BLE001 - raised by who reads
            self._arrived.put_nowait(error)
        else:
            self._arrived.put_nowait(StopAsyncIteration())


@dataclass(slots=True)
class Collected:
    """A whole answer."""

    finished: Finished
    texts: list[str] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    prompt: list[PromptToken] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)


class Collector:
    """Puts events together."""

    __slots__ = ("_finished", "_prompt", "_texts", "_tokens")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._texts: list[str] = []
        self._tokens: list[Token] = []
        self._prompt: list[PromptToken] = []
        self._finished: Finished | None = None

    def take(self, event: GenerationEvent) -> None:
        if isinstance(event, Finished):
            self._finished = event
            return
        self._texts.append(event.text)
        if event.tokens:
            self._tokens += event.tokens
        if event.prompt:
            self._prompt += event.prompt

    @property
    def is_whole(self) -> bool:
        return self._finished is not None

    def collected(self) -> Collected:
        """Raises `BackendError` when the end never came."""
        if self._finished is None:
            raise BackendError("the answer ended without saying why")
        return Collected(self._finished, self._texts, self._tokens, self._prompt)


async def collected(events: Started) -> Collected:
    """Read the whole stream."""
    collector = Collector()
    async for event in events:
        collector.take(event)
        if collector.is_whole:
            break
    return collector.collected()


async def all_collected(streams: Sequence[Started]) -> list[Collected]:
    """Read all streams at once; the first failure ends all."""
    if len(streams) == 1:
        return [await collected(streams[0])]
    return await all_of([collected(stream) for stream in streams])


def merged(streams: Sequence[Started]) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    """Yield the events of all streams as they come, each with the number of its stream; the first failure is raised."""
    return _numbered(streams[0]) if len(streams) == 1 else _interleaved(streams)


async def _numbered(stream: Started) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    """The usual case needs no queue."""
    async for event in stream:
        yield 0, event
        if isinstance(event, Finished):
            return
    raise BackendError("the answer ended without saying why")


async def _interleaved(streams: Sequence[Started]) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    arrived: asyncio.Queue[tuple[int, GenerationEvent | Exception]] = asyncio.Queue(maxsize=2 * len(streams))

    async def pump(number: int, stream: Started) -> None:
        failure: Exception = BackendError("the answer ended without saying why")
        try:
            async for event in stream:
                await arrived.put((number, event))
                if isinstance(event, Finished):
                    return
        except Exception as error:  # noqa: BLE001 - raised by who reads
            failure = error
        await arrived.put((number, failure))

    pumps = [asyncio.create_task(pump(number, stream)) for number, stream in enumerate(streams)]
    try:
        running = len(pumps)
        while running:
            number, event = await arrived.get()
            if isinstance(event, Exception):
                raise event
            running -= isinstance(event, Finished)
            yield number, event
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def all_of(work: Sequence[Awaitable[T]]) -> list[T]:
    """Wait for all; the first failure cancels the others and is raised as it is, not as a group."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
