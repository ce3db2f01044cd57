"""Decoding with output rows for all tokens or for some: `python -m tests.bench.output_layer CHECKPOINT`.

CHECKPOINT is a folder of any packed family; `weir bench shape SHAPE` leaves one with random weights below its home.
Graphs are built in a temporary folder; every round steps through all of them, so that a slow minute hits all alike.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from weir.engine.packed_model import BLOCK_TOKENS, PackedGraph, PackedModel
from weir.engine.step import Row
from weir_training.packed_graph import build_packed

_DEPTH, _STEPS = 256, 16
_EACH = (_DEPTH + _STEPS) // BLOCK_TOKENS  # blocks of a user


def main(
    checkpoint: Path,
    kept: Annotated[str, typer.Option(help="Output rows, all first.")] = "151936,32768,8192",
    users: str = "1,8,16",
    bits: int = 8,
    rounds: int = 7,
    threads: int = 2,
) -> None:
    """Print Markdown: tokens per second, medians of interleaved rounds; in brackets the median ratio to the first."""
    counts = [int(word) for word in users.split(",")]
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        models = {
            rows: _model(checkpoint, Path(folder), int(rows), bits, threads, max(counts)) for rows in kept.split(",")
        }
        sizes = {rows: sum(path.stat().st_size for path in (Path(folder) / rows).iterdir()) for rows in models}
        seen: dict[tuple[str, int], list[float]] = {}
        for _ in range(rounds):
            for count in counts:
                for rows, model in models.items():
                    seen.setdefault((rows, count), []).append(_decode(model, count))
    print("| output rows | MB | " + " | ".join(map(str, counts)) + " |\n" + "|---" * (2 + len(counts)) + "|")
    for rows in models:
        cells = [_cell(seen[rows, count], seen[next(iter(models)), count]) for count in counts]
        print(f"| {int(rows):,} | {sizes[rows] / 1e6:.1f} | {' | '.join(cells)} |")


def _cell(speeds: list[float], first: list[float]) -> str:
    """Ratios are taken round by round: they bear a machine whose other users come and go."""
    ratio = statistics.median(one / other for one, other in zip(speeds, first, strict=True))
    return f"{statistics.median(speeds):.0f} ({ratio:.2f})"


def _model(checkpoint: Path, folder: Path, rows: int, bits: int, threads: int, most: int) -> PackedModel:
    """The kept tokens are spread over the vocabulary, as a domain's are; all of them: an uncut graph."""
    vocabulary = json.loads((checkpoint / "config.json").read_text())["vocab_size"]
    kept = None if rows >= vocabulary else np.sort(np.random.default_rng(0).choice(vocabulary, rows, replace=False))
    target = folder / str(rows)
    target.mkdir()
    build_packed(checkpoint, target, bits=bits, block=32, kept=None if kept is None else kept.tolist())
    graph = PackedGraph(target / "model.onnx", threads=threads)
    model = PackedModel(graph, blocks=most * _EACH, context_tokens=_DEPTH + _STEPS)
    for row in range(most):
        ids = np.random.default_rng(row).integers(1, vocabulary, _DEPTH).tolist()
        model.run([Row(_blocks(row), ids, 0, 0)])
    return model


def _blocks(user: int) -> range:
    return range(user * _EACH, (user + 1) * _EACH)


def _decode(model: PackedModel, users: int) -> float:
    """Take greedy steps; return tokens per second of all users, by the median step."""
    tokens, spans = [1] * users, []
    for step in range(_STEPS):
        rows = [Row(_blocks(n), [token], _DEPTH + step) for n, token in enumerate(tokens)]
        began = time.perf_counter()
        tokens = [position.best for [position] in model.run(rows)]
        spans.append(time.perf_counter() - began)
    return users / statistics.median(spans)


if __name__ == "__main__":
    typer.run(main)
