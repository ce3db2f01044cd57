"""Which models a node serves: loading beside the running one, swapping, unloading."""

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from weir.contracts.classifier import ClassifierManifest
from weir.contracts.embedder import EmbedderManifest
from weir.contracts.errors import BackendUnavailableError, ReleaseError, UnknownModelError, ValidationError
from weir.contracts.request import MODEL_NAME
from weir.cpu_node.settings import NodeSettings
from weir.engine.added import add_all, add_one, remove_one
from weir.engine.classifier import TextClassifier, load_classifier
from weir.engine.embedder import TextEmbedder, load_embedder
from weir.engine.golden import GoldenMismatchError
from weir.engine.loading import load_engine
from weir.engine.serving import ServingEngine
from weir.release.reader import MANIFEST, newest_version, read_any_manifest
from weir.telemetry.node_metrics import NodeLoad, NodeMetrics

_log = logging.getLogger("weir.node")

TextModel = TextClassifier | TextEmbedder  # texts in, numbers out
Served = ServingEngine | TextModel
Loader = Callable[[Path], Served]


class ModelHost:
    """One engine, classifier or embedder per model name.

    Loads happen one at a time, in a thread, while the old version goes on serving.
    """

    def __init__(self, settings: NodeSettings, metrics: NodeMetrics, loader: Loader | None = None) -> None:
        self._settings = settings
        self._metrics = metrics
        self._loader = loader or self._load_release
        self._served: dict[str, Served] = {}
        self._roots: dict[str, Path] = {}  # of models that generate
        self._one_load = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self._loading = False
        self._draining = False
        metrics.watch(self.load_now)
        metrics.watch_texts(lambda: sum(c.waiting for c in self.served if isinstance(c, TextModel)))

    def engine(self, model: str, version: int | None = None) -> ServingEngine:
        """Return the engine that generates with `model`.

        Raises:
            BackendUnavailableError: the node is draining, or still loads its first model.
            UnknownModelError: this model or this version of it is not served, or it does not generate.
        """
        found = self.serving(model, version)
        if isinstance(found, TextModel):
            does = "classifies" if isinstance(found, TextClassifier) else "embeds"
            raise UnknownModelError(f"{model} {does} texts: POST its .../infer")
        return found

    def text_model(self, model: str, version: int | None = None) -> TextModel:
        """As `engine`, of a model that classifies or embeds."""
        found = self.serving(model, version)
        if not isinstance(found, TextModel):
            raise UnknownModelError(f"{model} generates text: POST its .../generate")
        return found

    def serving(self, model: str, version: int | None = None) -> Served:
        """Return what serves `model`, whatever it does; raises as `engine`."""
        if self._draining:
            raise BackendUnavailableError("the node is draining")
        found = self._served.get(model)
        if found is None:
            if self._loading and not self._served:
                raise BackendUnavailableError("the node is loading its model")
            raise UnknownModelError("no such model on this node")
        if version is not None and version != found.info.version:
            raise UnknownModelError(f"{model}: version {version} is not served; {found.info.version} is")
        return found

    @property
    def served(self) -> tuple[Served, ...]:
        return tuple(self._served.values())

    @property
    def engines(self) -> tuple[ServingEngine, ...]:
        return tuple(served for served in self.served if not isinstance(served, TextModel))

    @property
    def ready(self) -> bool:
        return bool(self._served) and not self._draining and all(served.ready for served in self.served)

    @property
    def live(self) -> bool:
        """Whether every engine's thread is alive, and gets on if it has work."""
        return not any(e.failed or self._is_stalled(e) for e in self.engines)

    def _is_stalled(self, engine: ServingEngine) -> bool:
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
        if (found := read_any_manifest(root).model) != model:
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

    async def load(self, root: Path) -> Served:
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

    async def _load(self, root: Path) -> Served:
        began = time.monotonic()
        try:
            served = await asyncio.to_thread(self._loader, root)
        except Exception as error:
            self._count_failure(error, root)
            raise
        if not isinstance(served, TextModel):
            served.start()
            await add_all(served, root)
            self._roots[served.info.model] = root
            self._metrics.threads.set(served.info.threads)
        self._metrics.golden_checks.labels("passed").inc()
        self._metrics.loads.labels("loaded").inc()
        self._metrics.session_load_seconds.set(time.monotonic() - began)
        self._swap_in(served)
        fields = {"model": served.info.model, "version": served.info.version, "flavour": served.info.flavour}
        _log.info("model_loaded", extra=fields | {"seconds": round(time.monotonic() - began, 3)})
        return served

    def _load_release(self, root: Path) -> Served:
        match read_any_manifest(root):
            case ClassifierManifest():
                return load_classifier(root, observer=self._metrics)
            case EmbedderManifest():
                return load_embedder(root, threads=self._settings.threads or 1, observer=self._metrics)
            case _:
                pass
        return load_engine(root, self._settings.flavour, self._settings.engine(), observer=self._metrics)

    def _count_failure(self, error: Exception, root: Path) -> None:
        refused = isinstance(error, ReleaseError)
        if isinstance(error, GoldenMismatchError):
            self._metrics.golden_checks.labels("failed").inc()
        self._metrics.loads.labels("refused" if refused else "failed").inc()
        reason = str(error) if refused else type(error).__name__
        _log.error("load_failed", extra={"release": str(root), "reason": reason})

    def _swap_in(self, served: Served) -> None:
        old = self._served.get(served.info.model)
        self._served[served.info.model] = served
        if old is not None:
            self._retire(old)
        info = served.info
        self._metrics.model_info.labels(info.model, info.version, info.flavour).set(1)

    def _retire(self, served: Served) -> None:
        """Let its requests finish, then stop it, without anyone waiting."""
        info = served.info
        self._metrics.model_info.remove(info.model, str(info.version), info.flavour)
        task = asyncio.create_task(served.stop(drain_s=self._settings.drain_timeout_s))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def add_adapter(self, model: str, name: str) -> None:
        """Serve an adapter that was published beside the release that serves `model`.

        Raises:
            UnknownModelError: no such model is served, or there is no such adapter.
            ReleaseError: it is not what its manifest says, or does not fit.
        """
        engine = self.engine(model)
        await add_one(engine, self._roots[model], name)
        _log.info("adapter_added", extra={"model": model, "adapter": name})

    async def remove_adapter(self, model: str, name: str) -> None:
        """Serve an adapter to no further request; returns once those that it serves have ended.

        Raises:
            UnknownModelError: no such model is served.
            ValidationError: it has no such adapter.
        """
        await remove_one(self.engine(model), name)
        _log.info("adapter_removed", extra={"model": model, "adapter": name})

    def unload(self, model: str) -> None:
        """Stop serving `model`; its running requests finish.

        Raises:
            UnknownModelError: it is not served.
        """
        served = self._served.pop(model, None)
        if served is None:
            raise UnknownModelError("no such model on this node")
        self._retire(served)
        _log.info("model_unloaded", extra={"model": model})

    def drain(self) -> None:
        """Let nobody in from now on."""
        self._draining = True
        self._metrics.draining.set(1)

    async def aclose(self, *, drain_s: float = 0.0) -> None:
        self.drain()
        await asyncio.gather(*(served.stop(drain_s=drain_s) for served in self.served), *self._retiring)
