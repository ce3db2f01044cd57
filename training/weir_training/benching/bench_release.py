"""A release folder around random weights, so that engine and node can be measured as they run.

It is a real release in every check that a node makes (hashes, golden prompts, manifest) but one: its flavours are
marked as passed although random weights mean nothing to a parity gate. The manifest says so (`gate_passed` false, and
each flavour's reasons), and the folder lies below `<home>/bench`, where no node looks by itself.
"""

import json
import os
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weir import __version__
from weir.contracts.errors import ReleaseError
from weir.contracts.manifest import FileEntry, Format, GoldenPrompt, Lineage, Parity, ReleaseManifest, is_paged
from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir.release.reader import COMPLETE, MANIFEST, read_manifest
from weir_training import gate
from weir_training.atomic import new_folder, write_text
from weir_training.benching.environments import installed
from weir_training.benching.prompts import Prompt, WordPrompts, tokenizer_of
from weir_training.export import export_folders, exporter_digest, folder_bytes
from weir_training.graph_models import GRAPH, TWIN, open_graph
from weir_training.leftovers import remove_leftovers
from weir_training.parity import ROWS_AT_ONCE, Tally, TaskRow, compare
from weir_training.progress import Progress, Tick
from weir_training.recipe import ExportPart

if TYPE_CHECKING:
    from weir_training.checkpoint import Checkpoint

NOT_GATED: Final = "random weights, for benchmarks only: not gated"
_CONTEXT_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json")
_ROWS, _PROMPT_TOKENS, _ANSWER_TOKENS = 4, 24, 8
_THREADS: Final = 2


def release_of_shape(shape: str, checkpoint: Path, flavours: Sequence[str], folder: Path, progress: Progress) -> Path:
    """Return `folder/release/<shape>/1` with at least these flavours; export and measure those that are missing.

    Raises:
        JobError: the export failed.
    """
    root = folder / "release" / shape / "1"
    remove_leftovers(folder / "graphs")
    have = {flavour: found for flavour, found in _formats(root).items() if _is_current(folder, flavour)}
    missing = [flavour for flavour in flavours if flavour not in have]
    if not missing:
        return root
    graphs = {flavour: folder / "graphs" / flavour for flavour in missing}
    unbuilt = {
        flavour: path for flavour, path in graphs.items() if not path.is_dir() or not _is_current(folder, flavour)
    }
    if unbuilt:
        export_folders(checkpoint, unbuilt, folder / "export.log", progress=progress)
        for flavour in unbuilt:
            write_text(_key_file(folder, flavour), exporter_digest())
    progress(Tick("compare", 0, 1, "flavours with the checkpoint"))
    made = {**have, **_measured_formats(checkpoint, graphs)}
    progress(Tick("compare", 1, 1, "done"))
    _write(shape, checkpoint, made, folder, root)
    return root


def _key_file(folder: Path, flavour: str) -> Path:
    return folder / "graphs" / f"{flavour}.key"


def _is_current(folder: Path, flavour: str) -> bool:
    """Whether the graph was written by what would write it now."""
    path = _key_file(folder, flavour)
    return path.is_file() and path.read_text(encoding="utf-8") == exporter_digest()


def _formats(root: Path) -> dict[str, Format]:
    try:
        return {found.flavour: found for found in read_manifest(root).formats}
    except ReleaseError:
        return {}


def _measured_formats(checkpoint: Path, graphs: dict[str, Path]) -> dict[str, Format]:
    from weir_training.checkpoint import Checkpoint

    model = Checkpoint(checkpoint, threads=_THREADS)
    rows = [_row(model, prompt) for prompt in _prompts(checkpoint)]
    room = _PROMPT_TOKENS + _ANSWER_TOKENS + 1
    made = {}
    for flavour, graph in graphs.items():
        source = graph.parent / TWIN if is_paged(flavour) else graph  # the same weights, and a graph that opens here
        opened = open_graph(source, rows=ROWS_AT_ONCE, context_tokens=room, threads=_THREADS)
        tally = compare(model, {flavour: opened}, rows, lambda _: None)[flavour].stepped
        made[flavour] = _format(flavour, tally, folder_bytes(graph), len(rows[:1]))
        del opened
    return made


def _prompts(checkpoint: Path) -> list[Prompt]:
    maker = WordPrompts(tokenizer_of(checkpoint))
    return [maker.make(seed, _PROMPT_TOKENS) for seed in range(_ROWS)]


def _row(model: "Checkpoint", prompt: Prompt) -> TaskRow:
    return TaskRow(prompt.text, prompt.ids, tuple(model.greedy(prompt.ids, _ANSWER_TOKENS)))


def _format(flavour: str, tally: Tally, size_bytes: int, golden: int) -> Format:
    measured = gate.Measured(
        max_abs=tally.max_abs,
        argmax_agreement=tally.agreed / tally.positions,
        mean_kl=tally.kl_sum / tally.positions,
        nll=tally.nll_sum / tally.answer_tokens,
        nll_reference=tally.nll_reference_sum / tally.answer_tokens,
        greedy_equal=tally.exact == tally.rows,
        exact_match=tally.exact / tally.rows,
        exact_match_reference=tally.exact_reference / tally.rows,
        bytes=size_bytes,
    )
    parity = _ungated(gate.parity(flavour, measured, ExportPart()))
    # No golden answers: between near-equal random logits they would only test the machine's rounding.
    nothing: tuple[tuple[int, ...], ...] = ((),) * golden
    return Format(flavour=flavour, graph=f"onnx/{flavour}/{GRAPH}", parity=parity, golden_greedy_ids=nothing)


def _ungated(parity: Parity) -> Parity:
    return parity.model_copy(update={"passed": True, "reasons": (NOT_GATED, *parity.reasons)})


def _write(shape: str, checkpoint: Path, formats: dict[str, Format], folder: Path, root: Path) -> None:
    with new_folder(root) as made:
        (made / "model").mkdir()
        for name in _CONTEXT_FILES:
            if (checkpoint / name).is_file():
                shutil.copyfile(checkpoint / name, made / "model" / name)
        for flavour in formats:
            _link_tree(folder / "graphs" / flavour, made / "onnx" / flavour)
        manifest = _manifest(shape, checkpoint, formats, made)
        write_text(made / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        write_text(made / COMPLETE, sha256_file(made / MANIFEST) + "\n")


def _link_tree(source: Path, target: Path) -> None:
    """Hard links: the graphs are gigabytes, and both folders are the benchmark's own."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.is_file():
            os.link(path, target / path.name)


def _manifest(shape: str, checkpoint: Path, formats: dict[str, Format], made: Path) -> ReleaseManifest:
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    golden = _prompts(checkpoint)[0]
    files = sorted(path for path in made.rglob("*") if path.is_file())
    return ReleaseManifest(
        model=shape,
        version=1,
        created=datetime.now(UTC).replace(microsecond=0),
        files=tuple(
            FileEntry(path=p.relative_to(made).as_posix(), sha256=sha256_file(p), bytes=p.stat().st_size) for p in files
        ),
        lineage=Lineage(
            base=f"random-weights:{shape}",
            base_sha256=sha256_tree(checkpoint),
            recipe_sha256=sha256_text(NOT_GATED),
            data_sha256={},
            run="bench",
            seed=0,
            code_version=__version__,
            libraries={name: installed(name) for name in ("onnxruntime", "onnxruntime-genai", "transformers")},
        ),
        prompt_mode="raw",
        context_tokens=config["max_position_embeddings"],
        vocab_size=config["vocab_size"],
        eos_ids=(config["eos_token_id"],),
        tokenizer_sha256=sha256_file(checkpoint / "tokenizer.json"),
        chat_template_sha256=None,
        golden=(GoldenPrompt(prompt=golden.text, prompt_ids=golden.ids, greedy_ids=()),),
        formats=tuple(formats.values()),
        serve_flavour=next(iter(formats)),
        gate_passed=False,
    )
