"""`weir export`: a merged checkpoint becomes one ONNX graph per flavour."""

import importlib.metadata
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from weir.contracts.errors import JobError
from weir.contracts.manifest import is_cuda, is_packed, is_paged
from weir.engine.kernels.library import operators
from weir.release.hashing import sha256_file, sha256_text, sha256_tree
from weir_training.atomic import new_folder
from weir_training.domain import Domain, domain_key, domain_of
from weir_training.export_source import made_source
from weir_training.graph_builder import PACKED4, PACKED8, W8A8
from weir_training.leftovers import remove_leftovers
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
from weir_training.progress import Progress, Tick, bar, silent
from weir_training.quantise import Kind, folder_of, in_a_line, quantise_checkpoint
from weir_training.recipe import ExportPart, Recipe
from weir_training.rundir import RunDirectory, open_run

app = typer.Typer(add_completion=False)

STAGE: Final = "export"
_log = logging.getLogger("weir.export")
_LOG = "export.log"
_TAIL_LINES = 12
_OWN_PASSES = (
    "packed_graph.py",
    "packing.py",
    "sampling_head.py",
    "w8a8.py",
)  # a graph of yesterday's code is built again
_PRECISION = {
    "cpu-fp32": "fp32",
    "cpu-w8a8": W8A8,
    "cpu-int8": "int8",
    "cpu-int4": "int4",
    "cpu-packed8": PACKED8,
    "cpu-packed4": PACKED4,
    "cuda-fp16": "fp16",
    "cuda-int4": "int4",
    "cuda-int4-paged": "int4",
}
# Per flavour beyond the common ones. int4 plain: mean KL 0.042 on the tuned built-in base. With the output layer
# (and the embedding tied to it) in 8 bits: 0.013, for 0.13 MB. k_quant_last: 0.009, but 0.3 s per million weights.
_EXTRA: dict[str, tuple[str, ...]] = {
    "cpu-int4": ("algo_config=rtn_last",),
    "cuda-int4": ("algo_config=rtn_last",),
    "cuda-int4-paged": ("algo_config=rtn_last", "use_paged_attention=true"),
}
# How exactly products of blockwise weights are computed: with activations in 8 bits, for speed on a CPU; on a GPU, as
# wide as they come.
_ACCURACY = {"cpu-int8": 4, "cpu-int4": 4, "cuda-int4": 0, "cuda-int4-paged": 0}


def export_flavours(recipe: Recipe, checkpoint: Path, run: RunDirectory, progress: Progress = silent) -> dict[str, Any]:
    """Build every flavour of the recipe into `run.onnx(flavour)`; return bytes and seconds by flavour.

    Flavours with a cut vocabulary also say how many tokens they keep, and why (see `weir_training.vocabulary`).

    Nothing is built when the same checkpoint was exported with the same settings before. A flavour's folder is
    either whole or not there.

    Args:
        recipe: its `export` part is read, and its data as far as flavours depend on it (see `weir_training.domain`).
        checkpoint: a folder with config, safetensors and tokenizer, float32.
        run: where the flavours go.
        progress: told after each flavour.

    Raises:
        JobError: no checkpoint there, a tokenizer whose vocabulary must not be cut, or the builder failed (the end of
            its log is in the message).
    """
    if not (checkpoint / "config.json").is_file():
        raise JobError(f"{checkpoint}: no merged checkpoint here; run `weir merge` first")
    key = _key(recipe, checkpoint)
    if run.is_done(STAGE, key):
        return _metrics(run)
    began = time.perf_counter()
    folders = {name: run.onnx(name) for name in buildable(recipe.export.all_flavours, checkpoint)}
    _clear(recipe.export, run, folders)
    domain = domain_of(recipe, checkpoint) if any(map(is_packed, folders)) else Domain()
    seconds = export_folders(
        checkpoint, folders, run.root / _LOG, export=recipe.export, domain=domain, progress=progress
    )
    metrics: dict[str, Any] = {
        name: {"bytes": folder_bytes(run.onnx(name)), "seconds": seconds[name], **domain.counted(name)}
        for name in seconds
    }
    outputs = [run.onnx(name) for name in seconds]
    run.record(STAGE, key, outputs=outputs, seconds=time.perf_counter() - began, metrics=metrics)
    return metrics


def exported(export: ExportPart, run: RunDirectory) -> tuple[str, ...]:
    """Return the recipe's flavours, less packed ones that this machine or model cannot have (see `buildable`)."""
    return tuple(name for name in export.all_flavours if not is_packed(name) or run.onnx(name).is_dir())


def buildable(flavours: Iterable[str], checkpoint: Path) -> tuple[str, ...]:
    """Leave out packed flavours where they cannot be proven: no built operators here, or a model they do not cover."""
    wanted = tuple(flavours)
    if not any(map(is_packed, wanted)):
        return wanted
    from weir_training.packed_graph import unsupported

    fault = "no built operators on this machine" if operators() is None else unsupported(checkpoint)
    if fault is None:
        return wanted
    _log.warning("no packed flavours: %s", fault)
    return tuple(name for name in wanted if not is_packed(name))


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _metrics(run: RunDirectory) -> dict[str, Any]:
    return run.metrics(STAGE) or {}


def exporter_digest() -> str:
    """Change with whatever writes graphs: the builder's version and our own passes."""
    passes = [sha256_file(Path(__file__).parent / name) for name in _OWN_PASSES]
    return sha256_text(json.dumps([importlib.metadata.version("onnxruntime-genai"), passes]))


def _key(recipe: Recipe, checkpoint: Path) -> str:
    export = recipe.export
    jobs = [_options(export, flavour) for flavour in export.all_flavours]
    built = operators() is not None
    parts: list[Any] = [sha256_tree(checkpoint), exporter_digest(), export.all_flavours, jobs, built]
    return sha256_text(json.dumps([*parts, *domain_key(recipe)]))


def _options(export: ExportPart, flavour: str) -> list[str]:
    """What the builder is told. Its default accuracy level differs by provider, so it is always named.

    Embedding and output layer are shared whenever the checkpoint ties them: that is the builder's default, and
    it refuses the option for one that does not.
    """
    if is_packed(flavour):
        return [str(export.block_size)]
    common = [] if is_paged(flavour) else ["prune_lm_head=true"]
    if flavour in _ACCURACY:
        common += [f"block_size={export.block_size}", f"accuracy_level={_ACCURACY[flavour]}"]
    return [*common, *_EXTRA.get(flavour, ())]


def _clear(export: ExportPart, run: RunDirectory, folders: Mapping[str, Path]) -> None:
    remove_leftovers(run.root / "onnx")
    for name in set(export.all_flavours) - set(folders):
        shutil.rmtree(run.onnx(name), ignore_errors=True)  # from when there were operators


def export_folders(
    checkpoint: Path,
    folders: Mapping[str, Path],
    log: Path,
    *,
    export: ExportPart | None = None,
    domain: Domain | None = None,
    progress: Progress = silent,
) -> dict[str, float]:
    """Build one graph per flavour into its folder, all or none; return seconds by flavour.

    Packed flavours are made for `domain`; None: all tokens, weights rounded by themselves.

    Raises:
        JobError: the builder failed; the message holds the end of its `log`.
    """
    part = export or ExportPart()
    progress(Tick(STAGE, 0, len(folders)))
    try:
        with ExitStack() as stack:
            made = {name: stack.enter_context(new_folder(path)) for name, path in folders.items()}
            jobs = [
                {
                    "flavour": name,
                    "precision": _PRECISION[name],
                    "provider": "cuda" if is_cuda(name) else "cpu",
                    "options": _options(part, name),
                    "folder": str(path),
                }
                for name, path in made.items()
            ]
            plan = {
                "checkpoint": str(checkpoint.resolve()),
                "jobs": jobs,
                **(domain or Domain()).as_plan(),
            }
            return _run_builder(plan, log, progress)
    except OSError as error:
        raise JobError(f"export stopped: {error.strerror or error} ({error.filename or log.parent})") from error


def _run_builder(plan: dict[str, Any], log: Path, progress: Progress) -> dict[str, float]:
    """Run the child to its end, with its chatter in `log`; return seconds by flavour."""
    seconds: dict[str, float] = {}
    command = [sys.executable, "-m", "weir_training.graph_builder"]
    # Without this the builder asks the hub about a local folder, and retries for a quarter of a minute.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # noqa: TID251
    with (
        log.open("w", encoding="utf-8") as errors,
        _as_file(plan) as asked,
        subprocess.Popen(
            command, stdin=asked, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as child,
    ):
        try:
            for line in child.stdout or ():
                done = json.loads(line)
                seconds[done["flavour"]] = done["seconds"]
                progress(Tick(STAGE, len(seconds), len(plan["jobs"]), done["flavour"]))
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        raise JobError(f"the model builder failed (exit code {child.returncode}; all of it in {log}):\n{_tail(log)}")
    return seconds


@contextmanager
def _as_file(plan: dict[str, Any]) -> Iterator[IO[str]]:
    """A command line has no room for a vocabulary."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        json.dump(plan, file)
        file.seek(0)
        yield file


def _tail(log: Path) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(deque(file, maxlen=_TAIL_LINES)).strip()


@app.command(name="export")
def command(  # noqa: PLR0913 — a command line's options are its arguments
    recipe: RecipeName,
    data: DataFiles = None,
    heldout: HeldoutFile = None,
    base: Base = None,
    sets: Sets = None,
    quantize: Annotated[
        list[Kind] | None,
        typer.Option("--quantize", help="Also a ModelOpt checkpoint for TensorRT-LLM and vLLM; may be repeated."),
    ] = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Turn the merged checkpoint into ONNX graphs: fp32, int8 and int4 for CPU; with `export.gpu` for GPUs too."""
    loaded = read_recipe(recipe, data, heldout, base, sets)
    run = open_run(home, loaded)
    with bar() as progress:
        metrics = export_flavours(loaded, made_source(loaded, run), run, progress)
        checkpoints = {kind: quantise_checkpoint(loaded, run, kind, progress) for kind in quantize or ()}
    if as_json:
        typer.echo(json.dumps({"run": str(run.root), "flavours": metrics, "quantised": checkpoints}))
        return
    for name, found in metrics.items():
        typer.echo(f"{name}  {found['bytes'] / 1e6:.2f} MB  {found['seconds']:.1f} s  {run.onnx(name)}")
    for kind, made in checkpoints.items():
        typer.echo(f"{kind}  {folder_of(run, kind)}  {in_a_line(made)}")
    if cut := next((found for found in metrics.values() if "kept_tokens" in found), None):
        reasons = ", ".join(f"{count:,} for {reason}" for reason, count in cut["kept_for"].items())
        typer.echo(f"output rows of packed flavours: {cut['kept_tokens']:,} of {cut['of_tokens']:,} tokens ({reasons})")
