"""`weir export --quantize fp8|int4_awq`: the checkpoint in NVIDIA ModelOpt's form, for TensorRT-LLM and vLLM."""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from weir.contracts.errors import JobError
from weir.contracts.manifest import Parity
from weir.release.hashing import sha256_text, sha256_tree
from weir_training import gate
from weir_training.atomic import new_folder
from weir_training.data import read_data
from weir_training.encode import load_tokenizer
from weir_training.export_source import source_of
from weir_training.golden import task_rows
from weir_training.progress import Progress, Tick, silent
from weir_training.recipe import Recipe
from weir_training.resolve import eos_ids, read_config
from weir_training.rundir import RunDirectory

_PACKAGE: Final = "nvidia-modelopt"


class Kind(StrEnum):
    """ModelOpt's names."""

    FP8 = "fp8"
    INT4_AWQ = "int4_awq"


def quantise_checkpoint(recipe: Recipe, run: RunDirectory, kind: Kind, progress: Progress = silent) -> dict[str, Any]:
    """Write `<run>/quantised/<kind>`: calibrated and measured on the recipe's data; return what was measured.

    Runs on a GPU where there is one; on the CPU it is the same tool, slower.

    Raises:
        JobError: ModelOpt is not installed, or it failed (the end of its log is in the message).
    """
    if importlib.util.find_spec("modelopt") is None:
        raise JobError(
            f"--quantize {kind} needs {_PACKAGE}, which is not installed here: pip install 'weir[quantize]'; "
            "a GPU is not needed, but a large model wants one"
        )
    source = source_of(recipe, run)
    ends = sorted(eos_ids(source, load_tokenizer(source)))
    context = int(read_config(source)["max_position_embeddings"])
    rows = task_rows(read_data(recipe.data).train, source, eos_ids=ends, context_tokens=context)
    target = folder_of(run, kind)
    stage = f"quantize-{kind}"
    key = _key(recipe, source, kind, [list(row.ids) for row in rows])
    if run.is_done(stage, key):
        return run.metrics(stage) or {}
    began = time.perf_counter()
    progress(Tick(stage, 0, 1, "calibrating"))
    with new_folder(target) as folder:
        plan = {
            "checkpoint": str(source.resolve()),
            "kind": kind.value,
            "folder": str(folder),
            "threads": recipe.optim.threads,
            "rows": [{"prompt_ids": row.prompt_ids, "answer_ids": row.answer_ids} for row in rows],
        }
        measured = _run(plan, run.root / f"{stage}.log")
    found = gate.Measured(**measured["figures"], bytes=_bytes(target))
    parity = gate.parity(f"modelopt-{kind}", found, recipe.export)
    metrics = {"source_sha256": sha256_tree(source), "parity": parity.model_dump(mode="json")}
    run.record(stage, key, outputs=[target], seconds=time.perf_counter() - began, metrics=metrics)
    progress(Tick(stage, 1, 1, "done"))
    return metrics


def folder_of(run: RunDirectory, kind: Kind) -> Path:
    return run.root / "quantised" / kind.value


def quantised(recipe: Recipe, run: RunDirectory) -> dict[Kind, Parity]:
    """Return what was quantised of this very checkpoint and is still what it was, passed or not."""
    found: dict[Kind, Parity] = {}
    for kind in Kind:
        stage = f"quantize-{kind}"
        record = run.manifest()["stages"].get(stage)
        if record is None or not run.is_done(stage, record["key"]):
            continue
        if record["metrics"]["source_sha256"] == sha256_tree(source_of(recipe, run)):
            found[kind] = Parity.model_validate(record["metrics"]["parity"])
    return found


def in_a_line(metrics: dict[str, Any]) -> str:
    p = Parity.model_validate(metrics["parity"])
    verdict = "passed" if p.passed else f"FAILED: {'; '.join(p.reasons)}"
    return f"{p.bytes / 1e6:.2f} MB  argmax {p.argmax_agreement:.4f}  KL {p.mean_kl:.2g}  on {p.device}  {verdict}"


def _key(recipe: Recipe, source: Path, kind: Kind, rows: Sequence[Sequence[int]]) -> str:
    version = importlib.metadata.version(_PACKAGE)
    bounds = [recipe.export.fp8.model_dump(), recipe.export.int4.model_dump()]
    return sha256_text(json.dumps([kind, version, sha256_tree(source), rows, bounds]))


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _run(plan: dict[str, Any], log: Path) -> dict[str, Any]:
    """ModelOpt changes transformers' classes: it runs in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # noqa: TID251
    command = [sys.executable, "-m", "weir_training.quantiser"]
    with log.open("w", encoding="utf-8") as errors:
        done = subprocess.run(
            command,
            input=json.dumps(plan),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            check=False,
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])
        raise JobError(f"ModelOpt failed (exit code {done.returncode}; all of it in {log}):\n{tail}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
