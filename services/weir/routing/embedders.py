"""Nodes that make vectors: asked in turn, watched, and left out while they are away or fail."""

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Sequence
from typing import Final
from urllib.parse import urlsplit

from weir.backends.embedder import Embedder, HttpEmbedder, Row
from weir.contracts.errors import BackendError, BackendTimeoutError, BackendUnavailableError, OverloadedError
from weir.oip.embed import Embedded
from weir.routing.policy.breaker import Breaker, Circuit
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
POOL: Final = "embedder"
_MOST_SILENCES: Final = 2  # probes in a row
_CANARY: Final = ((0,),)
_CANARY_S: Final = 2.0


class EmbedderNode:
    """One node with one embedder, and how it is."""

    def __init__(self, name: str, client: Embedder, metrics: GatewayMetrics) -> None:
        self.name = name
        self.breaker = Breaker()
        self.is_up = False
        self.in_flight = 0
        self._client = client
        self._metrics = metrics
        self._silences = 0
        self._is_gone = False

    @property
    def is_open(self) -> bool:
        """Whether it gets requests."""
        return self.is_up and self.breaker.is_closed

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        """As `Embedder`; what fails is counted against the node."""
        self.in_flight += 1
        try:
            found = await self._client.embedded(rows, timeout_s=timeout_s)
        except OverloadedError:
            self._metrics.upstream_errors(POOL, "overload").inc()
            raise
        except BackendError as error:
            self._failed(error)
            raise
        finally:
            self.in_flight -= 1
        self.breaker.succeeded()
        return found

    def eject(self) -> None:
        """Give it nothing until a canary has come through."""
        self.breaker.open()
        self.show()

    async def probe(self) -> None:
        """Ask whether it serves its embedder; where it failed too often, a canary decides."""
        was_up = self.is_up
        try:
            is_up = await self._client.ready()
            self._silences = 0
        except BackendTimeoutError:  # a busy node may miss one
            self._silences += 1
            is_up = was_up and self._silences < _MOST_SILENCES
        except Exception:  # noqa: BLE001 - a probe that breaks says that the node is not well
            is_up = False
        if is_up and not was_up:
            self.breaker.hurry()
        self.is_up = is_up and await self._is_cleared()
        if self.is_up != was_up:
            _log.info("node_ready" if self.is_up else "node_not_ready", extra={"node": self.name})
        if not self._is_gone:
            self._metrics.node_in_flight(self.name).set(self.in_flight)
        self.show()

    def show(self) -> None:
        if self._is_gone:
            return
        self._metrics.node_healthy(self.name).set(self.is_up)
        self._metrics.circuit_state(self.name).set(int(self.breaker.state))

    async def leave(self) -> None:
        """Show nothing of it any more; what it still works on is finished."""
        self._is_gone = True
        self._metrics.forget_node(self.name, POOL)
        await self._client.aclose()

    async def _is_cleared(self) -> bool:
        state = self.breaker.state
        if state is Circuit.OPEN or (state is Circuit.CLOSED and not self.breaker.is_tripping):
            return True
        try:
            await self._client.embedded(_CANARY, timeout_s=_CANARY_S)
        except OverloadedError:
            pass  # it is well enough to say so
        except Exception:  # noqa: BLE001 - whatever it is, it was no answer
            if state is Circuit.HALF_OPEN:
                self.breaker.open()
            return state is Circuit.HALF_OPEN  # one that was not ejected is down until a canary comes through
        self.breaker.close()
        return True

    def _failed(self, error: BackendError) -> None:
        self.breaker.failed()
        match error:
            case BackendTimeoutError():
                reason = "timeout"
            case BackendUnavailableError():
                reason, self.is_up = "connect", False  # until the next probe says otherwise
            case _:
                reason = "protocol"
        self._metrics.upstream_errors(POOL, reason).inc()
        _log.warning("node_failed", extra={"node": self.name, "reason": reason, "words": str(error)})
        self.show()


class Embedders:
    """The nodes of one embedder: each takes its turn, and where one fails, the next one is asked."""

    def __init__(self, nodes: Sequence[EmbedderNode], metrics: GatewayMetrics) -> None:
        self.nodes = tuple(nodes)
        self._metrics = metrics
        self._turn = 0

    async def embedded(self, rows: Sequence[Row], *, timeout_s: float) -> Embedded:
        """Return a vector for each row of token ids; cancelling the call cancels the work.

        Raises:
            OverloadedError: one is full, and no other could.
            BackendError: none could; the last one's failure.
        """
        failures: list[BackendError] = []
        full: OverloadedError | None = None
        for node in self._in_turn():
            if full is not None and not node.is_open:
                break
            if failures or full is not None:
                self._metrics.upstream_retries(POOL).inc()
            try:
                return await node.embedded(rows, timeout_s=timeout_s)
            except OverloadedError as error:
                full = error
            except BackendError as error:
                failures.append(error)
                self._heed(node)
        raise full or failures[-1]

    def _in_turn(self) -> Sequence[EmbedderNode]:
        """Return those that are well, then the others: one may just have come back."""
        self._turn += 1
        first = self._turn % len(self.nodes)
        return sorted((*self.nodes[first:], *self.nodes[:first]), key=lambda node: not node.is_open)

    def _heed(self, failed: EmbedderNode) -> None:
        """Eject a node that fails again and again, unless it is the last one that is well."""
        if failed.breaker.is_tripping and failed.is_open and any(n.is_open for n in self.nodes if n is not failed):
            failed.eject()


class EmbedderNodes:
    """All nodes with embedders, by model, version and URL, watched between `start` and `aclose`.

    What `of` returns goes on to work after its nodes were let go: a request under way keeps what it began with.
    """

    def __init__(
        self,
        metrics: GatewayMetrics,
        *,
        probe_interval_s: float = 0.5,
        connect: Callable[[str, str, int], Embedder] = HttpEmbedder,
    ) -> None:
        """`connect` makes a client, of a URL, a model's name and its version."""
        self._metrics = metrics
        self._interval_s = probe_interval_s
        self._connect = connect
        self._nodes: dict[str, EmbedderNode] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def of(self, model: str, version: int, urls: Sequence[str]) -> Embedders:
        """Return the nodes at `urls`, known ones where there are any; `hold` makes new ones known."""
        return Embedders([self._node(model, version, url) for url in dict.fromkeys(urls)], self._metrics)

    async def hold(self, groups: Collection[Embedders]) -> None:
        """Watch the nodes of these groups from now on, and no others; returns once each was asked how it is."""
        wanted = {node.name: node for group in groups for node in group.nodes}
        new = [node for name, node in wanted.items() if name not in self._nodes]
        for node in new:
            self._metrics.know_node(node.name, POOL)
        await asyncio.gather(*(node.probe() for node in new))
        for node in new:
            self._tasks[node.name] = asyncio.create_task(self._watch(node))
        for name in self._nodes.keys() - wanted.keys():
            self._tasks.pop(name).cancel()
            await self._nodes[name].leave()
        self._nodes = wanted

    async def aclose(self) -> None:
        await self.hold(())

    def _node(self, model: str, version: int, url: str) -> EmbedderNode:
        name = f"{model}/{version}@{urlsplit(url).netloc.rpartition('@')[2]}"
        return self._nodes.get(name) or EmbedderNode(name, self._connect(url, model, version), self._metrics)

    async def _watch(self, node: EmbedderNode) -> None:
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.9, 1.1))  # noqa: S311
            await node.probe()
