"""Sends a request to the least busy node that is well, and to another one if that fails before its first event."""

import asyncio
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    WeirError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.routing.node import Node, NodeAnswer
from weir.routing.retries import RetryBudget
from weir.telemetry.metrics import GatewayMetrics

_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.05


@dataclass(slots=True)
class Routed:
    """A request that a node has begun to answer. `events` goes on after `first` and must be closed."""

    node: str
    pool: str
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

    def __init__(self, nodes: Sequence[Node], metrics: GatewayMetrics, *, probe_interval_s: float = 1.0) -> None:
        self.nodes = tuple(nodes)
        self._metrics = metrics
        self._probe_interval_s = probe_interval_s
        self._watch: asyncio.Task[None] | None = None
        self._budget = RetryBudget()

    @property
    def is_ready(self) -> bool:
        return any(node.is_available for node in self.nodes)

    async def start(self) -> None:
        await self._probe_all()
        self._watch = asyncio.create_task(self._keep_probing())

    async def aclose(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for node in self.nodes:
            await node.backend.aclose()

    async def open(self, request: GenerateRequest, *, timeout_s: float) -> Routed:
        """Return once a node has sent its first event.

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
        tried: set[str] = set()
        failure: WeirError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                await _pause(attempt, deadline)
            may_repeat = failure is None or isinstance(failure, BackendUnavailableError)
            node = self._least_busy(tried, may_repeat=may_repeat)
            if node is None and not self.is_ready:
                await self._probe_all()
                node = self._least_busy(tried, may_repeat=may_repeat)
            if node is None or (failure is not None and not self._may_retry(node)):
                break
            tried.add(node.name)
            try:
                return await _opened(node, _timed(request, deadline), timeout_s)
            except (BackendError, OverloadedError) as error:
                failure = error
        raise failure or BackendUnavailableError("no node is ready")

    def _may_retry(self, node: Node) -> bool:
        if not self._budget.spend():
            self._metrics.retries_exhausted.inc()
            return False
        self._metrics.upstream_retries(node.pool).inc()
        return True

    def _least_busy(self, tried: Collection[str], *, may_repeat: bool) -> Node | None:
        """Return the node that is well and has least to do, rather one that was not tried."""
        best: Node | None = None
        for node in self.nodes:
            is_tried = node.name in tried
            if not node.is_available or (is_tried and not may_repeat):
                continue
            if best is None or (is_tried, node.in_flight) < (best.name in tried, best.in_flight):
                best = node
        return best

    async def _probe_all(self) -> None:
        await asyncio.gather(*(node.probe() for node in self.nodes))

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(self._probe_interval_s)
            await self._probe_all()


async def _opened(node: Node, request: GenerateRequest, timeout_s: float) -> Routed:
    events = node.ask(request, timeout_s=timeout_s)
    try:
        first = await anext(events)
    except StopAsyncIteration:
        raise BackendError(f"{node.name} ended an answer without a word") from None
    except BaseException:
        await events.aclose()
        raise
    return Routed(node.name, node.pool, first, events)


def _timed(request: GenerateRequest, deadline: float | None) -> GenerateRequest:
    """Return the request with what is left of its time.

    Raises:
        DeadlineExceededError: that is nothing.
    """
    if deadline is None:
        return request
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise DeadlineExceededError
    return request.changed(deadline_s=left_s)


async def _pause(attempt: int, deadline: float | None) -> None:
    """Wait before another attempt, unless the deadline comes first."""
    seconds = _FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311
    if deadline is not None and monotonic() + seconds >= deadline:
        raise DeadlineExceededError
    await asyncio.sleep(seconds)
