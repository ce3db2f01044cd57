"""Counts what becomes of each generation: metrics, the log line, the ledger."""

import logging
from time import monotonic

from weir.contracts.errors import DeadlineExceededError, PromptBlockedError, WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.gateway.generation import Generation
from weir.gateway.ledger import Ledger, NoLedger
from weir.telemetry.logs import log_event
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_NOWHERE = frozenset({"none", "cache"})  # pools without a node


class Accounts:
    """One for all requests of a gateway."""

    def __init__(self, metrics: GatewayMetrics, ledger: Ledger | None = None) -> None:
        self._metrics = metrics
        self._ledger = ledger or NoLedger()
        self.active = 0  # requests between their first and their last step
        self.is_draining = False

    async def reserve(self, generation: Generation) -> None:
        """Ask the ledger whether the caller may spend so much.

        Raises:
            OverloadedError: it may not, for the moment.
        """
        await self._ledger.reserve(generation)

    def begin(self, generation: Generation) -> None:
        """Count a request; `end` must follow."""
        self.active += 1
        self._metrics.in_flight(generation.ask.route).inc()

    def failed(self, generation: Generation, error: Exception) -> None:
        """Note why a request ends."""
        generation.status = error.status.value if isinstance(error, WeirError) else 500
        generation.is_late = isinstance(error, DeadlineExceededError)
        if isinstance(error, PromptBlockedError):
            generation.blocked_by = error.rule

    def end(self, generation: Generation) -> None:
        """Count what became of a request."""
        self.active -= 1
        self._metrics.in_flight(generation.ask.route).dec()
        self._count(generation)
        self._ledger.settle(generation)

    def observe(self, generation: Generation, event: GenerationEvent) -> None:
        """Note an event that goes to the caller."""
        metrics, labels = self._metrics, (generation.model.name, generation.pool)
        if isinstance(event, Finished):
            generation.status = 200
            generation.generated_tokens = event.usage.completion_tokens
            metrics.finish(event.reason).inc()
            return
        if generation.answer_hash is not None:
            generation.answer_hash.update(event.text.encode("utf-8", "surrogatepass"))
        now = monotonic()
        generation.sent_tokens += event.token_count
        if generation.first_text:
            metrics.token_gap(*labels).observe(now - generation.last_text)
        else:
            generation.first_text = now
            metrics.first_token(*labels).observe(now - generation.began)
        generation.last_text = now

    def _count(self, generation: Generation) -> None:
        metrics, model, route = self._metrics, generation.model.name, generation.ask.route
        seconds = monotonic() - generation.began
        metrics.requests(route, model, generation.pool, str(generation.status)).inc()
        metrics.duration(route, model).observe(seconds)
        if generation.pool not in _NOWHERE:
            metrics.prompt_tokens(model).inc(generation.prompt_tokens)
            metrics.generated_tokens(model).inc(generation.generated_tokens)
        if generation.generated_tokens > 1 and generation.last_text > generation.first_text:
            span = generation.last_text - generation.first_text
            metrics.time_per_token(model, generation.pool).observe(span / (generation.generated_tokens - 1))
        if side := self._cut_by(generation):
            metrics.stream_aborted(side).inc()
        self._count_waste(generation)
        self._log(generation, seconds)

    def _count_waste(self, generation: Generation) -> None:
        is_whole = generation.status == 200
        got = generation.sent_tokens if is_whole or generation.is_streamed else 0
        wasted = generation.generated_tokens - got
        if wasted <= 0 or generation.is_cached:
            return
        match generation.status:
            case 200 if generation.blocked_by is None:
                return  # the node's own count differs from what its events said: nothing was thrown away
            case 200:
                reason = "guard"
            case 499:
                reason = "drain" if self.is_draining else "client"
            case _:
                reason = "deadline" if generation.is_late else "error"
        self._metrics.wasted_tokens(reason).inc(wasted)

    def _log(self, generation: Generation, seconds: float) -> None:
        log_event(
            _log,
            "request_done",
            {
                "request_id": generation.ask.request.id,
                "key_id": generation.ask.context.caller.key_id,
                "route": generation.ask.route,
                "model": generation.model.name,
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
