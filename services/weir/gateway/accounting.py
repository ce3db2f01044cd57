"""Counts what becomes of each generation: metrics, the log line, the ledger.

What a request leaves behind is counted a hundredth of a second later, together with that of others, which costs half.
A kill loses as much; who reads the metrics of this process reads all. Gauges, quotas and budgets are told at once.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from time import monotonic
from typing import Final

from weir.contracts.errors import DeadlineExceededError, PromptBlockedError, WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.gateway.generation import Accounted
from weir.gateway.ledger import Ledger, NoLedger
from weir.gateway.tracing import begun, ended
from weir.telemetry.logs import log_event
from weir.telemetry.metrics import GatewayMetrics
from weir.telemetry.tracing import Tracing

_log = logging.getLogger(__name__)
# Before what ended is counted; more at once would hold up streams.
_LONGEST_S: Final = 0.01
_MOST_ENDED: Final = 32
_NOWHERE = frozenset({"none", "cache"})  # pools without a node


class Accounts:
    """One for all requests of a gateway."""

    def __init__(self, metrics: GatewayMetrics, ledger: Ledger | None = None, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._ledger = ledger or NoLedger()
        self._tracing = tracing
        self._ended: list[Accounted] = []
        self.active = 0  # requests between their first and their last step
        self.is_draining = False
        metrics.before_fold(self._fold)

    async def reserve(self, generation: Accounted) -> None:
        """Ask the ledger whether the caller may spend so much.

        Raises:
            OverloadedError: it may not, for the moment.
        """
        await self._ledger.reserve(generation)

    def begin(self, generation: Accounted) -> None:
        """Count a request; `end` must follow."""
        self.active += 1
        self._metrics.in_flight(generation.ask.route).inc()
        if self._tracing is not None:
            generation.span = begun(self._tracing, generation)

    def failed(self, generation: Accounted, error: Exception) -> None:
        """Note why a request ends."""
        generation.status = error.status.value if isinstance(error, WeirError) else 500
        generation.is_late = isinstance(error, DeadlineExceededError)
        if isinstance(error, PromptBlockedError):
            generation.blocked_by = error.rule
        if generation.span is not None:
            generation.span.fail(error.code if isinstance(error, WeirError) else "internal")

    def end(self, generation: Accounted) -> None:
        """Note that a request has ended."""
        generation.ended = monotonic()
        generation.is_drained = self.is_draining
        self.active -= 1
        self._metrics.in_flight(generation.ask.route).dec()
        self._ledger.settle(generation)
        self._ended.append(generation)
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_later(_LONGEST_S, self._metrics.fold)
        elif len(self._ended) >= _MOST_ENDED:
            self._metrics.fold()

    def observe(self, generation: Accounted, event: GenerationEvent) -> None:
        """Note an event that goes to the caller."""
        if isinstance(event, Finished):
            generation.status = 200
            generation.generated_tokens = event.usage.completion_tokens
            generation.reason = event.reason
            return
        if generation.answer_hash is not None:
            generation.answer_hash.update(event.text.encode("utf-8", "surrogatepass"))
        now = monotonic()
        generation.sent_tokens += event.token_count
        if generation.first_text:
            gap = self._metrics.token_gap(generation.model.name, generation.pool)
            gap.observe(now - generation.last_text)
        else:
            generation.first_text = now
        generation.last_text = now

    def forget(self, generation: Accounted) -> None:
        """Take back what was observed: another node begins the answer anew, and the caller has seen nothing of it."""
        generation.sent_tokens, generation.first_text, generation.last_text = 0, 0.0, 0.0
        generation.answer_hash = self._ledger.hasher()

    def _fold(self) -> None:
        """Count those that have ended."""
        done = self._ended[:]
        del self._ended[: len(done)]
        if not done:
            return
        metrics = self._metrics
        requests: dict[tuple[str, str, str, int], int] = defaultdict(int)
        for generation in done:
            model, route, pool = generation.model.name, generation.ask.route, generation.pool
            requests[route, model, pool, generation.status] += 1
            metrics.duration(route, model).observe(generation.ended - generation.began)
            self._count_times(generation, model, pool)
            self._count_end(generation)
            self._log(generation)
            if generation.span is not None:
                ended(generation.span, generation)
        for (route, model, pool, status), count in requests.items():
            metrics.requests(route, model, pool, str(status)).inc(count)
        self._count_tokens(done)

    def _count_times(self, generation: Accounted, model: str, pool: str) -> None:
        if not generation.first_text:
            return
        self._metrics.first_token(model, pool).observe(generation.first_text - generation.began)
        span = generation.last_text - generation.first_text
        if generation.generated_tokens > 1 and span > 0:
            self._metrics.time_per_token(model, pool).observe(span / (generation.generated_tokens - 1))

    def _count_tokens(self, done: Iterable[Accounted]) -> None:
        read: dict[str, int] = defaultdict(int)
        made: dict[str, int] = defaultdict(int)
        for generation in done:
            if generation.pool not in _NOWHERE:
                read[generation.model.name] += generation.prompt_tokens
                made[generation.model.name] += generation.generated_tokens
                self._metrics.request_prompt_tokens(generation.model.name).observe(generation.prompt_tokens)
                self._metrics.request_output_tokens(generation.model.name).observe(generation.generated_tokens)
        for model, tokens in read.items():
            self._metrics.prompt_tokens(model).inc(tokens)
            self._metrics.generated_tokens(model).inc(made[model])

    def _count_end(self, generation: Accounted) -> None:
        if generation.reason is not None:
            self._metrics.finish(generation.reason).inc()
        if generation.status == 200 and generation.blocked_by is None:
            return  # where the node's own count differs from what its events said, nothing was thrown away
        if side := _cut_by(generation):
            self._metrics.stream_aborted(side).inc()
        self._count_waste(generation)

    def _count_waste(self, generation: Accounted) -> None:
        got = generation.sent_tokens if generation.status == 200 or generation.is_streamed else 0
        wasted = generation.generated_tokens - got
        if wasted <= 0 or generation.is_cached:
            return
        match generation.status:
            case 200:
                reason = "guard"
            case 499:
                reason = "drain" if generation.is_drained else "client"
            case _:
                reason = "deadline" if generation.is_late else "error"
        self._metrics.wasted_tokens(reason).inc(wasted)

    def _log(self, generation: Accounted) -> None:
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
                "duration_ms": round((generation.ended - generation.began) * 1000, 1),
                **({} if generation.span is None else generation.span.log_fields),
            },
        )


def _cut_by(generation: Accounted) -> str | None:
    if generation.status == 499:
        return "drain" if generation.is_drained else "client"
    return "upstream" if generation.status >= 500 and generation.first_text else None
