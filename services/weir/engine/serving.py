"""What a node needs of an engine, whichever it is: Weir's own scheduler, or onnxruntime-genai's on a GPU."""

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.engine.engine import EngineInfo
from weir.engine.observer import EngineStats


@runtime_checkable
class ServingEngine(Protocol):
    """Generates for many requests at once; see `weir.engine.engine.Engine` for what each promises."""

    info: EngineInfo

    @property
    def context_tokens(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    @property
    def failed(self) -> bool: ...
    @property
    def stats(self) -> EngineStats: ...
    def start(self) -> None: ...
    async def stop(self, *, drain_s: float = 0.0) -> None: ...
    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]: ...
