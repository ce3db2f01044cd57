"""Child process of `weir export`: builds every flavour with onnxruntime-genai's model builder.

    python -m weir_training.graph_builder < PLAN.json

One process for all flavours, because importing torch and transformers takes longer than building a small
model; a process of its own, because the builder puts its own folders on the import path and cannot be
interrupted. Writes one JSON line per finished flavour on stdout, everything else on stderr.
"""

import contextlib
import gc
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from weir.contracts.manifest import is_paged
from weir_training.quiet import calm_threads

# What a flavour consists of; the builder's copies of tokenizer and template are the checkpoint's business.
GRAPH_FILES = ("model.onnx", "model.onnx.data", "genai_config.json")
W8A8 = "w8a8"  # not the builder's: its fp32 graph, then our own pass
PACKED8, PACKED4 = "packed8", "packed4"  # our own graphs


def main() -> None:
    plan = json.load(sys.stdin)
    calm_threads()
    with contextlib.redirect_stdout(sys.stderr):
        builder = _load_builder()
        for job in plan["jobs"]:
            began = time.perf_counter()
            _build(builder, plan, job)
            done = {"flavour": job["flavour"], "seconds": round(time.perf_counter() - began, 3)}
            print(json.dumps(done), file=sys.__stdout__, flush=True)
            gc.collect()


def _load_builder() -> Any:
    import onnxruntime_genai
    from onnxruntime_genai.models import builder

    silence = getattr(onnxruntime_genai, "disable_telemetry_events", None)
    if silence is not None:
        silence()
    return builder


def _build(builder: Any, plan: dict[str, Any], job: dict[str, Any]) -> None:
    """Write the files of one flavour into `job["folder"]`, which exists."""
    folder, checkpoint = Path(job["folder"]), plan["checkpoint"]
    match job["precision"]:
        case "w8a8":
            _build_w8a8(builder, checkpoint, job, folder)
        case "packed8" | "packed4" as precision:
            _build_packed(plan, folder, bits=int(precision[-1]), block=int(job["options"][0]))
        case _ if job["provider"] == "cuda":
            _build_for_gpu(builder, checkpoint, job, folder)
        case _:
            _build_by_builder(builder, checkpoint, job, folder)


def _build_by_builder(builder: Any, checkpoint: str, job: dict[str, Any], folder: Path) -> None:
    cache = str(folder / "cache")
    target = ("", checkpoint, str(folder), job["precision"], job["provider"], cache)
    options = builder.parse_extra_options(*target, job["options"])
    builder.create_model(*target, **options)
    for path in folder.iterdir():
        if path.is_file() and path.name not in GRAPH_FILES:
            path.unlink()
    shutil.rmtree(cache, ignore_errors=True)


def _build_for_gpu(builder: Any, checkpoint: str, job: dict[str, Any], folder: Path) -> None:
    """The builder needs no GPU for it. A paged graph is onnxruntime-genai's own engine's, which picks tokens itself."""
    from weir_training.sampling_head import add_sampling_head

    _build_by_builder(builder, checkpoint, job, folder)
    if not is_paged(job["flavour"]):
        add_sampling_head(folder / "model.onnx")


def _build_packed(plan: dict[str, Any], folder: Path, *, bits: int, block: int) -> None:
    from weir_training.moments import Calibration
    from weir_training.packed_graph import build_packed

    calibration = None if plan["calibration"] is None else Calibration(**plan["calibration"])
    kept, checkpoint = plan["kept_tokens"], Path(plan["checkpoint"])
    build_packed(checkpoint, folder, bits=bits, block=block, kept=kept, calibration=calibration)


def _build_w8a8(builder: Any, checkpoint: str, job: dict[str, Any], folder: Path) -> None:
    from weir_training.w8a8 import quantise

    with tempfile.TemporaryDirectory(prefix=".fp32-", dir=folder) as full:
        _build_by_builder(builder, checkpoint, {**job, "precision": "fp32"}, Path(full))
        quantise(Path(full) / "model.onnx", folder / "model.onnx")
        shutil.copyfile(Path(full) / "genai_config.json", folder / "genai_config.json")


if __name__ == "__main__":
    main()
