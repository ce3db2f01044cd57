"""Brings adapters that were published beside a release into the engine that serves it."""

import asyncio
import logging
from pathlib import Path

from weir.contracts.errors import ReleaseError, ValidationError
from weir.engine.adapters import read_adapter
from weir.engine.engine import Engine
from weir.engine.serving import ServingEngine
from weir.release.added import added_adapters, open_added

_log = logging.getLogger("weir.engine")


def adapters_of(engine: ServingEngine) -> tuple[str, ...]:
    """Return what requests may name."""
    return engine.adapters if isinstance(engine, Engine) else ()


async def remove_one(engine: ServingEngine, name: str) -> None:
    """Serve it to no further request; return once those that it serves have ended.

    Raises:
        ValidationError: there is no such adapter.
    """
    if not isinstance(engine, Engine):
        raise ValidationError("no adapter of this name (this engine takes none)", "adapter")
    await engine.remove_adapter(name)


async def add_one(engine: ServingEngine, root: Path, name: str) -> None:
    """Serve one of them.

    Raises:
        UnknownModelError: there is none of this name.
        ReleaseError: it is not what its manifest says, or does not fit this model or flavour.
    """
    folder = await asyncio.to_thread(open_added, root, name)
    if not isinstance(engine, Engine):
        raise ReleaseError(f"adapter {name}: the engine of this node takes no adapters")
    await engine.add_adapter(await asyncio.to_thread(read_adapter, folder))


async def add_all(engine: ServingEngine, root: Path) -> None:
    """Serve all of them; one that is refused is logged, for the release is well without it."""
    for added in added_adapters(root):
        try:
            await add_one(engine, root, added.name)
        except ReleaseError as error:
            _log.error("adapter_refused", extra={"adapter": added.name, "reason": str(error)})


class AddedWatch:
    """Keeps an engine's adapters as they lie beside its release, for a server that cannot be told of them."""

    def __init__(self, engine: ServingEngine, root: Path) -> None:
        self._engine = engine
        self._root = root
        self._seen: dict[str, str] = {}

    async def look(self) -> None:
        """Add what came or changed since the last look, remove what went."""
        now = {added.name: added.stamp for added in await asyncio.to_thread(added_adapters, self._root)}
        before, self._seen = self._seen, now
        for name in before.keys() - now.keys():
            if name in adapters_of(self._engine):
                await remove_one(self._engine, name)
                _log.info("adapter_removed", extra={"adapter": name})
        for name in now:
            if now[name] != before.get(name):
                await self._add(name)

    async def _add(self, name: str) -> None:
        try:
            await add_one(self._engine, self._root, name)
            _log.info("adapter_added", extra={"adapter": name})
        except ReleaseError as error:
            _log.error("adapter_refused", extra={"adapter": name, "reason": str(error)})
