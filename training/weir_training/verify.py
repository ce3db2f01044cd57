"""`weir verify`: proves, number by number, that every flavour answers as the checkpoint does."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from weir.contracts.errors import CheckFailedError, JobError
from weir.contracts.manifest import GoldenPrompt, Parity, is_cuda, is_paged
from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir_training import gate
from weir_training.atomic import write_json
from weir_training.checkpoint import sensible_threads
from weir_training.cut_cost import CutCost, cut_cost
from weir_training.data import Row, read_data
from weir_training.export import exported, folder_bytes
from weir_training.export_source import source_of
from weir_training.golden import (
    FURTHER_PROMPTS,
    bounded,
    golden_prompts,
    pick_prompts,
    rendered_rows,
    task_rows,
    until_end,
)
from weir_training.graph_models import PAGED, TWIN, WEIGHTS, device_of, open_graph, output_tokens
from weir_training.options import (
    DEFAULT_HOME,
    AsJson,
    Base,
    DataFiles,
    HeldoutFile,
    Home,
    RecipeName,
    Sets,
    read_recipe,
)
from weir_training.parity import ROWS_AT_ONCE, FlavourTally, Tally, TaskRow, compare
from weir_training.parity_report import REPORT, FlavourReport, ParityReport, PathFigures, read_report
from weir_training.progress import Progress, Tick, bar, silent
from weir_training.quiet import calm_threads
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory, open_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from weir.engine.step import Model
    from weir_training.checkpoint import Checkpoint

app = typer.Typer(add_completion=False)

STAGE: Final = "verify"
_METHOD = 4  # raise it when what is measured changes: old reports are then not taken for new ones


def verify(
    recipe: Recipe, run: RunDirectory, rows: Sequence[Row] | None = None, progress: Progress = silent
) -> dict[str, Parity]:
    """Measure every exported flavour against the merged checkpoint; write `parity.json`; return its verdicts.

    A quantised flavour that fails is only reported: it will not be published.

    Args:
        recipe: its `export` part says which flavours, which bounds and how many golden prompts.
        run: must hold the merged checkpoint and every flavour.
        rows: what to measure on; the recipe's training data when None.
        progress: told after each batch of rows.

    Raises:
        JobError: something was not exported.
        CheckFailedError: the fp32 graph is not the checkpoint; nothing else can be trusted then.
    """
    return {name: found.parity for name, found in verified(recipe, run, rows, progress).flavours.items()}


def verified(
    recipe: Recipe, run: RunDirectory, rows: Sequence[Row] | None = None, progress: Progress = silent
) -> ParityReport:
    """As `verify`, and return the whole report."""
    data = read_data(recipe.data).train if rows is None else tuple(rows)
    unseen = () if recipe.export.vocabulary.keep == "whole" else read_data(recipe.data).heldout
    key = _key(recipe, run, [*data, *unseen])
    if run.is_done(STAGE, key):
        return read_report(run)
    began = time.perf_counter()
    report = _measure(recipe, run, data, unseen, progress)
    write_json(run.root / REPORT, report.model_dump(mode="json"))
    _refuse_reference(report)
    metrics = {name: found.parity.model_dump(mode="json") for name, found in report.flavours.items()}
    run.record(STAGE, key, outputs=[run.root / REPORT], seconds=time.perf_counter() - began, metrics=metrics)
    return report


def _key(recipe: Recipe, run: RunDirectory, rows: Sequence[Row]) -> str:
    """Hash of the very files that are measured, not of what export once recorded."""
    folders = [source_of(recipe, run), *(run.onnx(name) for name in exported(recipe.export, run))]
    missing = [folder for folder in folders if not folder.is_dir()]
    if missing:
        verb = "merge" if missing[0] == run.merged else "export"
        raise JobError(f"{missing[0]}: missing; run `weir {verb}` first")
    text = [[message.content for message in row.turns] for row in rows]
    parts = [_METHOD, recipe.digest("export"), [sha256_tree(folder) for folder in folders], text]
    return sha256_text(json.dumps(parts))


def _measure(
    recipe: Recipe, run: RunDirectory, data: Sequence[Row], unseen: Sequence[Row], progress: Progress
) -> ParityReport:
    from weir_training.checkpoint import Checkpoint

    calm_threads()
    progress(Tick(STAGE, 0, 1, "loading the checkpoint"))
    source = source_of(recipe, run)
    checkpoint = Checkpoint(source, threads=sensible_threads(source, recipe.optim.threads))
    sample = task_rows(data, source, eos_ids=checkpoint.eos_ids, context_tokens=checkpoint.context_tokens)
    models = _models(recipe, run, sample)
    tallies = compare(checkpoint, models, sample, lambda done: progress(Tick(STAGE, done, len(sample), "rows")))
    golden = _golden(recipe, checkpoint, sample)
    cut = _Cutting(checkpoint, sample, rendered_rows(unseen, source, eos_ids=checkpoint.eos_ids))
    flavours = {
        name: _flavour_report(recipe, run, name, _Found(tallies[name], model, cut, checkpoint.eos_ids), golden)
        for name, model in models.items()
    }
    _add_paged(run, flavours)
    return ParityReport(
        checkpoint_sha256=sha256_tree(source),
        rows=len(sample),
        answer_tokens=sum(len(row.answer_ids) for row in sample),
        further_prompts=max(0, len(golden) - recipe.export.golden_prompts),
        context_tokens=checkpoint.context_tokens,
        vocab_size=checkpoint.vocab_size,
        eos_ids=checkpoint.eos_ids,
        golden=tuple(golden[: recipe.export.golden_prompts]),
        flavours=flavours,
    )


def _models(recipe: Recipe, run: RunDirectory, sample: Sequence[TaskRow]) -> "dict[str, Model]":
    room = max(len(row.prompt_ids) + max(len(row.answer_ids), recipe.export.greedy_tokens) for row in sample)
    return {
        name: open_graph(
            run.onnx(name),
            rows=ROWS_AT_ONCE,
            context_tokens=room,
            threads=sensible_threads(run.merged, recipe.optim.threads),
        )
        for name in exported(recipe.export, run)
        if not is_paged(name)
    }


def _add_paged(run: RunDirectory, flavours: dict[str, FlavourReport]) -> None:
    """Give a paged flavour the figures of its twin, whose weights it must hold to the last byte.

    No kernel of the CPU runs PagedAttention, and onnxruntime-genai's engine, which runs it on a GPU, gives no logits.
    """
    folder, twin = run.onnx(PAGED), run.onnx(TWIN)
    if not folder.is_dir() or TWIN not in flavours:
        return
    found = flavours[TWIN]
    size = folder_bytes(folder)
    changes: dict[str, Any] = {"bytes": size, "measured_as": TWIN, "greedy_equal": found.parity.greedy_equal}
    if sha256_file(folder / WEIGHTS) != sha256_file(twin / WEIGHTS):
        changes |= {"passed": False, "reasons": (f"its weights are not those of {TWIN}",)}
    parity = found.parity.model_copy(update=changes)
    flavours[PAGED] = found.model_copy(update={"parity": parity, "sha256": sha256_tree(folder)})


def _golden(recipe: Recipe, checkpoint: "Checkpoint", sample: Sequence[TaskRow]) -> list[GoldenPrompt]:
    """The golden prompts, then the further ones that only greedy equality is tried on."""
    rows = pick_prompts(sample, recipe.export.golden_prompts + FURTHER_PROMPTS)
    return golden_prompts(checkpoint, rows, recipe.export.greedy_tokens)


def _answers(model: "Model", golden: Sequence[GoldenPrompt], eos_ids: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """What the graph says to each prompt, read in chunks as the engine reads it; no longer than the checkpoint."""
    from weir.engine.runner import greedy_ids
    from weir.engine.settings import EngineSettings

    chunk = EngineSettings().fixed_chunk_tokens
    return tuple(
        until_end(greedy_ids(model, list(g.prompt_ids), len(g.greedy_ids), chunk_tokens=chunk), eos_ids) for g in golden
    )


class _Cutting:
    """What it costs that a flavour says some tokens only; the same for all that say the same ones."""

    def __init__(self, checkpoint: "Checkpoint", rows: Sequence[TaskRow], heldout: Sequence[TaskRow]) -> None:
        self._checkpoint = checkpoint
        self._groups = rows, [row for row in heldout if len(row.ids) <= checkpoint.context_tokens]
        self._known: dict[bytes, CutCost] = {}

    def cost(self, kept: "NDArray[np.int32]") -> CutCost:
        """The worse of trained and held-out answers."""
        key = kept.tobytes()
        if key not in self._known:
            costs = [cut_cost(self._checkpoint, bounded(rows), kept) for rows in self._groups]
            self._known[key] = max(costs, key=lambda cost: cost.nats)
        return self._known[key]

    def heldout_cut(self, kept: "NDArray[np.int32]") -> int:
        """How many tokens of held-out answers cannot be said."""
        sayable = set(kept.tolist())
        return sum(token not in sayable for row in self._groups[1] for token in row.answer_ids)


@dataclass(frozen=True, slots=True)
class _Found:
    """A flavour and how it did."""

    tally: FlavourTally
    model: "Model"
    cutting: _Cutting
    eos_ids: Sequence[int]


def _flavour_report(
    recipe: Recipe, run: RunDirectory, name: str, found: _Found, golden: Sequence[GoldenPrompt]
) -> FlavourReport:
    folder = run.onnx(name)
    said = _answers(found.model, golden, found.eos_ids)
    is_equal = all(one == other.greedy_ids for one, other in zip(said, golden, strict=True))
    measured = _measured(found, greedy_equal=is_equal, size_bytes=folder_bytes(folder))
    return FlavourReport(
        parity=gate.parity(name, measured, recipe.export),
        through_past=_figures(found.tally.stepped),
        at_once=_figures(found.tally.at_once),
        golden_greedy_ids=tuple(said[: recipe.export.golden_prompts]),
        sha256=sha256_tree(folder),
    )


def _measured(found: _Found, *, greedy_equal: bool, size_bytes: int) -> gate.Measured:
    stepped, at_once = found.tally.stepped, found.tally.at_once
    positions = stepped.positions + at_once.positions
    kept = output_tokens(found.model)
    cost = CutCost() if kept is None else found.cutting.cost(kept)
    return gate.Measured(
        max_abs=max(stepped.max_abs, at_once.max_abs),
        argmax_agreement=(stepped.agreed + at_once.agreed) / positions,
        mean_kl=(stepped.kl_sum + at_once.kl_sum) / positions + cost.nats,
        nll=stepped.nll_sum / stepped.answer_tokens,
        nll_reference=stepped.nll_reference_sum / stepped.answer_tokens,
        greedy_equal=greedy_equal,
        exact_match=stepped.exact / stepped.rows,
        exact_match_reference=stepped.exact_reference / stepped.rows,
        bytes=size_bytes,
        lost_mass=cost.mass,
        kept_tokens=None if kept is None else len(kept),
        heldout_cut=None if kept is None else found.cutting.heldout_cut(kept),
        device=device_of(found.model),
    )


def _figures(tally: Tally) -> PathFigures:
    return PathFigures(
        positions=tally.positions,
        max_abs=gate.finite(tally.max_abs),
        argmax_agreement=tally.agreed / tally.positions,
        mean_kl=gate.finite(tally.kl_sum / tally.positions),
    )


def _refuse_reference(report: ParityReport) -> None:
    found = report.flavours[gate.REFERENCE].parity
    if not found.passed:
        raise CheckFailedError(f"{gate.REFERENCE} is not the checkpoint: {'; '.join(found.reasons)}")


@app.command(name="verify")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Compare every exported flavour with the checkpoint; exit code 3 when the fp32 graph is not the same model."""
    loaded = read_recipe(recipe, data, heldout, base, sets)
    run = open_run(home, loaded)
    with bar() as progress:
        report = verified(loaded, run, progress=progress)
    if as_json:
        typer.echo(report.model_dump_json())
        return
    typer.echo(in_words(report))


def in_words(report: ParityReport) -> str:
    """One line per flavour: numbers, then the verdict."""
    lines = [f"{report.rows} rows, {report.answer_tokens} answer tokens, against the fp32 checkpoint"]
    for name, found in report.flavours.items():
        p = found.parity
        verdict = "passed" if p.passed else f"FAILED: {'; '.join(p.reasons)}"
        lines.append(
            f"{name:<15} {p.bytes / 1e6:8.2f} MB  max abs {p.max_abs:<8.2g} argmax {p.argmax_agreement:.4f}  "
            f"KL {p.mean_kl:<8.2g} NLL {p.nll:.4f} ({p.nll_reference:.4f})  exact {p.exact_match:.3f} "
            f"({p.exact_match_reference:.3f})  {_where(name, p)}{verdict}"
        )
        if p.kept_tokens is not None:
            lines.append(
                f"{'':<15} says {p.kept_tokens:,} of {report.vocab_size:,} tokens; in answers the others had "
                f"{p.lost_mass:.1e} of the probability, and are {p.heldout_cut} tokens of held-out ones"
            )
    return "\n".join(lines)


def _where(flavour: str, parity: Parity) -> str:
    if parity.measured_as is not None:
        return f"as {parity.measured_as}, same weights  "
    return f"on {parity.device}  " if is_cuda(flavour) else ""
