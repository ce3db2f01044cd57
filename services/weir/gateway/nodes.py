"""Which nodes the gateway has: from its settings, from a file, from DNS; looked at again while it runs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pydantic
import yaml

from weir.contracts.errors import UsageError, WeirError
from weir.gateway.settings_nodes import NodeSettings, spec_of
from weir.gateway.watching import Watch, look
from weir.routing.discovery import Finder, NodeSpec
from weir.routing.node import Node
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

_log = logging.getLogger(__name__)
_LIST: Final = pydantic.TypeAdapter(tuple[NodeSettings, ...])


class NodeList:
    """Brings a router's nodes in line with what is found. Nodes that stay the same are left alone."""

    def __init__(
        self,
        nodes: Sequence[NodeSettings],
        file: Path | None,
        metrics: GatewayMetrics,
        *,
        interval_s: float,
        finder: Finder | None = None,
    ) -> None:
        """`interval_s`: between two look-ups. Raises UsageError when the file is refused."""
        self._metrics = metrics
        self._interval_s = interval_s
        self._finder = finder or Finder()
        self._file = file
        self._watch = Watch()
        self._one_at_a_time = asyncio.Lock()
        self._there: dict[str, NodeSpec] = {}
        self._given = tuple(nodes)
        self._listed = self._read()

    def first(self, make: Callable[[NodeSpec], Node]) -> list[Node]:
        """Make the nodes that need no look-up; the others are made by `settle`."""
        self._make = make
        specs = [spec for spec in self._listed if spec.host is None]
        self._there = {spec.name: spec for spec in specs}
        return [make(spec) for spec in specs]

    def reread(self, nodes: Sequence[NodeSettings] | None = None) -> None:
        """Read the file again, and take `nodes` for those of the settings; `settle` then makes them hold.

        Raises:
            UsageError: the file is refused; the old list holds.
        """
        before = self._given
        self._given = self._given if nodes is None else tuple(nodes)
        try:
            self._listed = self._read()
        except UsageError:
            self._given = before
            raise

    async def settle(self, router: Router) -> None:
        """Find out what nodes there are, add the new ones and remove those that are gone."""
        async with self._one_at_a_time:
            found = {spec.name: spec for spec in await self._finder.found(self._listed)}
            gone = [name for name, spec in self._there.items() if found.get(name) != spec]
            new = [spec for name, spec in found.items() if self._there.get(name) != spec]
            for name in gone:
                router.remove(name)
                del self._there[name]
            for spec in new:
                router.add(self._make(spec))
                self._there[spec.name] = spec
        if gone or new:
            _log.info("nodes_changed", extra={"added": [spec.name for spec in new], "removed": gone})
        if self._finder.failures:
            _log.warning("nodes_not_looked_up", extra={"names": self._finder.failures})
        self._metrics.discoveries("failed" if self._finder.failures else "changed" if gone or new else "same").inc()

    async def watch(self, router: Router, *, look_s: float = 1.0) -> None:
        """Look at the file every `look_s`, and names up, until cancelled."""
        passed_s = 0.0
        while True:
            await asyncio.sleep(look_s)
            passed_s += look_s
            is_new = await self._is_file_new()
            if is_new or (passed_s >= self._interval_s and any(spec.host for spec in self._listed)):
                passed_s = 0.0
                await self.settle(router)

    async def _is_file_new(self) -> bool:
        """Whether the file has changed and was read."""
        if self._file is None:
            return False
        now = await asyncio.to_thread(look, [self._file])
        if not self._watch.is_changed(now):
            return False
        self._watch.settle(now, now)
        try:
            self.reread()
        except WeirError as error:
            _log.error("nodes_file_refused", extra={"reason": str(error)})
            self._metrics.discoveries("failed").inc()
            return False
        return True

    def _read(self) -> list[NodeSpec]:
        more = () if self._file is None else _from_file(self._file)
        specs = [spec_of(node) for node in (*self._given, *more)]
        names = [spec.name for spec in specs]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UsageError(f"two nodes are called {twice}")
        return specs


async def nodes_now(nodes: Sequence[NodeSettings], file: Path | None) -> list[NodeSpec]:
    """Find out what nodes there are, for a change that is to reach all of them.

    Raises:
        UsageError: the file is refused, or a name cannot be looked up.
    """
    more = () if file is None else await asyncio.to_thread(_from_file, file)
    finder = Finder()
    found = await finder.found([spec_of(node) for node in (*nodes, *more)])
    if finder.failures:
        raise UsageError(f"these nodes cannot be looked up: {', '.join(finder.failures)}")
    return found


def _from_file(path: Path) -> tuple[NodeSettings, ...]:
    try:
        return _LIST.validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or ())
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: no YAML: {error}") from None
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}" if where else f"{path}: {first['msg']}") from None
