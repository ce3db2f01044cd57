"""Reading policy, releases, embedders and the list of nodes again while requests run."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weir.contracts.errors import WeirError
from weir.gateway.catalog import ServedModel
from weir.gateway.embedder_releases import EmbeddingModel, labels_of
from weir.gateway.nodes import NodeList
from weir.gateway.service import GenerationService
from weir.gateway.settings import GatewaySettings
from weir.gateway.watching import Watch, look
from weir.guard.compiled import CompiledGuard
from weir.guard.policy import default_policy, load_policy

_log = logging.getLogger(__name__)
_LOOK_S: Final = 1.0
_AGAIN_S: Final = 30.0  # a policy that was refused may have lacked a file that comes later


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files say; without settings, nodes and embedders stay."""

    settings: GatewaySettings | None
    models: list[ServedModel]
    embedders: dict[str, EmbeddingModel]


class Reloader:
    """Replaces what the files say now, all or nothing; a request under way keeps what it began with."""

    def __init__(
        self,
        service: GenerationService,
        guard: Path | None,
        nodes: NodeList | None = None,
        again: Callable[[], GatewaySettings] | None = None,
    ) -> None:
        """`again` reads the settings anew; of them only nodes and embedders are heeded."""
        self._service = service
        self._guard = guard
        self._nodes = nodes
        self._again = again
        self._one_at_a_time = asyncio.Lock()
        self._watch = Watch()
        self._is_refused = False

    async def __call__(self, *, with_models: bool = True) -> str | None:
        """Return why the files were refused; none: they hold from now on."""
        async with self._one_at_a_time:
            before = await asyncio.to_thread(look, self._watched())
            reason = await self._replaced(with_models=with_models)
            self._watch.settle(before, await asyncio.to_thread(look, self._watched()))
        return reason

    async def watch(self) -> None:
        """Look at the policy's files every second, and read them again when they have changed, until cancelled.

        What changed since the start is noticed as well: at first no look is known.
        """
        refused_s = 0.0
        while self._guard is not None:
            await asyncio.sleep(_LOOK_S)
            now = await asyncio.to_thread(look, self._watched())
            refused_s = refused_s + _LOOK_S if self._is_refused else 0.0
            if self._watch.is_changed(now) or refused_s >= _AGAIN_S:
                refused_s = 0.0
                await self(with_models=False)

    def _watched(self) -> list[Path]:
        """Return the policy's file, and all that the last good one drew in; packs that come with Weir are not there."""
        if self._guard is None:
            return []
        folder = self._guard.parent
        return [self._guard, *(folder / name for name in self._service.guards.compiled.policy.files)]

    async def _replaced(self, *, with_models: bool) -> str | None:
        service, metrics = self._service, self._service.metrics
        try:
            found = await asyncio.to_thread(self._read) if with_models else None
            compiled = await asyncio.to_thread(self._compiled)
            if found is not None:  # last: it holds at once
                await asyncio.to_thread(self._reread_nodes, found.settings)
        except Exception as error:  # noqa: BLE001 - whatever it is, what holds goes on
            if with_models:
                metrics.reloads("refused").inc()
            return self._refused(error)
        self._is_refused = False
        if found is not None:
            await self._hold_to(found)
        metrics.guard_reloads("unchanged" if compiled is None else "applied").inc()
        if compiled is not None:
            service.guards.hold_to(compiled)
        self._tell(() if found is None else found.models)
        return None

    def _read(self) -> "_Found":
        settings = None if self._again is None else self._again()
        models = self._service.catalog.read_again()
        if settings is None:
            return _Found(None, models, self._service.embeddings.models)
        return _Found(settings, models, self._service.embeddings.read_again(settings.embedders_at_nodes))

    async def _hold_to(self, found: "_Found") -> None:
        service = self._service
        service.catalog.replace(found.models)
        service.router.offers(*service.catalog.offers)
        await service.embeddings.hold(found.embedders)
        service.metrics.set_models((*service.catalog.labels, *labels_of(found.embedders)))
        service.metrics.reloads("applied").inc()
        if self._nodes is not None:
            await self._nodes.settle(service.router)

    def _reread_nodes(self, settings: GatewaySettings | None) -> None:
        if self._nodes is not None:
            self._nodes.reread(None if settings is None else settings.nodes)

    def _refused(self, error: Exception) -> str:
        """Log why; it is an operator's fault, or ours."""
        self._is_refused = True
        reason = str(error) if isinstance(error, WeirError) else "internal error"
        _log.error("reload_refused", extra={"reason": reason}, exc_info=None if isinstance(error, WeirError) else error)
        return reason

    def _tell(self, models: Sequence[ServedModel]) -> None:
        policy = self._service.guards.compiled.policy
        found = {"policy": policy.id, "sha256": policy.sha256, "warnings": list(policy.warnings)}
        _log.info("reloaded", extra={"models": {model.name: model.version for model in models}, **found})

    def _compiled(self) -> CompiledGuard | None:
        """Return the policy that the files say, ready to run; none: it is the one that holds. Runs in a thread."""
        try:
            policy = default_policy() if self._guard is None else load_policy(self._guard)
            is_same = policy.sha256 == self._service.guards.compiled.policy.sha256
            return None if is_same else CompiledGuard.build(policy)
        except Exception:
            self._service.metrics.guard_reloads("refused").inc()
            raise
