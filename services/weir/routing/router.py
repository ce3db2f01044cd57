"""Sends a request to the node that will finish it first, and to another one if that fails before its first event."""

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    WeirError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.routing.jobs import job_of
from weir.routing.node import Node, NodeAnswer
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.job import Job
from weir.routing.policy.retries import RetryBudget
from weir.routing.policy.ticket import Ticket
from weir.routing.release import Offer
from weir.routing.watch import Watch
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 3
_FIRST_PAUSE_S: Final = 0.05


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
        offer: Offer = Offer(),  # noqa: B008  frozen
    ) -> None:
        self.offer = offer
        self.fleet = Fleet(proven=offer.proven)
        self._nodes: dict[str, Node] = {}
        self._metrics = metrics
        self._watch = Watch(self.fleet, metrics, probe_interval_s)
        self._budget = RetryBudget()
        for node in nodes:
            self.add(node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return tuple(self._nodes.values())

    @property
    def is_ready(self) -> bool:
        return self.fleet.is_ready

    def add(self, node: Node) -> None:
        """Take a node in; it gets requests once a probe has found it ready."""
        node.join(self.fleet, self.offer)
        self._nodes[node.name] = node
        self._watch.add(node)

    def remove(self, name: str) -> None:
        """Give a node nothing more; what runs there runs on, then its connections are closed."""
        node = self._nodes.pop(name)
        self.fleet.remove(node.member)
        self._watch.remove(node)

    def offers(self, offer: Offer) -> None:
        """Another release is meant from now on."""
        self.offer = offer
        for node in self.nodes:
            node.offer = offer
        self.fleet.prove(offer.proven)

    async def start(self) -> None:
        await self._probe_all()
        self._watch.start()

    async def aclose(self) -> None:
        await self._watch.aclose()
        for node in self.nodes:
            await node.backend.aclose()

    async def open(self, request: GenerateRequest, *, timeout_s: float, prompt_tokens: int = 0) -> Routed:
        """Return once a node has sent its first event. `prompt_tokens`: as well as they are known; 0: not at all.

        A failed attempt is tried again on another node. Only one that could not be reached is tried again itself, when
        no other is left and a probe says that it is back: what timed out once would only time out again. Nothing is
        tried again beyond the budget for it or the request's deadline, and a node is told what is left of the latter.

        Raises:
            OverloadedError: every node that is well is full.
            DeadlineExceededError: `request.deadline_s` passed.
            BackendError: the last attempt's failure, or no node is well.
        """
        deadline = None if request.deadline_s is None else monotonic() + request.deadline_s
        self._budget.earn()
        job = job_of(request, prompt_tokens, has_choice=len(self._nodes) > 1)
        tried: set[str] = set()
        failure: WeirError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                job.without = tried
                await _pause(attempt, deadline)
            ticket = self.fleet.pick(job) or await self._second_look(job, tried, failure)
            if ticket is None:
                break
            node = self._nodes[ticket.member.name]
            if failure is not None and not self._may_retry(node):
                ticket.left(monotonic())
                break
            tried.add(node.name)
            self._count(node, ticket)
            try:
                return await _opened(node, ticket, _timed(request, deadline, ticket), timeout_s)
            except (BackendError, OverloadedError) as error:
                failure = error
        raise failure or BackendUnavailableError("no node is ready")

    async def _second_look(self, job: Job, tried: Collection[str], failure: WeirError | None) -> Ticket | None:
        """Look for a node where there seemed to be none: one may be back, also one that was tried."""
        if not self.is_ready:
            await self._probe_all()
            if (ticket := self.fleet.pick(job)) is not None:
                return ticket
        if tried and isinstance(failure, BackendUnavailableError):
            job.without = ()
            return self.fleet.pick(job)
        return None

    def _may_retry(self, node: Node) -> bool:
        if not self._budget.spend():
            self._metrics.retries_exhausted.inc()
            return False
        self._metrics.upstream_retries(node.pool).inc()
        return True

    def _count(self, node: Node, ticket: Ticket) -> None:
        pools = self.fleet.pools
        is_first = len(pools) == 1 or ticket.member.kind.pool is pools[0]
        self._metrics.routed(node.pool, ("prefix" if ticket.is_held else "fastest") if is_first else "standby").inc()

    async def _probe_all(self) -> None:
        await asyncio.gather(*(node.probe() for node in self.nodes))
        self._watch.tell()


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
    return Routed(node.name, node.pool, node.version, node.flavour, first, events)


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


async def _pause(attempt: int, deadline: float | None) -> None:
    """Wait before another attempt, unless the deadline comes first."""
    seconds = _FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311
    if deadline is not None and monotonic() + seconds >= deadline:
        raise DeadlineExceededError
    await asyncio.sleep(seconds)
