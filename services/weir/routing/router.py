"""Sends a request to the node that will finish it first, and to another one if that fails before its first event."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from weir.contracts.errors import (
    BackendError,
    DeadlineExceededError,
    OverloadedError,
    WeirError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.routing.attempts import Attempts
from weir.routing.jobs import job_of
from weir.routing.node import Node, NodeAnswer
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.member import Member
from weir.routing.policy.retries import RetryBudget
from weir.routing.policy.ticket import Ticket
from weir.routing.release import Offer
from weir.routing.watch import Watch
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.4
_PATIENCE_S: Final = 5.0
_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 1.0


@dataclass(slots=True)
class Routed:
    """A request that a node has begun to answer. `events` goes on after `first` and must be closed.

    `version` and `flavour` are those of the release that answers; the flavour is empty when nobody knows it.
    """

    node: str
    pool: str
    version: int
    flavour: str
    first: GenerationEvent
    events: NodeAnswer

    async def next(self) -> GenerationEvent:
        """Return the next event.

        Raises:
            BackendError: the node failed, or there is none although the answer has no end yet.
        """
        try:
            return await anext(self.events)
        except StopAsyncIteration:
            raise BackendError(f"{self.node} ended an answer without saying why") from None


class Router:
    """Watches nodes between `start` and `aclose`."""

    def __init__(
        self,
        nodes: Sequence[Node],
        metrics: GatewayMetrics,
        *,
        probe_interval_s: float = 1.0,
        patience_s: float = _PATIENCE_S,
        offer: Offer = Offer(),  # noqa: B008  frozen
        others: Sequence[Offer] = (),
    ) -> None:
        """`patience_s`: how long requests wait for a node when the last one has just gone.

        `offer` is the release that every node is meant to serve, `others` are those of further models.
        """
        self.fleet = Fleet()
        self._nodes: dict[str, Node] = {}
        self._metrics = metrics
        self._watch = Watch(self.fleet, metrics, probe_interval_s, lambda: self.offer.model)
        self._budget = RetryBudget()
        self._patience_s = patience_s
        self._looking: asyncio.Task[None] | None = None
        self.offers(offer, *others)
        for node in nodes:
            self.add(node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    def is_ready_for(self, model: str) -> bool:
        """Whether a node may take requests for a model."""
        return self.fleet.is_ready_for(model)

    @property
    def away(self) -> list[str]:
        """The models for which no node may take requests."""
        return [offer.model for offer in (self.offer, *self.others) if not self.is_ready_for(offer.model)]

    def add(self, node: Node) -> None:
        """Take a node in; it gets requests once a probe has found it ready."""
        node.join(self.fleet, self.offer, self.others)
        self._nodes[node.name] = node
        self._watch.add(node)

    def remove(self, name: str) -> None:
        """Give a node nothing more; what runs there runs on, then its connections are closed."""
        node = self._nodes.pop(name)
        self.fleet.remove(node.member)
        self._watch.remove(node)

    def offers(self, offer: Offer, *others: Offer) -> None:
        """These releases are meant from now on, each with what its own parity report proves."""
        self.offer, self.others = offer, others
        for node in self.nodes:
            node.offer, node.others = offer, others
        self.fleet.prove(offer.proven, {other.model: other.proven for other in others})

    async def start(self) -> None:
        await self._probe_all()
        self._watch.start()

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await self._watch.aclose()
        for node in self.nodes:
            await node.backend.aclose()

    async def open(self, request: GenerateRequest, *, timeout_s: float, prompt_tokens: int = 0) -> Routed:
        """Return once a node has sent its first event. `prompt_tokens`: as well as they are known; 0: not at all.

        A failed attempt is tried again on another node, within the budget for it. A request whose node went away is
        moved, which is free: its work is done but once. It goes back to a node that it failed at only when no other is
        left, that one was out of reach and a probe says that it is back: what timed out once would only time out again.
        When no node is there it waits for one, as long as any was well lately. The request's deadline bounds all of
        it, and a node is told what is left.

        Raises:
            OverloadedError: every node that is well is full.
            DeadlineExceededError: `request.deadline_s` passed.
            BackendError: the last attempt's failure, or no node is well.
        """
        deadline = None if request.deadline_s is None else monotonic() + request.deadline_s
        self._budget.earn()
        job = job_of(request, prompt_tokens, has_choice=len(self._nodes) > 1)
        attempts = Attempts(deadline, self._patience_s)
        while True:
            ticket = self.fleet.pick(job) or await self._awaited(job, attempts)
            node = self._nodes[ticket.member.name]
            if attempts.failure is not None and not self._may_retry(node, attempts):
                ticket.left(monotonic())
                raise self._given_up(job, attempts, "too many requests are being tried again")
            self._count(node, ticket, job)
            try:
                return await _opened(node, ticket, _timed(request, deadline, ticket), timeout_s)
            except (BackendError, OverloadedError) as error:
                attempts.failed(node.name, error)
            if attempts.are_over:
                raise self._given_up(job, attempts, f"{len(attempts.tried)} failed at it")
            await _pause(attempts)
            job.without = attempts.tried

    async def _awaited(self, job: Job, attempts: Attempts) -> Ticket:
        """Wait for a node where there seems to be none: one may be back, also one that was tried.

        Raises:
            OverloadedError: one is well, and full.
            DeadlineExceededError, BackendError: as `open`.
        """
        while True:
            job.without = attempts.unfit
            if (ticket := self.fleet.pick(job)) is not None:
                return ticket
            members = self.fleet.members.values()
            if (full := attempts.refusal(members)) is not None:
                raise full
            may_wait = attempts.may_wait(members)
            await self._look()
            if (ticket := self.fleet.pick(job)) is not None:
                return ticket
            if not may_wait:
                raise self._given_up(job, attempts, self._states(job.model))
            attempts.check()

    def _given_up(self, job: Job, attempts: Attempts, why: str) -> WeirError:
        error = attempts.given_up(why)
        if attempts.failure is not None:
            _log.warning("request_given_up", extra={"words": str(error), "why": why, "nodes": self._states(job.model)})
        return error

    def _states(self, model: str) -> str:
        """Count nodes by how they are for who wants a model."""
        counts = Counter(_state(member, model) for member in self.fleet.members.values())
        return ", ".join(f"{count} {state}" for state, count in counts.items()) or "there are none"

    async def _look(self) -> None:
        """Ask those nodes how they are that get nothing, until one is well or all have said; who waits shares it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._looked())
        await asyncio.shield(self._looking)

    async def _looked(self) -> None:
        began = monotonic()
        asked = [node for node in self.nodes if not node.is_available]
        probes = {asyncio.create_task(node.probe()) for node in asked}
        is_found = False
        while probes and not is_found and (left_s := began + _LONGEST_LOOK_S - monotonic()) > 0:
            _, probes = await asyncio.wait(probes, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            is_found = any(node.is_available for node in asked)
        self._watch.tell()
        if not is_found:
            await asyncio.sleep(began + _LOOK_S - monotonic())

    def _may_retry(self, node: Node, attempts: Attempts) -> bool:
        if not attempts.has_moved and not self._budget.spend():
            self._metrics.retries_exhausted.inc()
            return False
        self._metrics.upstream_retries(node.pool).inc()
        return True

    def _count(self, node: Node, ticket: Ticket, job: Job) -> None:
        pools = self.fleet.pools_of.get(job.model, self.fleet.pools)
        is_first = len(pools) == 1 or ticket.member.kind in pools[0].kinds
        self._metrics.routed(node.pool, ("prefix" if ticket.is_held else "fastest") if is_first else "standby").inc()

    async def _probe_all(self) -> None:
        await asyncio.gather(*(node.probe() for node in self.nodes))
        self._watch.tell()


def _state(member: Member, model: str) -> str:
    if member.is_up and not member.kind.key.serves(model):
        return "without this model"
    return "well" if member.is_open else "ejected" if member.is_up else "not ready"


async def _opened(node: Node, ticket: Ticket, request: GenerateRequest, timeout_s: float) -> Routed:
    events = node.ask(request, ticket, timeout_s=timeout_s)
    try:
        first = await anext(events)
    except StopAsyncIteration:
        raise BackendError(f"{node.name} ended an answer without a word") from None
    except BaseException:
        await events.aclose()
        raise
    if first.type == "token":
        ticket.began(monotonic())
    return Routed(node.name, node.pool, node.version_of(request.model), node.flavour_of(request.model), first, events)


def _timed(request: GenerateRequest, deadline: float | None, ticket: Ticket) -> GenerateRequest:
    """Return the request with what is left of its time.

    Raises:
        DeadlineExceededError: that is nothing; the ticket is given back.
    """
    if deadline is None:
        return request
    left_s = deadline - monotonic()
    if left_s <= 0:
        ticket.left(monotonic())
        raise DeadlineExceededError
    return request.changed(deadline_s=left_s)


async def _pause(attempts: Attempts) -> None:
    """Wait before another attempt.

    Raises:
        DeadlineExceededError: the deadline would come first.
    """
    seconds = min(_FIRST_PAUSE_S * 2 ** (len(attempts.tried) - 1), _LONGEST_PAUSE_S)
    seconds *= random.uniform(0.5, 1.5)  # noqa: S311
    attempts.check(seconds)
    await asyncio.sleep(seconds)
