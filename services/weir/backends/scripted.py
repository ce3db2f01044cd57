"""A backend that plays a script: tests and demos without any model."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from weir.backends.base import NodeReport
from weir.contracts.errors import BackendTimeoutError
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest

Step = GenerationEvent | Exception | float  # a number: wait so many seconds
Script = Sequence[Step]
_PAUSE_EVERY: Final = 64  # events


class ScriptedBackend:
    """Plays one script per request, in order, then the last one again and again.

    An exception in a script is raised, a number waits. `cancelled` counts generators closed before their end.
    """

    def __init__(self, *scripts: Script | Callable[[GenerateRequest], Script], name: str = "scripted") -> None:
        self._name = name
        self._scripts = list(scripts)
        self.calls: list[GenerateRequest] = []
        self.cancelled = asyncio.Event()
        self.cancelled_count = 0
        self.is_ready = True
        self.report = NodeReport()
        self.loaded: list[tuple[str, int]] = []

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: GenerateRequest, *, timeout_s: float) -> AsyncGenerator[GenerationEvent, None]:
        self.calls.append(request)
        is_finished = False
        try:
            for number, step in enumerate(self._next_script(request), 1):
                if isinstance(step, Exception):
                    is_finished = True
                    raise step
                if isinstance(step, float | int):
                    await self._wait(float(step), timeout_s)
                    continue
                is_finished = step.type == "finished"
                yield step
                if number % _PAUSE_EVERY == 0:
                    await asyncio.sleep(0)  # as a node's wire would; without it no other request gets a turn
        finally:
            if not is_finished:
                self.cancelled_count += 1
                self.cancelled.set()

    async def ready(self) -> bool:
        return self.is_ready

    async def load(self, model: str, version: int) -> None:
        self.loaded.append((model, version))

    async def aclose(self) -> None:
        return None

    def _next_script(self, request: GenerateRequest) -> Script:
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        return script(request) if callable(script) else script

    async def _wait(self, seconds: float, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):  # 3.11's wait_for may swallow a cancellation
                await asyncio.sleep(seconds)
        except TimeoutError:
            raise BackendTimeoutError(f"{self._name} sent nothing for {timeout_s:g} s") from None
