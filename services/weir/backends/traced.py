"""A span around each call of a node: the client's side of it, first token included."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from weir.backends.base import Answer, Backend, NodeReport
from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.telemetry.gen_ai import FIRST_TOKEN, PROVIDER
from weir.telemetry.tracing import Span, Tracing, is_sampled


class TracedBackend:
    """A backend whose calls are spans; the node is handed the span's traceparent."""

    def __init__(self, backend: Backend, tracing: Tracing) -> None:
        self._backend = backend
        self._tracing = tracing

    @property
    def name(self) -> str:
        return self._backend.name

    @property
    def report(self) -> NodeReport:
        return self._backend.report

    def generate(self, request: GenerateRequest, *, timeout_s: float) -> Answer:
        parent = request.traceparent
        if parent is None or not is_sampled(parent):  # and what is handed on says so
            return self._backend.generate(request, timeout_s=timeout_s)
        return self._traced(request, timeout_s, parent)

    async def _traced(
        self, request: GenerateRequest, timeout_s: float, parent: str
    ) -> AsyncGenerator[GenerationEvent, None]:
        span = self._begun(request, parent)
        is_first, error_type = True, "cancelled"
        try:
            async with aclosing(
                self._backend.generate(request.changed(traceparent=span.traceparent), timeout_s=timeout_s)
            ) as events:
                async for event in events:
                    if is_first:
                        span.note(FIRST_TOKEN)
                        is_first = False
                    if isinstance(event, Finished):
                        error_type = ""
                    yield event
        except WeirError as error:
            error_type = error.code
            raise
        finally:
            if error_type:
                span.fail(error_type)
            span.end()

    def _begun(self, request: GenerateRequest, parent: str) -> Span:
        attributes = {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": request.model or "",
            "weir.node": self.name,
        }
        return self._tracing.child("node", "client", parent, attributes=attributes)

    async def ready(self) -> bool:
        return await self._backend.ready()

    async def load(self, model: str, version: int) -> None:
        await self._backend.load(model, version)

    async def aclose(self) -> None:
        await self._backend.aclose()
