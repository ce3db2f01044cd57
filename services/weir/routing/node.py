"""One node as the router sees it: a backend with health, load and a breaker."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Self

from weir.backends.base import Backend
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    OverloadedError,
)
from weir.contracts.events import GenerationEvent
from weir.contracts.request import GenerateRequest
from weir.routing.breaker import Breaker, Circuit
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_FRESH_PROBE_S = 0.1
_MOST_SILENCES = 2  # probes in a row


class Node:
    """`pool` is what metrics call the kind of node, e.g. `cpu`."""

    def __init__(self, backend: Backend, metrics: GatewayMetrics, *, pool: str = "cpu") -> None:
        self.backend = backend
        self.pool = pool
        self.breaker = Breaker()
        self.in_flight = 0
        self.is_healthy = False
        self._metrics = metrics
        self._probed_at = float("-inf")
        self._probing: asyncio.Task[bool] | None = None
        self._silences = 0
        self._shown: tuple[bool, Circuit] | None = None

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def is_available(self) -> bool:
        return self.is_healthy and self.breaker.admits()

    async def probe(self) -> bool:
        """Ask the node whether it is ready. Callers at the same time, or just after, share one probe."""
        if self._probing is None:
            if monotonic() - self._probed_at < _FRESH_PROBE_S:
                return self.is_healthy
            self._probing = asyncio.create_task(self._probe())
        return await asyncio.shield(self._probing)

    async def _probe(self) -> bool:
        try:
            is_healthy = await self.backend.ready()
            self._silences = 0
        except BackendTimeoutError:  # a busy node may miss one: what it was asked for would time out by itself
            self._silences += 1
            is_healthy = self.is_healthy and self._silences < _MOST_SILENCES
        except Exception:  # noqa: BLE001 - a probe that breaks says that the node is not well
            is_healthy = False
        finally:
            self._probed_at = monotonic()
            self._probing = None
        if is_healthy != self.is_healthy:
            _log.info("node_ready" if is_healthy else "node_not_ready", extra={"node": self.name})
        if is_healthy and not self.is_healthy:
            self.breaker.reappeared()
        self.is_healthy = is_healthy
        self._show()
        return is_healthy

    def ask(self, request: GenerateRequest, *, timeout_s: float) -> "NodeAnswer":
        """Begin one request; the answer must be closed."""
        self.in_flight += 1
        self.breaker.sent()
        return NodeAnswer(self, self.backend.generate(request, timeout_s=timeout_s))

    def left(self, error: BaseException | None, *, is_finished: bool) -> None:
        """Learn from how an answer ended; `NodeAnswer` tells, once."""
        self.in_flight -= 1
        if isinstance(error, BackendError):
            self._failed(error)
        elif not is_finished:
            self.breaker.gave_up()
        if isinstance(error, OverloadedError):
            self._metrics.upstream_errors(self.pool, "overload").inc()
        self._show()

    def _failed(self, error: BackendError) -> None:
        match error:
            case BackendTimeoutError():
                reason = "timeout"
            case BackendUnavailableError():
                reason = "connect"
                self.is_healthy = False  # until the next probe says otherwise
                self._probed_at = float("-inf")
            case _:
                reason = "protocol"
        self.breaker.failed()
        self._metrics.upstream_errors(self.pool, reason).inc()
        _log.warning("node_failed", extra={"node": self.name, "reason": reason, "words": str(error)})

    def _show(self) -> None:
        now = (self.is_healthy, self.breaker.state)
        if now != self._shown:  # asked after every request, and nearly always the same
            self._shown = now
            self._metrics.node_healthy(self.name).set(self.is_healthy)
            self._metrics.circuit_state(self.name).set(int(now[1]))


class NodeAnswer:
    """What a node says to one request, event by event. Closing it early cancels the work there."""

    __slots__ = ("_events", "_is_finished", "_is_over", "_node")

    def __init__(self, node: Node, events: AsyncGenerator[GenerationEvent, None]) -> None:
        self._node = node
        self._events = events
        self._is_finished = self._is_over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> GenerationEvent:
        try:
            event = await anext(self._events)
        except BaseException as error:
            self._end(error)
            raise
        if event.type == "finished" and not self._is_over:
            self._is_finished = True
            self._node.breaker.succeeded()
        return event

    async def aclose(self) -> None:
        self._end(None)
        await self._events.aclose()

    def _end(self, error: BaseException | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._node.left(error, is_finished=self._is_finished)
