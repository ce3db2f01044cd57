"""Serving one request, free of HTTP: prepare, reserve, admit, route, guard, count."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from weir.contracts.caller import Caller
from weir.contracts.errors import PromptBlockedError, WeirError
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.gateway.accounting import Accounts
from weir.gateway.admission.door import Admission
from weir.gateway.answering import Answering, cleared, work_of
from weir.gateway.catalog import Catalog
from weir.gateway.denials import ModelNotAllowedError
from weir.gateway.embedding import Embeddings
from weir.gateway.filtering import PromptFilter
from weir.gateway.generation import Ask, Generation
from weir.gateway.guarding import said
from weir.gateway.guards import Guards
from weir.gateway.preparation import Preparation
from weir.gateway.provenance import served_headers
from weir.gateway.refusals import DrainingError
from weir.gateway.response_cache import ResponseCache, replayed
from weir.gateway.second_tier import SecondTier
from weir.gateway.single_flight import SingleFlight
from weir.gateway.streams import Collected, Collector, Events, Started
from weir.routing.router import Router
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
    embeddings: Embeddings
    second_tier: SecondTier | None = None
    is_leaving: bool = False  # `/readyz` says no, so that callers go elsewhere
    _joined: SingleFlight = field(init=False)

    def __post_init__(self) -> None:
        self._joined = SingleFlight(self.cache, longest_s=self.timeout_s)

    @property
    def is_ready(self) -> bool:
        """Whether a request for the default model would be taken."""
        return self.is_ready_for(self.catalog.default.name)

    def is_ready_for(self, model: str) -> bool:
        return not self.is_leaving and self.router.is_ready_for(model)

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

    async def in_step(self) -> None:
        """Let other requests come as far as this one before it goes on.

        What a step needs of code and data is in the processor's cache then for all of them: a request alone reads more
        than the cache holds (cohort scheduling; Larus and Parkes, USENIX 2002). Tokens of streams go in between, too.
        """
        if self.accounts.active > 1:
            await asyncio.sleep(0)

    async def start(self, ask: Ask) -> Generation:
        """Return once the first event that may be sent is there. The caller closes `events` of what it gets.

        Raises:
            WeirError: nothing was sent yet; `events` raises the later ones.
        """
        generation = self._asked(ask)
        generation.stream = running = Running(self)
        await running.begin(generation)
        return generation

    async def whole(self, ask: Ask) -> tuple[Generation, Collected]:
        """Return a whole answer: what `start` and reading it to the end come to, in fewer steps.

        Raises:
            WeirError: there is none.
        """
        generation, collector = self._asked(ask), Collector()
        accounts = self.accounts
        accounts.begin(generation)
        try:
            request = await self.accepted(generation)
            answer = self.answer(generation, request)
            if isinstance(answer, Answering):
                answer.forget = partial(self._forget, generation, collector)
                await self._collect_from_node(answer, request, collector)
            else:
                await self._collect(answer, generation, collector)
            return generation, collector.collected()
        except Exception as error:
            accounts.failed(generation, error)
            raise
        finally:
            accounts.end(generation)

    async def _collect_from_node(self, answering: Answering, request: GenerateRequest, collector: Collector) -> None:
        try:
            while not answering.is_over:
                for event in await answering.next(request):
                    self.accounts.observe(answering.generation, event)
                    collector.take(event)
        finally:
            await answering.aclose()

    def _forget(self, generation: Generation, collector: Collector) -> None:
        self.accounts.forget(generation)
        collector.clear()

    def _asked(self, ask: Ask) -> Generation:
        """Begin to count a request.

        Raises:
            UnknownModelError, ModelNotAllowedError: there is no such model for this caller.
            PromptBlockedError: it cannot be found out what holds for him.
        """
        try:
            model = self.catalog.resolve(ask.request.model)
            if not ask.context.caller.may_use(model.name):
                raise ModelNotAllowedError
            guard = self.guards.chosen(ask.route, ask.context.caller)
        except WeirError as error:
            self.metrics.incoming("other").inc()
            self.metrics.requests(ask.route, "other", "none", str(error.status.value)).inc()
            raise
        self.metrics.incoming(model.name).inc()
        return Generation(ask, model, guard)

    async def _collect(self, answer: Events, generation: Generation, collector: Collector) -> None:
        async with aclosing(answer):
            async for event in answer:
                self.accounts.observe(generation, event)
                collector.take(event)

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

    async def accepted(self, generation: Generation) -> GenerateRequest:
        """Return what a node is to be asked, once it is sure that the caller may."""
        if self.is_draining:
            raise DrainingError
        if not self.cache.is_on:  # what is kept is given also when nothing else can be
            self.admission.check(work_of(generation), generation.ask.context.deadline)
        request = await self.preparation.prepared(generation)
        await self.in_step()
        generation.prepared = monotonic()
        await self.accounts.reserve(generation)
        if self.second_tier is not None and generation.fallback is None:
            self.second_tier.begin(generation)
        return request

    def answer(self, generation: Generation, request: GenerateRequest) -> Events | Answering:
        """Return where the answer comes from: an input rule, what was kept, or a node."""
        if generation.fallback is not None:
            generation.served = served_headers(generation.model.name, generation.model.version, "guard", "")
            return said(generation)
        key = self.cache.key(generation, request) if self.cache.is_on else None
        if key is None:
            return Answering(self, generation)
        kept = self.cache.found(key)
        replay = partial(self._replayed, generation)
        if kept is None:
            ask = partial(self._generated, generation, request)
            return self._joined.answer(key, generation, ask=ask, replay=replay)
        return replay(kept)

    async def _replayed(self, generation: Generation, kept: tuple[GenerationEvent, ...]) -> Events:
        """Yield an answer that was kept; whoever asks for it is looked at as everybody is."""
        generation.is_cached, generation.pool = True, "cache"
        generation.served = served_headers(generation.model.name, generation.model.version, "cache", "")
        if generation.screening is not None:
            await cleared(generation.screening, generation.ask.context.deadline)
        async for event in replayed(kept):
            yield event

    async def _generated(self, generation: Generation, request: GenerateRequest) -> Events:
        """Yield a node's guarded answer."""
        answering = Answering(self, generation)
        try:
            while not answering.is_over:
                for event in await answering.next(request):
                    yield event
        finally:
            await answering.aclose()


class Running(Started):
    """One request on its way, from the gateway's door to its last event. `begin` it first, close it last.

    No chain of generators: each would cost every token some steps more.
    """

    def __init__(self, service: GenerationService) -> None:
        self._service = service
        self._generation: Generation | None = None  # and none at the end: it knows this stream
        self._request: GenerateRequest  # what a node is asked
        self._answer: Events | Answering | None = None
        self._given: Iterator[GenerationEvent] = iter(())
        self._first: GenerationEvent | None = None

    async def begin(self, generation: Generation) -> None:
        """Return once the first event that may be sent is there; raises what `__anext__` raises."""
        self._generation = generation
        self._service.accounts.begin(generation)
        try:
            self._request = await self._service.accepted(generation)
            self._answer = self._service.answer(generation, self._request)
            self._first = await self._next()
        except BaseException as error:
            await self._end(error)
            raise

    async def __anext__(self) -> GenerationEvent:
        event, self._first = self._first, None
        if event is None:
            try:
                event = await self._next()
            except BaseException as error:
                await self._end(error)
                raise
            if event is None:
                await self._end(None)
                raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        await self._end(None)

    async def _next(self) -> GenerationEvent | None:
        answer, generation = self._answer, self._generation
        if generation is None:
            return None
        if isinstance(answer, Answering):
            while (event := next(self._given, None)) is None and not answer.is_over:
                self._given = iter(await answer.next(self._request))
        else:
            event = None if answer is None else await anext(answer, None)
        if event is not None:
            self._service.accounts.observe(generation, event)
        return event

    async def _end(self, error: BaseException | None) -> None:
        generation, answer = self._generation, self._answer
        if generation is None:
            return
        self._generation = self._answer = None
        try:
            if answer is not None:
                await answer.aclose()
        except Exception as late:
            error = late
            raise
        finally:
            if isinstance(error, Exception):
                self._service.accounts.failed(generation, error)
            self._service.accounts.end(generation)
