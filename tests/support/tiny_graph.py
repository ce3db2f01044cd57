"""A lively random checkpoint and its exported graphs: built once, kept below `.weir/test-cache`.

The weights are scaled up until greedy answers wander (a fresh initialisation repeats one token for ever, which would
hide a wrong position or a neighbour's key).
"""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from tests.support import tiny_checkpoint
from weir_training import packed_graph, packing, w8a8
from weir_training.base import tokenizer

CACHE = Path(__file__).parents[2] / ".weir" / "test-cache"
CONTEXT_TOKENS = 512
_SCALE = 8.0
_OPTIONS = ("block_size=32", "accuracy_level=4")


@cache
def lively_checkpoint() -> Path:
    """The folder of a checkpoint (config, safetensors, tokenizer, chat template); read-only."""
    return _cached("checkpoint", _make_checkpoint)


@cache
def tiny_graph(precision: str = "fp32", *, pruned: bool = True) -> Path:
    """The folder with `model.onnx` of that checkpoint; read-only.

    `precision` is fp32, w8a8, int8, int4, packed8 or packed4. A pruned graph gives the last position's logits only, as
    releases do; packed ones are not concerned.
    """
    name = f"graph-{precision}" if pruned else f"graph-{precision}-whole"
    return _cached(name, lambda folder: _export(lively_checkpoint(), folder, precision, pruned=pruned))


@cache
def trimmed_graph(precision: str, kept: tuple[int, ...]) -> Path:
    """As `tiny_graph`, packed8 or packed4, with output rows for `kept` tokens only."""
    name = f"graph-{precision}-kept-{hashlib.sha256(repr(kept).encode()).hexdigest()[:8]}"
    bits = int(precision[-1])
    return _cached(
        name,
        lambda folder: packed_graph.build_packed(lively_checkpoint(), folder, bits=bits, block=32, kept=kept),
    )


def _cached(name: str, make) -> Path:
    folder = CACHE / f"{name}-{_key()}"
    if not folder.is_dir():
        temporary = CACHE / f".{name}.{os.getpid()}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        make(temporary)
        try:
            temporary.rename(folder)
        except OSError:  # another test run was faster
            shutil.rmtree(temporary)
    return folder


@cache
def _key() -> str:
    sources = [
        Path(module.__file__).read_bytes() for module in (tiny_checkpoint, tokenizer, w8a8, packed_graph, packing)
    ]
    sources.append(Path(__file__).read_bytes())
    sources += [version(name).encode() for name in ("onnxruntime-genai", "transformers", "torch")]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:12]


def _make_checkpoint(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny_checkpoint.make_tiny_checkpoint(folder, tied=False, context_tokens=CONTEXT_TOKENS)
    weights = load_file(folder / "model.safetensors")
    scaled = {name: w * _SCALE if w.dim() == 2 else w for name, w in weights.items()}
    save_file(scaled, folder / "model.safetensors", metadata={"format": "pt"})


def _export(checkpoint: Path, folder: Path, precision: str, *, pruned: bool) -> None:
    if precision.startswith("packed"):
        packed_graph.build_packed(checkpoint, folder, bits=int(precision[-1]), block=32)
        return
    if precision == "w8a8":
        full = tiny_graph("fp32", pruned=pruned)
        w8a8.quantise(full / "model.onnx", folder / "model.onnx")
        shutil.copyfile(full / "genai_config.json", folder / "genai_config.json")
        return
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", str(checkpoint), "-o", str(folder)]
    command += ["-p", precision, "-e", "cpu", "-c", str(folder / "cache"), "--extra_options"]
    command += [*_OPTIONS, f"prune_lm_head={str(pruned).lower()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(folder / "cache", ignore_errors=True)
