"""Serving one request, free of HTTP: prepare, reserve, admit, route, guard, count."""

from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from time import monotonic

from weir.contracts.caller import ANYONE
from weir.contracts.errors import OverloadedError, WeirError
from weir.contracts.request import GenerateRequest
from weir.gateway.accounting import Accounts
from weir.gateway.admission.door import Admission, Place
from weir.gateway.admission.flows import Work
from weir.gateway.catalog import Catalog
from weir.gateway.deadlines import in_time, seconds_left
from weir.gateway.denials import ModelNotAllowedError
from weir.gateway.generation import Ask, Generation, RequestContext
from weir.gateway.guarding import guarded
from weir.gateway.preparation import Preparation
from weir.gateway.refusals import DrainingError
from weir.gateway.response_cache import ResponseCache, recorded, replayed
from weir.gateway.streams import Events, started
from weir.guard.output import OutputGuard
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
    output_guard: OutputGuard
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
        generation = Generation(ask, model)
        generation.stream = await started(self._run(generation))
        return generation

    async def _run(self, generation: Generation) -> Events:
        with self.accounts.of(generation):
            if self.is_draining:
                raise DrainingError
            if not self.cache.is_on:  # what is kept is given also when nothing else can be
                self.admission.check(_work(generation), generation.ask.context.deadline)
            request = _addressed(await self.preparation.prepared(generation), generation.ask.context)
            generation.prepared = monotonic()
            await self.accounts.reserve(generation)
            async with aclosing(self._answer(generation, request)) as answer:
                async for event in answer:
                    self.accounts.observe(generation, event)
                    yield event

    def _answer(self, generation: Generation, request: GenerateRequest) -> Events:
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
        context = generation.ask.context
        work = _work(generation)
        async with self.admission.admitted(work, context.deadline) as place:
            generation.queue_s = place.queue_s
            routed = await self._opened(place, request, context.deadline)
            generation.pool = routed.pool
            safe = guarded(routed, self.output_guard, generation, self.metrics)
            async with aclosing(routed.events), aclosing(safe):
                try:
                    async for event in safe:
                        yield event
                finally:
                    place.answer_tokens = generation.generated_tokens

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


def _addressed(request: GenerateRequest, context: RequestContext) -> GenerateRequest:
    """Add what a node must know of the caller: who goes first, and whose beginnings of prompts may be shared."""
    tenant, priority = context.caller.tenant, context.effective_priority
    if tenant == ANYONE.tenant and not priority:
        return request
    salt = request.cache_salt if tenant == ANYONE.tenant else _salt(tenant, request.cache_salt)
    return request.model_copy(update={"priority": priority, "cache_salt": salt})


def _salt(tenant: str, own: str | None) -> str:
    """Return a salt that no other tenant has, and that does not tell who this one is."""
    return sha256(f"{tenant}\n{own or ''}".encode()).hexdigest()[:32]
