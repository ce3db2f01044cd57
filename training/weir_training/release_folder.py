"""Writes one release into a new folder: files, reports, card, manifest, and COMPLETE last."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from weir.contracts.manifest import AdapterEntry, Format, Parity, QuantisedEntry, ReleaseManifest
from weir.release.drafts import FILE as DRAFTS
from weir.release.drafts import write_drafts
from weir.release.hashing import sha256_file
from weir_training import gate
from weir_training.adapter_proof import FILES
from weir_training.atomic import write_json, write_text
from weir_training.draft_corpus import trained_drafts
from weir_training.evaluation import evaluation_of, reports_of
from weir_training.export_source import source_of
from weir_training.graph_builder import GRAPH_FILES
from weir_training.lineage import lineage_of
from weir_training.parity_report import REPORT, ParityReport
from weir_training.quantise import Kind, folder_of, quantised
from weir_training.recipe import Recipe
from weir_training.release_card import model_card
from weir_training.release_model import TEMPLATE, copy_checkpoint
from weir_training.rundir import RunDirectory
from weir_training.versions import finished

# What a CPU node loads unasked: the first of these that passed, by how close they stay to the checkpoint. Which one is
# fastest depends on shape and users (docs/benchmarks.md); nothing measured decides here (decision 5).
SERVE_ORDER: Final = ("cpu-packed8", "cpu-packed4", "cpu-int8", "cpu-w8a8", "cpu-int4", gate.REFERENCE)
CARD: Final = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a release.

    Attributes:
        flavours: those that passed.
        is_exception: no quantised one did.
        serve_flavour: what a node loads unasked; none: the first of `SERVE_ORDER` that passed.
    """

    recipe: Recipe
    run: RunDirectory
    report: ParityReport
    flavours: tuple[str, ...]
    is_exception: bool
    adapters: Mapping[str, Path] = field(default_factory=dict)
    proven: tuple[AdapterEntry, ...] = ()
    serve_flavour: str | None = None

    @property
    def quantised(self) -> dict[Kind, Parity]:
        """The checkpoints for GPU servers that were made of this very checkpoint and passed."""
        return {kind: found for kind, found in quantised(self.recipe, self.run).items() if found.passed}


def write_release(contents: Contents, folder: Path, version: int) -> ReleaseManifest:
    """Fill the empty `folder`; everything that the manifest names is on disk when it is written."""
    run = contents.run
    source = source_of(contents.recipe, run)
    copy_checkpoint(source, folder / "model")
    for name in contents.flavours:
        _copy_graph(run.onnx(name), folder / "onnx" / name)
    if contents.recipe.export.drafts:
        write_drafts(trained_drafts(contents.recipe, source, contents.report.eos_ids), folder / DRAFTS)
    for name, adapter in contents.adapters.items():
        (folder / "adapters" / name).mkdir(parents=True)
        for file in FILES:
            shutil.copyfile(adapter / file, folder / "adapters" / name / file)
    for kind in contents.quantised:
        copy_checkpoint(folder_of(run, kind), folder / "quantised" / kind.value)
    _write_reports(contents, folder / "reports")
    draft = _manifest(contents, folder, version)
    write_text(folder / "reports" / CARD, model_card(draft, with_answers=contents.recipe.export.drafts))
    return finished(draft, folder)


def same_content(one: ReleaseManifest, other: ReleaseManifest) -> bool:
    """Whether two releases serve the same from the same; dates, reports and code versions do not count."""
    return _content(one) == _content(other)


def _content(manifest: ReleaseManifest) -> tuple[Any, ...]:
    files = sorted((f.path, f.sha256) for f in manifest.files if not f.path.startswith("reports/"))
    made = manifest.lineage
    source = (made.base, made.base_sha256, made.recipe_sha256, made.data_sha256, made.seed)
    proof = (manifest.golden, manifest.gate_passed, manifest.evaluation)
    return (manifest.model, manifest.serve_flavour, files, source, proof)


def _copy_graph(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in GRAPH_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def _write_reports(contents: Contents, folder: Path) -> None:
    folder.mkdir()
    run = contents.run
    shutil.copyfile(run.root / REPORT, folder / REPORT)
    if (run.root / "report.html").is_file():
        shutil.copyfile(run.root / "report.html", folder / "report.html")
    if evaluations := reports_of(run):
        write_json(folder / "eval.json", evaluations)
    write_json(folder / "gate.json", _gate(contents))


def _gate(contents: Contents) -> dict[str, Any]:
    """The verdict, bound by hashes to what was measured."""
    report = contents.report
    return {
        "schema_version": 1,
        "passed": not contents.is_exception,
        "checkpoint_sha256": report.checkpoint_sha256,
        "bounds": contents.recipe.export.model_dump(mode="json"),
        "flavours": {
            name: {
                "passed": found.parity.passed,
                "reasons": list(found.parity.reasons),
                "published": name in contents.flavours,
                "sha256": found.sha256,
            }
            for name, found in report.flavours.items()
        },
    }


def _manifest(contents: Contents, folder: Path, version: int) -> ReleaseManifest:
    report, checkpoint = contents.report, folder / "model"
    template = checkpoint / TEMPLATE
    return ReleaseManifest(
        model=contents.recipe.name,
        version=version,
        created=datetime.now(UTC).replace(microsecond=0),
        files=(),
        lineage=lineage_of(contents.recipe, contents.run),
        prompt_mode="chat" if template.is_file() else "raw",
        context_tokens=report.context_tokens,
        vocab_size=report.vocab_size,
        eos_ids=report.eos_ids,
        tokenizer_sha256=sha256_file(checkpoint / "tokenizer.json"),
        chat_template_sha256=sha256_file(template) if template.is_file() else None,
        golden=report.golden,
        formats=tuple(_format(contents.report, name) for name in contents.flavours),
        serve_flavour=contents.serve_flavour or next(name for name in SERVE_ORDER if name in contents.flavours),
        gate_passed=not contents.is_exception,
        adapters=contents.proven,
        quantised=tuple(
            QuantisedEntry(format=kind.value, path=f"quantised/{kind}", parity=found)
            for kind, found in contents.quantised.items()
        ),
        evaluation=evaluation_of(contents.run),
    )


def _format(report: ParityReport, name: str) -> Format:
    found = report.flavours[name]
    graph = f"onnx/{name}/{GRAPH_FILES[0]}"
    return Format(flavour=name, graph=graph, parity=found.parity, golden_greedy_ids=found.golden_greedy_ids)
