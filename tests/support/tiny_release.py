"""A whole release around the tiny graphs: what nodes, gateway and end-to-end tests load."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as library_version
from pathlib import Path

from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph
from weir.contracts.manifest import FileEntry, Format, GoldenPrompt, Lineage, Parity, ReleaseManifest
from weir.engine.packed_model import PackedGraph, PackedModel
from weir.engine.runner import greedy_ids
from weir.engine.session import Graph, GraphSession
from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir.release.tokenizer import ReleaseTokenizer

PROMPTS = ("How do I return an order?", "怎么退货？", "<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\n")
GOLDEN_TOKENS = 16
_GRAPH_FILES = ("model.onnx", "model.onnx.data", "genai_config.json")


def make_tiny_release(
    folder: Path, *, model: str = "tiny", version: int = 1, precisions: Sequence[str] = ("fp32", "int8")
) -> Path:
    """Write `folder/<model>/<version>` and return it; the first precision is the one to serve.

    The first call on a machine builds the graphs (about 5 s each), later ones copy about 3 MB.
    """
    root = folder / model / str(version)
    shutil.copytree(lively_checkpoint(), root / "model")
    for precision in precisions:
        target = root / "onnx" / f"cpu-{precision}"
        target.mkdir(parents=True)
        for name in _GRAPH_FILES:
            if (tiny_graph(precision) / name).is_file():
                shutil.copy(tiny_graph(precision) / name, target)
    write_manifest(root, model=model, version=version, precisions=precisions)
    return root


def write_manifest(root: Path, *, model: str, version: int, precisions: Sequence[str] = ("fp32", "int8")) -> None:
    """Write manifest.json and COMPLETE for what lies at `root` now; tests call it again after changing a file."""
    names = sorted(p for p in root.rglob("*") if p.is_file() and p.name not in {"manifest.json", "COMPLETE"})
    checkpoint = root / "model"
    template = checkpoint / "chat_template.jinja"
    manifest = ReleaseManifest(
        model=model,
        version=version,
        created=datetime.now(UTC),
        files=tuple(_entry(root, path) for path in names),
        lineage=_lineage(checkpoint),
        prompt_mode="chat",
        context_tokens=CONTEXT_TOKENS,
        vocab_size=json.loads((checkpoint / "config.json").read_text())["vocab_size"],
        eos_ids=tuple(json.loads((checkpoint / "generation_config.json").read_text())["eos_token_id"]),
        tokenizer_sha256=sha256_file(checkpoint / "tokenizer.json"),
        chat_template_sha256=sha256_file(template) if template.is_file() else None,
        golden=tuple(
            GoldenPrompt(prompt=p, prompt_ids=ids, greedy_ids=answer)
            for p, ids, answer in zip(PROMPTS, _prompt_ids(), golden_ids("fp32"), strict=True)
        ),
        formats=tuple(_format(root, precision) for precision in precisions),
        serve_flavour=f"cpu-{precisions[0]}",
        gate_passed=True,
    )
    (root / "manifest.json").write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
    (root / "COMPLETE").write_text(sha256_file(root / "manifest.json"), encoding="utf-8")


@cache
def golden_ids(precision: str) -> tuple[tuple[int, ...], ...]:
    """The greedy answers of one flavour; of fp32 they equal transformers' (tests/contract/test_engine.py)."""
    path = tiny_graph(precision) / "model.onnx"
    if precision.startswith("packed"):
        model = PackedModel(PackedGraph(path, threads=2), blocks=8, context_tokens=64)
        return tuple(tuple(greedy_ids(model, list(ids), GOLDEN_TOKENS, chunk_tokens=64)) for ids in _prompt_ids())
    session = GraphSession(Graph(path, threads=2), slots=1, context_tokens=64)
    return tuple(tuple(greedy_ids(session, list(ids), GOLDEN_TOKENS, chunk_tokens=64)) for ids in _prompt_ids())


@cache
def _prompt_ids() -> tuple[tuple[int, ...], ...]:
    tokenizer = ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")
    return tuple(tuple(tokenizer.encode(prompt)) for prompt in PROMPTS)


def _entry(root: Path, path: Path) -> FileEntry:
    return FileEntry(path=path.relative_to(root).as_posix(), sha256=sha256_file(path), bytes=path.stat().st_size)


def _lineage(checkpoint: Path) -> Lineage:
    return Lineage(
        base="tiny-random",
        base_sha256=sha256_tree(checkpoint),
        recipe_sha256=sha256_text("no recipe"),
        data_sha256={},
        run="test",
        seed=0,
        code_version="test",
        libraries={"onnxruntime": library_version("onnxruntime")},
    )


def _format(root: Path, precision: str) -> Format:
    graph = root / "onnx" / f"cpu-{precision}" / "model.onnx"
    parity = Parity(
        max_abs=0.0,
        argmax_agreement=1.0,
        mean_kl=0.0,
        nll=1.0,
        nll_reference=1.0,
        greedy_equal=golden_ids(precision) == golden_ids("fp32"),
        bytes=graph.stat().st_size,
        passed=True,
    )
    return Format(
        flavour=f"cpu-{precision}",
        graph=graph.relative_to(root).as_posix(),
        parity=parity,
        golden_greedy_ids=golden_ids(precision),
    )
