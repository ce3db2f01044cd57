"""Serving one request, free of HTTP: prepare, admit, route, guard, count."""

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import monotonic

from weir.contracts.errors import WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.gateway.access import Access
from weir.gateway.admission import Admission
from weir.gateway.catalog import Catalog
from weir.gateway.denials import ModelNotAllowedError
from weir.gateway.generation import Ask, Generation
from weir.gateway.guarding import guarded
from weir.gateway.preparation import Preparation
from weir.gateway.refusals import DrainingError
from weir.gateway.streams import Events, started
from weir.guard.output import OutputGuard
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class GenerationService:
    """The gateway's only use case, made of parts that a test can replace."""

    catalog: Catalog
    preparation: Preparation
    admission: Admission
    router: Router
    output_guard: OutputGuard
    metrics: GatewayMetrics
    access: Access
    timeout_s: float
    active: int = 0  # requests between their first and their last step
    is_leaving: bool = False  # `/readyz` says no, so that callers go elsewhere
    is_draining: bool = False  # and new requests are refused; what runs, runs on

    @property
    def is_ready(self) -> bool:
        return not self.is_leaving and self.router.is_ready

    async def start(self, ask: Ask) -> Generation:
        """Return once the first event that may be sent is there. The caller closes `events` of what it gets.

        Raises:
            WeirError: nothing was sent yet; `events` raises the later ones.
        """
        try:
            model = self.catalog.resolve(ask.request.model)
            if not ask.context.caller.may_use(model.name):
                raise ModelNotAllowedError
        except WeirError as error:
            self.metrics.incoming("other").inc()
            self.metrics.requests(ask.route, "other", "none", str(error.status.value)).inc()
            raise
        self.metrics.incoming(model.name).inc()
        generation = Generation(ask, model)
        if self.access.journal.with_audit:
            generation.answer_hash = self.access.journal.hasher()
        generation.stream = await started(self._run(generation))
        return generation

    async def _run(self, generation: Generation) -> Events:
        with self._accounted(generation):
            if self.is_draining:
                raise DrainingError
            request = await self.preparation.prepared(generation)
            generation.prepared = monotonic()
            async with self._reserved(generation), self.admission.slot() as generation.queue_s:
                routed = await self.router.open(request, timeout_s=self.timeout_s)
                generation.pool = routed.pool
                safe = guarded(routed, self.output_guard, generation, self.metrics)
                async with aclosing(routed.events), aclosing(safe):
                    async for event in safe:
                        self._observe(generation, event)
                        yield event

    @asynccontextmanager
    async def _reserved(self, generation: Generation) -> AsyncGenerator[None, None]:
        """Hold what the caller's limits must have room for; what was not used goes back, however the block ends."""
        ask = generation.ask
        reservation = await self.access.ledger.reserve(
            ask.context.caller,
            generation.prompt_tokens,
            generation.max_new_tokens,
            is_stated=ask.request.sampling.max_new_tokens is not None,
        )
        try:
            yield
        finally:
            read = generation.prompt_tokens if generation.pool != "none" else 0
            self.access.ledger.settle(reservation, prompt_tokens=read, generated_tokens=generation.generated_tokens)

    def _observe(self, generation: Generation, event: GenerationEvent) -> None:
        labels = (generation.model.name, generation.pool)
        if isinstance(event, Finished):
            generation.status = 200
            generation.generated_tokens = event.usage.completion_tokens
            self.metrics.finish(event.reason).inc()
            return
        if generation.answer_hash is not None:
            generation.answer_hash.update(event.text.encode("utf-8", "surrogatepass"))
        now = monotonic()
        if generation.first_text:
            self.metrics.token_gap(*labels).observe(now - generation.last_text)
        else:
            generation.first_text = now
            self.metrics.first_token(*labels).observe(now - generation.began)
        generation.last_text = now

    @contextmanager
    def _accounted(self, generation: Generation) -> Generator[None, None, None]:
        """Count one request, however it ends."""
        self.active += 1
        in_flight = self.metrics.in_flight(generation.ask.route)
        in_flight.inc()
        try:
            yield
        except WeirError as error:
            generation.status = error.status.value
            raise
        except Exception:
            generation.status = 500
            raise
        finally:
            self.active -= 1
            in_flight.dec()
            self._count(generation)
            self.access.journal.record(generation)

    def _count(self, generation: Generation) -> None:
        metrics, model, route = self.metrics, generation.model.name, generation.ask.route
        seconds = monotonic() - generation.began
        metrics.requests(route, model, generation.pool, str(generation.status)).inc()
        metrics.duration(route, model).observe(seconds)
        metrics.generated_tokens(model).inc(generation.generated_tokens)
        if generation.pool != "none":
            metrics.prompt_tokens(model).inc(generation.prompt_tokens)
        if generation.generated_tokens > 1 and generation.last_text > generation.first_text:
            span = generation.last_text - generation.first_text
            metrics.time_per_token(model, generation.pool).observe(span / (generation.generated_tokens - 1))
        if side := self._cut_by(generation):
            metrics.stream_aborted(side).inc()
        _log.info(
            "request_done",
            extra={
                "request_id": generation.ask.request.id,
                "key_id": generation.ask.context.caller.key_id,
                "route": route,
                "model": model,
                "version": generation.model.version,
                "pool": generation.pool,
                "status": generation.status,
                "prompt_tokens": generation.prompt_tokens,
                "generated_tokens": generation.generated_tokens,
                "blocked_by": generation.blocked_by,
                "duration_ms": round(seconds * 1000, 1),
            },
        )

    def _cut_by(self, generation: Generation) -> str | None:
        if generation.status == 499:
            return "drain" if self.is_draining else "client"
        return "upstream" if generation.status >= 500 and generation.first_text else None
