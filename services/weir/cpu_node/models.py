"""Which models a node serves: loading beside the running one, swapping, unloading."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weir.contracts.errors import BackendUnavailableError, ReleaseError, UnknownModelError, ValidationError
from weir.contracts.request import MODEL_NAME
from weir.cpu_node.settings import NodeSettings
from weir.engine.engine import Engine
from weir.engine.loading import GoldenMismatchError, load_engine
from weir.release.reader import MANIFEST, newest_version, read_manifest
from weir.telemetry.node_metrics import NodeLoad, NodeMetrics

_log = logging.getLogger("weir.node")

EngineLoader = Callable[[Path], Engine]


class ModelHost:
    """One engine per model name. Loads happen one at a time, in a thread, while the old version goes on serving."""

    def __init__(self, settings: NodeSettings, metrics: NodeMetrics, loader: EngineLoader | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loader = loader or self._load_engine
        self._engines: dict[str, Engine] = {}
        self._one_load = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._loading = False
        self._draining = False
        metrics.watch(self.load_now)

    def engine(self, model: str, version: int | None = None) -> Engine:
        """Return the engine that serves `model`.

        Raises:
            BackendUnavailableError: the node is draining, or still loads its first model.
            UnknownModelError: this model or this version of it is not served.
        """
        if self._draining:
            raise BackendUnavailableError("the node is draining")
        found = self._engines.get(model)
        if found is None:
            if self._loading and not self._engines:
                raise BackendUnavailableError("the node is loading its model")
            raise UnknownModelError("no such model on this node")
        if version is not None and version != found.info.version:
            raise UnknownModelError(f"{model}: version {version} is not served; {found.info.version} is")
        return found

    @property
    def engines(self) -> tuple[Engine, ...]:
        return tuple(self._engines.values())

    @property
    def ready(self) -> bool:
        return bool(self._engines) and not self._draining and all(e.ready for e in self.engines)

    @property
    def live(self) -> bool:
        """Whether every engine's thread is alive, and gets on if it has work."""
        return not any(e.failed or self._is_stalled(e) for e in self.engines)

    def _is_stalled(self, engine: Engine) -> bool:
        stats = engine.stats
        return stats.running + stats.queued > 0 and time.monotonic() - stats.last_progress > self._settings.stall_s

    def load_now(self) -> NodeLoad:
        stats = [e.stats for e in self.engines]
        ratio = max((s.kv_used_ratio for s in stats), default=0.0)
        return NodeLoad(
            queued=sum(s.queued for s in stats),
            running=sum(s.running for s in stats),
            kv_used_ratio=ratio,
            kv_used_bytes=sum(s.kv_used_bytes for s in stats),
            kv_budget_bytes=sum(s.kv_budget_bytes for s in stats),
            cached_blocks=sum(s.cached_blocks for s in stats),
        )

    def find(self, model: str, parameters: dict[str, Any]) -> Path:
        """Return the release that a load request means: by `path`, by `version`, else the newest of `model`.

        Raises:
            ValidationError: a bad name or version, or a path outside the configured folders.
            UnknownModelError: there is no such release.
        ReleaseError: it is not complete, or another model's.
        """
        if not re.fullmatch(MODEL_NAME, model):
            raise ValidationError("the model's name must match " + MODEL_NAME, "model")
        if (path := parameters.get("path")) is not None:
            root = self._inside(path)
        elif (version := parameters.get("version")) is not None:
            root = self._of_version(model, version)
        else:
            root = self._newest(model)
        if (found := read_manifest(root).model) != model:
            raise ReleaseError(f"{root.name}: this is a release of {found}, not of {model}")
        return root

    def _inside(self, path: Any) -> Path:
        if not isinstance(path, str) or "\0" in path:
            raise ValidationError("parameters.path: a string is needed", "parameters.path")
        root = Path(path).resolve()
        if not any(root.is_relative_to(allowed.resolve()) for allowed in self._settings.release_roots):
            raise ValidationError("parameters.path: only releases beneath the node's folders load", "parameters.path")
        return root

    def _of_version(self, model: str, version: Any) -> Path:
        if isinstance(version, bool) or not re.fullmatch(r"[1-9][0-9]{0,9}", str(version)):
            raise ValidationError("parameters.version: a positive integer is needed", "parameters.version")
        places = [root / model / str(version) for root in self._settings.release_roots]
        found = next((p for p in places if (p / MANIFEST).is_file()), None)
        if found is None:
            raise UnknownModelError(f"{model}: there is no release {version}")
        return self._inside(str(found))  # a link may lead elsewhere

    def _newest(self, model: str) -> Path:
        for root in self._settings.release_roots:
            if (root / model).is_dir():
                return self._inside(str(newest_version(root / model)))
        raise UnknownModelError(f"{model}: there is no release of it here")

    async def load(self, root: Path) -> Engine:
        """Serve the release at `root`; until it is ready, and if it fails, what served before goes on.

        Raises:
            ReleaseError: it was refused.
        """
        async with self._one_load:
            self._loading = True
            try:
                return await self._load(root)
            finally:
                self._loading = False

    async def _load(self, root: Path) -> Engine:
        began = time.monotonic()
        try:
            engine = await asyncio.to_thread(self._loader, root)
        except Exception as error:
            self._count_failure(error, root)
            raise
        engine.start()
        self._metrics.golden_checks.labels("passed").inc()
        self._metrics.loads.labels("loaded").inc()
        self._metrics.session_load_seconds.set(time.monotonic() - began)
        self._metrics.threads.set(engine.info.threads)
        self._swap_in(engine)
        fields = {"model": engine.info.model, "version": engine.info.version, "flavour": engine.info.flavour}
        _log.info("model_loaded", extra=fields | {"seconds": round(time.monotonic() - began, 3)})
        return engine

    def _load_engine(self, root: Path) -> Engine:
        return load_engine(root, self._settings.flavour, self._settings.engine(), observer=self._metrics)

    def _count_failure(self, error: Exception, root: Path) -> None:
        refused = isinstance(error, ReleaseError)
        if isinstance(error, GoldenMismatchError):
            self._metrics.golden_checks.labels("failed").inc()
        self._metrics.loads.labels("refused" if refused else "failed").inc()
        reason = str(error) if refused else type(error).__name__
        _log.error("load_failed", extra={"release": str(root), "reason": reason})

    def _swap_in(self, engine: Engine) -> None:
        old = self._engines.get(engine.info.model)
        self._engines[engine.info.model] = engine
        if old is not None:
            self._retire(old)
        info = engine.info
        self._metrics.model_info.labels(info.model, info.version, info.flavour).set(1)

    def _retire(self, engine: Engine) -> None:
        """Let the engine's requests finish, then stop it, without anyone waiting."""
        info = engine.info
        self._metrics.model_info.remove(info.model, str(info.version), info.flavour)
        task = asyncio.create_task(engine.stop(drain_s=self._settings.drain_timeout_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def unload(self, model: str) -> None:
        """Stop serving `model`; its running requests finish.

        Raises:
            UnknownModelError: it is not served.
        """
        engine = self._engines.pop(model, None)
        if engine is None:
            raise UnknownModelError("no such model on this node")
        self._retire(engine)
        _log.info("model_unloaded", extra={"model": model})

    def drain(self) -> None:
        """Let nobody in from now on."""
        self._draining = True
        self._metrics.draining.set(1)

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        self.drain()
        await asyncio.gather(*(e.stop(drain_s=drain_s) for e in self.engines), *self._retiring)
