"""From a release directory to an engine that was checked against it."""

from collections.abc import Sequence
from pathlib import Path

from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import Format, ReleaseManifest, is_packed, is_paged
from weir.engine.adapters import Adapter, read_adapter
from weir.engine.corpus import Corpus
from weir.engine.cpus import this_machine
from weir.engine.device import Device, choose_device
from weir.engine.drafts import Drafters
from weir.engine.engine import Engine, EngineInfo
from weir.engine.genai_loading import load_paged
from weir.engine.golden import check_golden
from weir.engine.kernels.library import operators
from weir.engine.observer import EngineObserver
from weir.engine.packed_call import BLOCK_TOKENS
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.serving import ServingEngine
from weir.engine.session import CacheShape, Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.step import Model
from weir.release.drafts import read_drafts
from weir.release.reader import Release, open_release, read_manifest
from weir.release.tokenizer import ReleaseTokenizer

_PLAIN_ORDER = ("cpu-int8", "cpu-w8a8", "cpu-int4", "cpu-fp32")
_SPARE = 2  # as many blocks again may keep prefixes of sequences that ended


def load_engine(
    root: Path, flavour: str | None, settings: EngineSettings, *, observer: EngineObserver | None = None
) -> ServingEngine:
    """Check what is read of the release at `root`, build the model, ask the golden prompts; return an engine to start.

    Args:
        root: `releases/<model>/<version>`.
        flavour: e.g. `cpu-int8`; none: the manifest's `serve_flavour`, or the next one where that cannot run.
        settings: bounds; the number of blocks follows from `kv_budget_bytes`.
        observer: told of every step and request.

    Raises:
        GoldenMismatchError: an answer to a golden prompt differs from the recorded one.
        DeviceMissingError: the flavour is made for a GPU, and there is none.
        ReleaseError: the release is not what its manifest says, the graph does not load, or not even one sequence
            fits into the budget.
    """
    wanted = flavour or _servable(read_manifest(root))
    release = open_release(root, reads=lambda path: _is_read(path, wanted))
    chosen = release.format(wanted)
    if is_paged(wanted):
        return load_paged(release, chosen, settings, observer=observer)
    threads = settings.threads or this_machine().threads
    device = choose_device(wanted, settings.device)
    model = open_model(release, chosen, settings, threads=threads, device=device)
    if settings.check_golden:
        is_exact = device is Device.CPU and chosen.parity.device == "cpu"
        check_golden(model, release.manifest, chosen, settings, is_exact=is_exact)
    tokenizer = ReleaseTokenizer(release.checkpoint / "tokenizer.json")
    manifest = release.manifest
    names = tuple(entry.name for entry in manifest.adapters) if is_packed(chosen.flavour) else ()
    info = EngineInfo(manifest.model, manifest.version, chosen.flavour, threads, manifest.eos_ids, names, device.value)
    drafters = Drafters(Corpus(read_drafts(release))) if model.is_exact and settings.max_draft_tokens else None
    return Engine(model, tokenizer, info, settings=settings, observer=observer, make_drafter=drafters)


def _is_read(path: str, flavour: str) -> bool:
    """The checkpoint's weights and other flavours are not: nothing of them is trusted, so nothing need be hashed."""
    if path.startswith("onnx/"):
        return path.startswith(f"onnx/{flavour}/")
    return path.startswith("adapters/") or not path.endswith(".safetensors")


def _servable(manifest: ReleaseManifest) -> str:
    """A machine without the operators serves the first flavour that plain onnxruntime runs."""
    if not is_packed(manifest.serve_flavour) or operators() is not None:
        return manifest.serve_flavour
    return next((name for name in _PLAIN_ORDER if manifest.format_of(name)), manifest.serve_flavour)


def open_model(
    release: Release, chosen: Format, settings: EngineSettings, *, threads: int, device: Device = Device.CPU
) -> Model:
    """Load one flavour's graph, with keys and values within the budget.

    Raises:
        ReleaseError: the graph does not load, or not even one sequence fits into the budget.
    """
    context = min(release.manifest.context_tokens, settings.max_context_tokens or release.manifest.context_tokens)
    path = release.graph(chosen.flavour)
    if is_packed(chosen.flavour):
        adapters = [read_adapter(release.root / "adapters" / entry.name) for entry in release.manifest.adapters]
        return _packed_model(PackedGraph(path, threads=threads), context, settings, adapters)
    graph = Graph(path, threads=threads, device=device)
    return SlotModel(GraphSession(graph, slots=_slots(graph.cache, context, settings), context_tokens=context))


def _packed_model(
    graph: PackedGraph, context_tokens: int, settings: EngineSettings, adapters: Sequence[Adapter]
) -> PackedModel:
    """Take no more blocks than the most sequences can fill: memory that nobody will use is not asked for."""
    needed = -(-context_tokens // BLOCK_TOKENS)
    blocks = min(settings.kv_budget_bytes // graph.block_bytes, needed * settings.max_running * _SPARE)
    if blocks < needed:
        raise ReleaseError(_too_small(context_tokens, needed * graph.block_bytes, settings))
    return PackedModel(graph, blocks=blocks, context_tokens=context_tokens, adapters=adapters)


def _too_small(context_tokens: int, each: int, settings: EngineSettings) -> str:
    return (
        f"one sequence of {context_tokens} tokens needs {each >> 20} MiB of keys and values; "
        f"the budget is {settings.kv_budget_bytes >> 20} MiB: raise it or lower the context"
    )


def _slots(cache: CacheShape, context_tokens: int, settings: EngineSettings) -> int:
    each = cache.bytes_per_slot(context_tokens)
    slots = min(settings.kv_budget_bytes // each, settings.max_running)
    if slots < 1:
        raise ReleaseError(_too_small(context_tokens, each, settings))
    return slots
