"""llama.cpp: its own batched benchmark, and its own server."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from weir.contracts.errors import JobError
from weir_training.benching.children import end, finish, spawn, tail
from weir_training.benching.contestants import Label, Sample, Setup, Speed
from weir_training.benching.environments import llama_cpp
from weir_training.benching.peers.llama_logits import server_divergence
from weir_training.benching.prompts import Prompt
from weir_training.benching.target import Target
from weir_training.benching.workers.lines import rss_bytes
from weir_training.progress import Progress, Tick

PRECISIONS: Final = ("Q8_0", "Q4_0")
Command = Callable[[Path], Sequence[str | Path]]
_RUN_S: Final = 900.0
_TRIES: Final = 5
_CONVERT_S: Final = 3600.0


class _NoFiguresError(JobError):
    """The program ended well and said nothing."""


class LlamaBench:
    """llama-batched-bench, started anew for each figure; it loads, warms up, and chooses greedily.

    It takes numbers of tokens, not prompts. While decoding is measured, all users share one prompt that is read once
    and whose keys and values are copied to each: the decoding is the same, and nobody waits for the reading.
    """

    def __init__(self, label: Label, program: Path, model: Path, setup: Setup) -> None:
        self.label = label
        self.rss_bytes = 0
        self._program = program
        self._model = model
        self._setup = setup

    def open(self) -> None:
        self._run(8, 2, 1)  # the file is in memory then

    def prefill(self, prompt: Prompt) -> Speed:
        seen = self._run(len(prompt.ids), 1, 1)
        return Speed(len(prompt.ids), seen["t_pp"])

    def decode(self, prompts: Sequence[Prompt], steps: int) -> Speed:
        depth = sum(len(prompt.ids) for prompt in prompts) // len(prompts)
        seen = self._run(depth, steps, len(prompts))
        return Speed(steps * len(prompts), seen["t_tg"])

    def divergence(self, sample: Sample) -> float | None:
        """Ask llama-server for the log-probability of every token after each prefix; the benchmark shows none."""
        server = self._program.with_name("llama-server")
        with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
            return server_divergence(server, self._model, sample, self._setup.threads, Path(folder) / "log")

    def close(self) -> None:
        pass

    def _run(self, prompt_tokens: int, new_tokens: int, users: int) -> dict[str, float]:
        """Run it once; again when it said nothing: a very short run may end before its log thread has written."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(_NoFiguresError):
                return self._run_once(prompt_tokens, new_tokens, users)
        return self._run_once(prompt_tokens, new_tokens, users)

    def _run_once(self, prompt_tokens: int, new_tokens: int, users: int) -> dict[str, float]:
        context = users * (prompt_tokens + new_tokens) + 64
        with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
            out = Path(folder) / "out"
            process = spawn([self._program, *self._options(context, prompt_tokens, new_tokens, users)], out)
            self.rss_bytes = _watch(process, "llama-batched-bench", out)
            return _last_json(out)

    def _options(self, context: int, prompt_tokens: int, new_tokens: int, users: int) -> list[str]:
        sizes = ["-c", str(context), "-npp", str(prompt_tokens), "-ntg", str(new_tokens), "-npl", str(users), "-pps"]
        return ["-m", str(self._model), "-t", str(self._setup.threads), *sizes, "--output-format", "jsonl"]


def _watch(process: subprocess.Popen[str], what: str, log: Path) -> int:
    """Wait for the end of a child; return the most resident memory that was seen."""
    most, until = 0, time.monotonic() + _RUN_S
    try:
        while process.poll() is None and time.monotonic() < until:
            most = max(most, rss_bytes(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        finish(process, what, log, timeout_s=0.1)
    finally:
        end(process)
    return most


def _last_json(out: Path) -> dict[str, float]:
    for line in reversed(out.read_text(encoding="utf-8", errors="replace").splitlines()):
        if line.startswith("{") and '"speed_tg"' in line:
            found: dict[str, float] = json.loads(line)
            return found
    raise _NoFiguresError(f"llama-batched-bench printed no figures:\n{tail(out)}")


def llama_bench(target: Target, precision: str, setup: Setup, peers: Path, progress: Progress) -> LlamaBench:
    """Return the peer with its model converted.

    Raises:
        JobError: it could not be built, or does not convert this checkpoint.
    """
    source = llama_cpp(peers, progress)
    model = convert(target, precision, source, progress)
    return LlamaBench(label_of(target, precision, model), source / "build/bin/llama-batched-bench", model, setup)


def label_of(target: Target, precision: str, model: Path, how: str = "") -> Label:
    name = f"llama.cpp {precision}" + (f" ({how})" if how else "")
    return Label(name, "llama-cpp", precision, model.stat().st_size, target.weights)


def convert(target: Target, precision: str, source: Path, progress: Progress) -> Path:
    """Return the GGUF file; write it with llama.cpp's own converter and quantiser where that was not done."""
    folder = target.folder / "llama-cpp"
    model, full = folder / f"{precision}.gguf", folder / "f32.gguf"
    log = target.folder / "logs" / "llama-convert.log"
    folder.mkdir(parents=True, exist_ok=True)
    if not full.is_file():
        progress(Tick("llama-cpp f32", 0, 1, f"converting; log: {log}"))
        _to_gguf(target.checkpoint, source, full, log)
        progress(Tick("llama-cpp f32", 1, 1, "converted"))
    if not model.is_file():
        progress(Tick(f"llama-cpp {precision}", 0, 1, "quantising"))
        _write(model, lambda part: [source / "build/bin/llama-quantize", full, part, precision], "llama-quantize", log)
        progress(Tick(f"llama-cpp {precision}", 1, 1, "quantised"))
    return model


def _to_gguf(checkpoint: Path, source: Path, target: Path, log: Path) -> None:
    worker: list[str | Path] = [sys.executable, "-m", "weir_training.benching.workers.gguf", source, checkpoint]
    _write(target, lambda part: [*worker, part], "conversion to GGUF", log)


def _write(path: Path, command: Command, what: str, log: Path) -> None:
    """Let a command write a file under another name first, so that it is whole or not there."""
    part = path.with_name(f".{path.name}.part")
    process = spawn(command(part), log)
    try:
        finish(process, what, log, timeout_s=_CONVERT_S)
        part.replace(path)
    finally:
        end(process)
        part.unlink(missing_ok=True)
