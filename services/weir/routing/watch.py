"""Asks nodes how they are, each on its own: one that is slow to say holds up no other."""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Final

from weir.routing.node import Node
from weir.routing.policy.fleet import Fleet
from weir.routing.policy.pools import Pool
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_MOST_PROBES: Final = 200.0  # per second, of all nodes together
_DRAIN_LOOK_S: Final = 0.1
Shown = tuple[str, str, int]  # a pool, its use, and how many of its nodes are open


class Watch:
    """One task per node between `start` and `aclose`; nodes may come and go meanwhile."""

    def __init__(self, fleet: Fleet, metrics: GatewayMetrics, interval_s: float, default: Callable[[], str]) -> None:
        """`default` is the name of the default model."""
        self._default = default
        self._fleet = fleet
        self._metrics = metrics
        self._interval_s = interval_s
        self._is_running = False
        self._tasks: dict[Node, asyncio.Task[None] | None] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._told: dict[str, Sequence[Shown]] = {}
        self._counts: dict[str, int] = {}

    def add(self, node: Node) -> None:
        self._tasks[node] = asyncio.create_task(self._watch(node, at_once=True)) if self._is_running else None

    def remove(self, node: Node) -> None:
        """Watch a node no more, and close it once it has nothing left to answer."""
        task = self._tasks.pop(node)
        if task is not None:
            task.cancel()
        self._metrics.forget_node(node.name, node.pool)
        if self._is_running:
            leaving = asyncio.create_task(self._closed(node))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    def start(self) -> None:
        self._is_running = True
        for node in self._tasks:
            self._tasks[node] = asyncio.create_task(self._watch(node, at_once=False))

    async def aclose(self) -> None:
        self._is_running = False
        tasks = [task for task in self._tasks.values() if task is not None]
        for task in (*tasks, *self._leaving):
            task.cancel()
        await asyncio.gather(*tasks, *self._leaving, return_exceptions=True)

    async def _watch(self, node: Node, *, at_once: bool) -> None:
        if at_once:
            await node.probe()
            self.tell()
        while True:
            interval_s = max(self._interval_s, len(self._tasks) / _MOST_PROBES)
            await asyncio.sleep(interval_s * random.uniform(0.9, 1.1))  # noqa: S311
            await node.probe()
            self._metrics.node_in_flight(node.name).set(node.in_flight)
            self._metrics.node_pace(node.name).set(node.member.pace)
            self.tell()

    def tell(self) -> None:
        """Show which pools are used; say so where there are several: then their flavours are not proven equal.

        Those of a model beside the default one have its name before theirs, and are shown only where there are several.
        """
        self._tell_models()
        now = {"": _shown(self._fleet.pools)}
        now |= {m: _shown(pools, f"{m}/") for m, pools in self._fleet.pools_of.items() if len(pools) > 1}
        if now == self._told:
            return
        for name, use, _ in chain.from_iterable(self._told.values()):
            self._metrics.pool_nodes.drop(name, use)
        for name, use, count in chain.from_iterable(now.values()):
            self._metrics.pool_nodes(name, use).set(count)
        for model, pools in now.items():
            before = self._told.get(model, ())
            if len(pools) > 1 and [one[:2] for one in pools] != [one[:2] for one in before]:
                _warn(model, pools)
        self._told = now

    def _tell_models(self) -> None:
        """Show how many nodes there are for each model, and say so when there is none."""
        now = {model or self._default(): self._fleet.open_count(model) for model in self._fleet.models}
        if now == self._counts:
            return
        for model in self._counts.keys() - now.keys():
            self._metrics.model_nodes.drop(model)
        for model, count in now.items():
            self._metrics.model_nodes(model).set(count)
            if not count and self._counts.get(model) != 0:
                _log.warning("model_without_node", extra={"model": model})
        self._counts = now

    async def _closed(self, node: Node) -> None:
        try:
            while node.in_flight:  # noqa: ASYNC110 - rare, and nothing on the hot path has to tell
                await asyncio.sleep(_DRAIN_LOOK_S)
        finally:
            await node.backend.aclose()
        _log.info("node_left", extra={"node": node.name})


def _shown(pools: Sequence[Pool], prefix: str = "") -> Sequence[Shown]:
    shown, is_used = [], True
    for pool in pools:
        count = sum(kind.open_count for kind in pool.kinds)
        shown.append((prefix + pool.name, "first" if is_used else "standby", count))
        is_used = is_used and not count
    return shown


def _warn(model: str, pools: Sequence[Shown]) -> None:
    _log.warning(
        "flavours_kept_apart",
        extra={
            "model": model or "default",
            "used": next((name for name, use, count in pools if use == "first" and count), "none"),
            "standing_by": [name for name, use, _ in pools if use == "standby"],
            "why": "the release's parity report does not prove that these flavours answer alike",
        },
    )
