"""Serving one request, free of HTTP: prepare, reserve, admit, route, guard, count."""

from dataclasses import dataclass
from functools import partial
from time import monotonic

from weir.contracts.caller import Caller
from weir.contracts.errors import OverloadedError, PromptBlockedError, WeirError
from weir.contracts.request import GenerateRequest
from weir.gateway.accounting import Accounts
from weir.gateway.admission.door import Admission, Place
from weir.gateway.admission.flows import Work
from weir.gateway.catalog import Catalog
from weir.gateway.deadlines import in_time, seconds_left
from weir.gateway.denials import ModelNotAllowedError
from weir.gateway.generation import Ask, Generation
from weir.gateway.filtering import PromptFilter
from weir.gateway.guarding import GuardedAnswer, said
from weir.gateway.guards import Guards
from weir.gateway.preparation import Preparation
from weir.gateway.refusals import DrainingError
from weir.gateway.response_cache import ResponseCache, recorded, replayed
from weir.gateway.streams import Events, started
from weir.routing.router import Routed, Router
from weir.telemetry.metrics import GatewayMetrics


@dataclass(slots=True)
class GenerationService:
    """The gateway's only use case, made of parts that a test can replace."""

    catalog: Catalog
    preparation: Preparation
    accounts: Accounts
    cache: ResponseCache
    admission: Admission
    router: Router
    guards: Guards
    metrics: GatewayMetrics
    timeout_s: float
    is_leaving: bool = False  # `/readyz` says no, so that callers go elsewhere

    @property
    def is_ready(self) -> bool:
        return not self.is_leaving and self.router.is_ready

    @property
    def active(self) -> int:
        """Requests between their first and their last step."""
        return self.accounts.active

    @property
    def is_draining(self) -> bool:
        """New requests are refused; what runs, runs on."""
        return self.accounts.is_draining

    @is_draining.setter
    def is_draining(self, is_so: bool) -> None:
        self.accounts.is_draining = is_so

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
        generation = Generation(ask, model, self.guards.chosen(ask.route, ask.context.caller))
        generation.stream = await started(self._run(generation))
        return generation

    def passed(self, request: GenerateRequest, route: str, caller: Caller) -> GenerateRequest:
        """Return a request that no node is asked for as the input rules leave it.

        Raises:
            PromptBlockedError: a rule matched, or would answer in the model's place.
        """
        prompt = PromptFilter(self.guards.chosen(route, caller), None, [])
        passed = prompt.passed(request, self.metrics)
        if prompt.fallback is not None:
            raise PromptBlockedError(prompt.found[0])
        return passed

    async def _run(self, generation: Generation) -> Events:
        accounts = self.accounts
        accounts.begin(generation)
        try:
            request = await self._accepted(generation)
            answer = self._answer(generation, request)
            try:
                async for event in answer:
                    accounts.observe(generation, event)
                    yield event
            finally:
                await answer.aclose()
        except Exception as error:
            accounts.failed(generation, error)
            raise
        finally:
            accounts.end(generation)

    async def _accepted(self, generation: Generation) -> GenerateRequest:
        """Return what a node is to be asked, once it is sure that the caller may."""
        if self.is_draining:
            raise DrainingError
        if not self.cache.is_on:  # what is kept is given also when nothing else can be
            self.admission.check(_work(generation), generation.ask.context.deadline)
        request = await self.preparation.prepared(generation)
        generation.prepared = monotonic()
        await self.accounts.reserve(generation)
        return request

    def _answer(self, generation: Generation, request: GenerateRequest) -> Events:
        if generation.fallback is not None:
            return said(generation)
        key = self.cache.key(generation, request)
        if key is None:
            return self._generated(generation, request)
        kept = self.cache.found(key)
        if kept is None:
            return recorded(self._generated(generation, request), partial(self.cache.keep, key))
        generation.is_cached, generation.pool = True, "cache"
        return replayed(kept)

    async def _generated(self, generation: Generation, request: GenerateRequest) -> Events:
        """Yield a node's guarded answer."""
        deadline = generation.ask.context.deadline
        place = await self.admission.enter(_work(generation), deadline)
        try:
            generation.queue_s = place.queue_s
            routed = await self._opened(place, request, deadline)
            generation.pool = routed.pool
            guarded = GuardedAnswer(generation, self.guards.seal)
            try:
                upstream = routed.first
                while True:
                    for event in guarded.take(upstream):
                        yield event
                    if guarded.is_over:
                        return
                    upstream = await in_time(routed.next(), deadline)
            finally:
                guarded.report(self.metrics)
                await routed.events.aclose()
        finally:
            place.answer_tokens = generation.generated_tokens
            place.leave()

    async def _opened(self, place: Place, request: GenerateRequest, deadline: float | None) -> Routed:
        """Return once a node has begun to answer; while all are full the request waits, first of its key.

        Raises:
            DeadlineExceededError, SaturatedError: no node had room in time.
            BackendError: no node could do it.
        """
        while True:
            timed = request if deadline is None else request.model_copy(update={"deadline_s": seconds_left(deadline)})
            try:
                routed = await in_time(self.router.open(timed, timeout_s=self.timeout_s), deadline)
            except OverloadedError as full:
                await place.again(full.retry_after_s)
            else:
                place.began()
                return routed


def _work(generation: Generation) -> Work:
    context = generation.ask.context
    return Work(
        key=context.caller.key_id,
        prompt_tokens=generation.prompt_tokens,
        max_new_tokens=generation.max_new_tokens,
        priority=context.effective_priority,
        max_concurrency=context.caller.max_concurrency,
    )
