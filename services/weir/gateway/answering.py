"""A node's guarded answer to one request, from its place in the queue to the place it leaves."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from weir.contracts.errors import BackendUnavailableError, OverloadedError
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.gateway.admission.door import Admission, Place
from weir.gateway.admission.flows import Work
from weir.gateway.deadlines import in_time, seconds_left
from weir.gateway.generation import Generation, Screening
from weir.gateway.guarding import GuardedAnswer
from weir.gateway.guards import Guards
from weir.gateway.provenance import served_headers
from weir.routing.router import Routed, Router
from weir.telemetry.metrics import GatewayMetrics


class Parts(Protocol):
    """What an answer is made with; a reload replaces some of it for those that come later."""

    @property
    def admission(self) -> Admission: ...

    @property
    def router(self) -> Router: ...

    @property
    def guards(self) -> Guards: ...

    @property
    def metrics(self) -> GatewayMetrics: ...

    @property
    def timeout_s(self) -> float: ...

    async def in_step(self) -> None: ...


@dataclass(slots=True)
class Answering:
    """Read it with `next` until it `is_over`, and close it, whatever happened.

    Where its node goes away before anything of the answer was given, another one begins it anew, once. `forget` takes
    back what was given of an answer that is wanted whole: then that holds until its end.
    """

    parts: Parts
    generation: Generation
    forget: Callable[[], None] | None = None
    has_moved: bool = False
    noted: int = 0  # what was noted of the prompt
    place: Place | None = None
    routed: Routed | None = None
    guarded: GuardedAnswer | None = None

    @property
    def is_over(self) -> bool:
        return self.guarded is not None and self.guarded.is_over

    async def next(self, request: GenerateRequest) -> Sequence[GenerationEvent]:
        """Return what may be sent now, which is often nothing.

        Raises:
            WeirError: the request was not let in, or no node could do it, or the one that did failed.
        """
        routed, guarded = self.routed, self.guarded
        if routed is None or guarded is None:
            return await self._first(request)
        deadline = self.generation.ask.context.deadline
        try:
            event = await (routed.next() if deadline is None else in_time(routed.next(), deadline))
        except BackendUnavailableError:
            if self.has_moved or (self.forget is None and self.generation.first_text):
                raise
            return await self._anew(routed, request)
        return await asyncio.to_thread(guarded.take, event) if guarded.takes_long(event) else guarded.take(event)

    async def aclose(self) -> None:
        try:
            if self.guarded is not None:
                self.guarded.report(self.parts.metrics)
            if self.routed is not None:
                await self.routed.events.aclose()
        finally:
            if self.place is not None:
                self.place.answer_tokens = self.generation.generated_tokens
                self.place.leave()

    async def _first(self, request: GenerateRequest) -> Sequence[GenerationEvent]:
        generation, parts = self.generation, self.parts
        deadline = generation.ask.context.deadline
        began = monotonic()
        try:
            place = self.place = await parts.admission.enter(work_of(generation), deadline)
        finally:
            if generation.span is not None:
                generation.span.part("queue", began, monotonic())
        generation.queue_s = place.queue_s
        return await self._begun(place, request)

    async def _begun(self, place: Place, request: GenerateRequest) -> Sequence[GenerationEvent]:
        generation, parts = self.generation, self.parts
        deadline = generation.ask.context.deadline
        routed = self.routed = await self._opened(place, request, deadline)
        generation.pool = routed.pool
        generation.served = served_headers(generation.model.name, routed.version, routed.node, routed.flavour)
        if generation.screening is not None:
            await cleared(generation.screening, deadline)
        await parts.in_step()
        self.noted = len(generation.notes)
        guarded = self.guarded = GuardedAnswer(generation, parts.guards.seal)
        first = routed.first
        return await asyncio.to_thread(guarded.take, first) if guarded.takes_long(first) else guarded.take(first)

    async def _anew(self, gone: Routed, request: GenerateRequest) -> Sequence[GenerationEvent]:
        """Have another node begin the answer: the caller has seen nothing of it."""
        generation, metrics = self.generation, self.parts.metrics
        await gone.events.aclose()
        self.has_moved, self.routed, self.guarded = True, None, None
        metrics.wasted_tokens("error").inc(generation.generated_tokens)
        generation.generated_tokens = 0
        del generation.notes[self.noted :]
        if self.forget is not None:
            self.forget()
        if self.place is None:
            raise RuntimeError("a node was asked without a place")
        metrics.upstream_retries(gone.pool).inc()
        return await self._begun(self.place, request)

    async def _opened(self, place: Place, request: GenerateRequest, deadline: float | None) -> Routed:
        """Return once a node has begun to answer; while all are full the request waits, first of its key.

        Raises:
            DeadlineExceededError, SaturatedError: no node had room in time.
            BackendError: no node could do it.
        """
        router, timeout_s, tokens = self.parts.router, self.parts.timeout_s, self.generation.prompt_tokens
        while True:
            try:
                if deadline is None:
                    routed = await router.open(request, timeout_s=timeout_s, prompt_tokens=tokens)
                else:
                    timed = request.changed(deadline_s=seconds_left(deadline))
                    routed = await in_time(router.open(timed, timeout_s=timeout_s, prompt_tokens=tokens), deadline)
            except OverloadedError as full:
                await place.again(full.retry_after_s)
            else:
                if not self.has_moved:  # a second node's first token says nothing of how soon nodes begin
                    place.began()
                return routed


async def cleared(screening: Screening, deadline: float | None) -> None:
    """Return when the answer may be sent; raises as `Screening.cleared`, and when it is too late for the caller."""
    await (screening.cleared() if deadline is None else in_time(screening.cleared(), deadline))


def work_of(generation: Generation) -> Work:
    """Return the request as admission sees it; its sizes may not be known yet."""
    context = generation.ask.context
    return Work(
        context.caller.key_id,
        generation.prompt_tokens,
        generation.max_new_tokens,
        context.effective_priority,
        context.caller.max_concurrency,
    )
