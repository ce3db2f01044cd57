"""Brings a change to every node of a pool while it serves: one node first, then a few at a time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Final

from weir.backends.base import ManagedNode
from weir.contracts.errors import WeirError

_AT_ONCE: Final = 4


class State(StrEnum):
    """What became of one node."""

    WORKING = "working"
    DONE = "done"
    REFUSED = "refused"
    PUT_BACK = "put back"
    LOST = "not put back"  # it serves the new version, and could not be made to serve the old one again


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened; `seconds` is how long it took, `words` say what went wrong, or else what it serves."""

    node: str
    state: State
    words: str = ""
    seconds: float = 0.0


class Rollout:
    """What is done to each node, and how that is undone when a later node refuses; none: it is not."""

    def __init__(
        self,
        do: Callable[[ManagedNode], Awaitable[object]],
        undo: Callable[[ManagedNode], Awaitable[object]] | None = None,
    ) -> None:
        self._do = do
        self._undo = undo
        self._done: list[ManagedNode] = []
        self.failed = False

    async def __call__(self, nodes: Sequence[ManagedNode]) -> AsyncGenerator[Step, None]:
        """Change the first node alone: what is wrong with the change itself is found while all others serve on.

        Once a node has refused, no further one is touched, and those that were changed are put back.
        """
        for batch in (nodes[:1], *(nodes[i : i + _AT_ONCE] for i in range(1, len(nodes), _AT_ONCE))):
            async with aclosing(self._changed(batch)) as steps:
                async for step in steps:
                    yield step
            if self.failed:
                break
        if self.failed and self._undo is not None:
            for node in self._done:
                yield await self._put_back(node)

    async def _changed(self, nodes: Sequence[ManagedNode]) -> AsyncGenerator[Step, None]:
        for node in nodes:
            yield Step(node.name, State.WORKING)
        tasks = [asyncio.create_task(self._change(node)) for node in nodes]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _change(self, node: ManagedNode) -> Step:
        began = monotonic()
        try:
            await self._do(node)
        except WeirError as error:
            self.failed = True
            return Step(node.name, State.REFUSED, str(error), monotonic() - began)
        self._done.append(node)
        return Step(node.name, State.DONE, seconds=monotonic() - began)

    async def _put_back(self, node: ManagedNode) -> Step:
        began = monotonic()
        try:
            if self._undo is not None:
                await self._undo(node)
        except WeirError as error:
            return Step(node.name, State.LOST, str(error), monotonic() - began)
        return Step(node.name, State.PUT_BACK, seconds=monotonic() - began)


def of_version(model: str, version: int) -> Rollout:
    """Return the rollout that makes nodes serve this version, or what they served before if one of them refuses."""
    before: dict[str, int] = {}

    async def load(node: ManagedNode) -> None:
        served = await node.serving(model)
        if served is not None:
            before[node.name] = served
        await node.load(model, version)

    async def load_again(node: ManagedNode) -> None:
        served = before.get(node.name)
        await (node.unload(model) if served is None else node.load(model, served))

    return Rollout(load, load_again)


def of_absence(model: str) -> Rollout:
    """Return the rollout that makes nodes stop serving `model`; answers that are under way are finished."""
    before: dict[str, int] = {}

    async def unload(node: ManagedNode) -> None:
        served = await node.serving(model)
        if served is not None:
            await node.unload(model)
            before[node.name] = served

    async def load_again(node: ManagedNode) -> None:
        if node.name in before:
            await node.load(model, before[node.name])

    return Rollout(unload, load_again)


def of_adapter(model: str, adapter: str) -> Rollout:
    """Return the rollout that makes nodes serve an adapter that lies beside the release that serves `model`."""
    return Rollout(lambda node: node.add_adapter(model, adapter), lambda node: node.remove_adapter(model, adapter))


def of_adapters_absence(model: str, adapter: str) -> Rollout:
    """Return the rollout that takes an adapter away, after it was deleted from beside its release."""
    return Rollout(lambda node: node.remove_adapter(model, adapter))
