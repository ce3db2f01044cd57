"""Proves that a packed graph with an adapter beside it answers as the checkpoint with that adapter does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from weir.contracts.errors import CheckFailedError, JobError, UsageError
from weir.contracts.manifest import AdapterEntry, is_packed
from weir_training import gate
from weir_training.export_source import source_of
from weir_training.parity import ROWS_AT_ONCE, Tally
from weir_training.parity_report import ParityReport
from weir_training.recipe import Recipe
from weir_training.rundir import RunDirectory

if TYPE_CHECKING:
    from weir.engine.adapters import Adapter
    from weir_training.parity import Logits

FILES: Final = ("adapter_config.json", "adapter_model.safetensors")


def parse_adapters(texts: Sequence[str]) -> dict[str, Path]:
    """Read `NAME=FOLDER` options.

    Raises:
        UsageError: not of this form, a name twice, or no adapter in the folder.
    """
    found: dict[str, Path] = {}
    for text in texts:
        name, separator, folder = text.partition("=")
        path = Path(folder).expanduser()
        if not separator or not name or name in found:
            raise UsageError(f"--adapter {text}: expected NAME=FOLDER, each name once")
        if missing := [file for file in FILES if not (path / file).is_file()]:
            raise UsageError(f"--adapter {text}: no {missing[0]} in {folder}")
        found[name] = path
    return found


def prove_adapters(
    recipe: Recipe, run: RunDirectory, report: ParityReport, adapters: Mapping[str, Path]
) -> tuple[AdapterEntry, ...]:
    """Measure every adapter on every packed flavour that passed, on the golden prompts and their answers.

    Raises:
        JobError: no packed flavour passed, so nothing could serve an adapter.
        CheckFailedError: a flavour with an adapter is further from the checkpoint than its gate allows.
        ReleaseError: not an adapter of this model, or of a kind that is not served.
    """
    flavours = [name for name, found in report.flavours.items() if is_packed(name) and found.parity.passed]
    if adapters and not flavours:
        raise JobError("adapters are served by packed flavours, and none of this run passed")
    texts = [golden.prompt_ids + golden.greedy_ids for golden in report.golden]
    graphs = {name: run.onnx(name) for name in flavours}
    entries = []
    for name, folder in adapters.items():
        references = _reference(source_of(recipe, run), folder, texts)
        entries.append(_prove(recipe, name, folder, graphs, (texts, references)))
    return tuple(entries)


def _prove(
    recipe: Recipe,
    name: str,
    folder: Path,
    graphs: Mapping[str, Path],
    wanted: "tuple[Sequence[tuple[int, ...]], Sequence[Logits]]",
) -> AdapterEntry:
    from weir.engine.adapters import read_adapter

    adapter = read_adapter(folder)
    worst = AdapterEntry(name=name, rank=adapter.rank, mean_kl=0.0, argmax_agreement=1.0)
    for flavour, graph in graphs.items():
        tally = _measured(graph, adapter, *wanted)
        kl, agreed = tally.kl_sum / tally.positions, tally.agreed / tally.positions
        limit = gate.bounds(flavour, recipe.export)
        if not kl <= limit.kl or agreed < limit.argmax:
            raise CheckFailedError(f"adapter {name} on {flavour}: mean KL {kl:.4f}, argmax agreement {agreed:.4f}")
        worst = worst.model_copy(
            update={"mean_kl": max(kl, worst.mean_kl), "argmax_agreement": min(agreed, worst.argmax_agreement)}
        )
    return worst


def _reference(merged: Path, folder: Path, texts: Sequence[tuple[int, ...]]) -> "list[Logits]":
    from weir_training.checkpoint import Checkpoint

    return Checkpoint(merged, threads=1, adapter=folder).logits(texts)


def _measured(
    graph: Path, adapter: "Adapter", texts: Sequence[tuple[int, ...]], references: "Sequence[Logits]"
) -> Tally:
    from weir.engine.step import Detail, Row
    from weir_training.graph_models import open_graph, output_tokens

    longest = max(map(len, texts))
    model = open_graph(graph, rows=ROWS_AT_ONCE, context_tokens=longest, threads=1, adapters=(adapter,))
    if output_tokens(model) is not None:
        raise JobError(
            f"adapter {adapter.name}: it may answer with tokens that were cut from this release's vocabulary; "
            "export with export.vocabulary.keep: whole"
        )
    blocks = range(-(-longest // model.block_tokens))
    tally = Tally()
    for ids, reference in zip(texts, references, strict=True):
        for at, token in enumerate(ids):
            [[position]] = model.run([Row(blocks, (token,), at, 1, Detail.FULL, adapter=0)])
            if position.full is not None:
                tally.add(reference[at : at + 1], position.full[None])
    return tally
