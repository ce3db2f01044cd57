"""The engine in this process: no wire, no serialisation."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from weir.backends.base import NodeReport
from weir.contracts.errors import BackendTimeoutError, UnknownModelError
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.engine.serving import ServingEngine


class LocalBackend:
    """A started engine as a backend; `aclose` stops the engine.

    It serves the one release that it was given: `load` accepts that one and refuses others.
    """

    def __init__(self, name: str, engine: ServingEngine, *, drain_s: float = 0.0) -> None:
        self._name = name
        self._engine = engine
        self._drain_s = drain_s

    @property
    def name(self) -> str:
        return self._name

    @property
    def report(self) -> NodeReport:
        info, stats = self._engine.info, self._engine.stats
        return NodeReport(info.version, info.flavour, stats.slots, stats.queued + stats.running)

    async def generate(self, request: GenerateRequest, *, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        """As `Backend.generate`; the engine's own errors pass through.

        `timeout_s` bounds the wait for the first event and between events.
        """
        async with aclosing(self._engine.generate(request)) as events:
            while True:
                try:
                    async with asyncio.timeout(timeout_s):
                        event = await anext(events)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise BackendTimeoutError(f"{self._name} sent nothing for {timeout_s:g} s") from error
                yield event

    async def ready(self) -> bool:
        return self._engine.ready

    async def load(self, model: str, version: int) -> None:
        """Check that this is what is served.

        Raises:
            UnknownModelError: it is another release.
        """
        info = self._engine.info
        if (model, version) != (info.model, info.version):
            raise UnknownModelError(f"{self._name} serves {info.model} version {info.version} only")

    async def aclose(self) -> None:
        await self._engine.stop(drain_s=self._drain_s)
