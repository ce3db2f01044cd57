"""Engines that batch statically: onnxruntime-genai's Generator, and transformers' generate."""

from pathlib import Path
from typing import Final

from weir_training.benching.contestants import Label, PipeContestant, Setup, WorkerCommand
from weir_training.benching.environments import code_path, environment
from weir_training.benching.target import Target
from weir_training.export import export_folders, folder_bytes
from weir_training.progress import Progress

GENAI_PRECISIONS: Final = ("int8", "int4")
TRANSFORMERS_PRECISIONS: Final = ("bfloat16", "float32")
_BYTES: Final = {"bfloat16": 2, "float32": 4}


def genai(target: Target, precision: str, setup: Setup, peers: Path, progress: Progress) -> PipeContestant:
    """Return onnxruntime-genai with the graph that its builder makes, which is also Weir's flavour of that name."""
    python = environment("genai", peers, progress)
    folder = target.folder / "genai" / precision
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = target.folder / "logs" / f"genai-{precision}-export.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        export_folders(target.checkpoint, {f"cpu-{precision}": folder}, log, progress=progress)
    label = Label(f"genai {precision} (static)", "genai", precision, folder_bytes(folder), target.weights)
    command = WorkerCommand(python, "genai", target.folder / "logs" / f"genai-{precision}.log", code_path(peers))
    load = {"folder": str(folder), "threads": setup.threads}
    return PipeContestant(label, command, load, most=setup.decode_tokens)


def transformers(target: Target, precision: str, setup: Setup, peers: Path, progress: Progress) -> PipeContestant:
    """Return transformers on the checkpoint itself, in `bfloat16` or `float32`."""
    python = environment("transformers", peers, progress)
    size = _BYTES[precision] * target.weights.all
    label = Label(f"transformers {precision} (static)", "transformers", precision, size, target.weights)
    log = target.folder / "logs" / f"transformers-{precision}.log"
    load = {"folder": str(target.checkpoint.resolve()), "threads": setup.threads, "dtype": precision}
    command = WorkerCommand(python, "transformers", log, code_path(peers))
    return PipeContestant(label, command, load, most=setup.decode_tokens, shows_logits=True)
