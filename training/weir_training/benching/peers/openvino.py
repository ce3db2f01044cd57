"""OpenVINO GenAI: continuous batching; int8 and int4 (groups of 32, symmetric; output layer and embedding int8)."""

from pathlib import Path
from typing import Any, Final

from weir_training.atomic import new_folder
from weir_training.benching.children import finish, spawn
from weir_training.benching.contestants import Label, PipeContestant, Setup, WorkerCommand
from weir_training.benching.environments import code_path, environment
from weir_training.benching.target import Target
from weir_training.progress import Progress, Tick

PRECISIONS: Final = ("int8", "int4")
BATCH_TOKENS: Final = 256
CACHE_GB: Final = 2
_FORMAT: Final[dict[str, tuple[str, ...]]] = {
    "int8": ("--weight-format", "int8"),
    "int4": ("--weight-format", "int4", "--group-size", "32", "--ratio", "1.0", "--sym"),
}
_CONVERT_S: Final = 3600.0


def openvino(
    target: Target, precision: str, setup: Setup, peers: Path, progress: Progress, *, prefix_caching: bool = False
) -> PipeContestant:
    """Return the peer with its model converted.

    Raises:
        JobError: it could not be installed, or does not convert this checkpoint.
    """
    python = environment("openvino", peers, progress)
    folder = convert(target, precision, python, peers, progress)
    load = load_of(folder, setup, prefix_caching=prefix_caching)
    log = target.folder / "logs" / f"openvino-{precision}.log"
    label = label_of(target, precision, folder, "prefix cache" if prefix_caching else "")
    command = WorkerCommand(python, "openvino", log, code_path(peers))
    return PipeContestant(label, command, load, most=setup.decode_tokens, shows_logits=True)


def convert(target: Target, precision: str, python: Path, peers: Path, progress: Progress) -> Path:
    """Return the folder of the converted model; convert it with optimum-intel where that was not done."""
    folder = target.folder / "openvino" / precision
    log = target.folder / "logs" / f"openvino-{precision}-export.log"
    if not folder.is_dir():
        progress(Tick(f"openvino {precision}", 0, 1, f"converting; log: {log}"))
        with new_folder(folder) as made:
            cli = python.with_name("optimum-cli")
            task = ("--task", "text-generation-with-past")
            model = ("-m", target.checkpoint.resolve())
            command: tuple[str | Path, ...] = (cli, "export", "openvino", *model, *task, *_FORMAT[precision], made)
            finish(spawn(command, log, environment=code_path(peers)), "optimum-cli", log, timeout_s=_CONVERT_S)
        progress(Tick(f"openvino {precision}", 1, 1, "converted"))
    return folder


def load_of(folder: Path, setup: Setup, *, prefix_caching: bool) -> dict[str, Any]:
    """What the pipeline is told; `workers.openvino` reads it."""
    return {
        "folder": str(folder.resolve()),
        "threads": setup.threads,
        "slots": setup.users,
        "cache_gb": CACHE_GB,
        "prefix_caching": prefix_caching,
        "batch_tokens": BATCH_TOKENS,
    }


def label_of(target: Target, precision: str, folder: Path, how: str = "") -> Label:
    name = f"openvino {precision}" + (f" ({how})" if how else "")
    size = (folder / "openvino_model.bin").stat().st_size
    return Label(name, "openvino", precision, size, target.weights)
