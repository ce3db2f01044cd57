"""What a model's own first layers would bring as a drafter.

    python -m tests.bench.early_exit CHECKPOINT [RELEASE DATA.jsonl ...]

The first layers with the final norm and the output layer are a packed graph of their own. Printed per number of layers:
the time of its step and of the whole model's, how long a verifying step takes, which share of guesses would have to
come true to break even, and with a release and its data, which share does. Markdown.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from weir.engine.cpus import this_machine
from weir.engine.packed_model import BLOCK_TOKENS, PackedGraph, PackedModel
from weir.engine.runner import greedy_ids
from weir.engine.step import Row
from weir.release.prompts import load_prompt_builder
from weir_training.data import read_rows
from weir_training.packed_graph import build_packed

_PAST = 64
_CONTEXT = 256
_GUESSES = (1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("release", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--layers", default="1,2,4")
    parser.add_argument("--threads", type=int, default=this_machine().threads)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    depth = int(json.loads((options.checkpoint / "config.json").read_text())["num_hidden_layers"])
    with tempfile.TemporaryDirectory() as folder:
        counts = [*(int(n) for n in options.layers.split(",")), depth]
        models = {n: _model(options.checkpoint, Path(folder) / str(n), n, options.threads) for n in counts}
        seconds = _times(models, options.rounds)
        shares = _shares(options, models, depth) if options.release else {}
    steps = {m: seconds[depth, 1 + m] for m in _GUESSES}
    verify = ", ".join(f"1 + {m} tokens {t * 1e3:.2f} ms" for m, t in steps.items())
    print(f"whole model ({depth} layers): 1 token {seconds[depth, 1] * 1e3:.2f} ms, {verify}\n")
    print("| layers | step ms | share of whole | guesses | share that must come true | comes true | tokens/s ratio |")
    print("|---|---|---|---|---|---|---|")
    for n in counts[:-1]:
        for m, verifying in steps.items():
            one = seconds[depth, 1]
            cost = (m * seconds[n, 1] + verifying) / one
            share = shares.get(n)
            real = "-" if share is None else f"{share:.2f}"
            ratio = "-" if share is None else f"{_expected(share, m) / cost:.2f}"
            needed = _break_even(cost, m)
            must = "none suffices" if needed is None else f"{needed:.2f}"
            print(f"| {n} | {seconds[n, 1] * 1e3:.2f} | {seconds[n, 1] / one:.2f} | {m} | {must} | {real} | {ratio} |")


def _model(checkpoint: Path, folder: Path, layers: int, threads: int) -> PackedModel:
    """The first layers of the checkpoint, as a graph with 8 bits."""
    folder.mkdir()
    config = json.loads((checkpoint / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": layers, "layer_types": None}))
    for weights in checkpoint.glob("*.safetensors"):
        (folder / weights.name).symlink_to(weights.resolve())
    build_packed(folder, folder, bits=8, block=32)
    graph = PackedGraph(folder / "model.onnx", threads=threads)
    return PackedModel(graph, blocks=_CONTEXT // BLOCK_TOKENS, context_tokens=_CONTEXT)


def _times(models: dict[int, PackedModel], rounds: int) -> dict[tuple[int, int], float]:
    """Best seconds of a run by layers and tokens, everything in turn in every round."""
    blocks = range(_CONTEXT // BLOCK_TOKENS)
    found: dict[tuple[int, int], list[float]] = {}
    for model in models.values():
        model.run([Row(blocks, [5] * _PAST, 0, 0)])
    for _ in range(rounds):
        for layers, model in models.items():
            model.run([Row(blocks, [5], _PAST)])  # what ran before was another model, with threads of its own
            for tokens in (1, *(1 + m for m in _GUESSES)):
                began = time.perf_counter()
                model.run([Row(blocks, [5] * tokens, _PAST, tokens)])
                found.setdefault((layers, tokens), []).append(time.perf_counter() - began)
    return {key: min(values) for key, values in found.items()}


def _shares(options: argparse.Namespace, models: dict[int, PackedModel], depth: int) -> dict[int, float]:
    """Which share of the whole model's greedy tokens the first layers would have guessed."""
    builder = load_prompt_builder(options.release)
    eos = set(builder.manifest.eos_ids)
    hits: dict[int, list[bool]] = {n: [] for n in models if n != depth}
    for row in (row for data in options.data for row in read_rows(data)):
        prompt = builder.tokenizer.encode(builder.from_messages(row.question))
        answer = greedy_ids(models[depth], prompt, 48, chunk_tokens=_CONTEXT)
        answer = answer[: next((i + 1 for i, token in enumerate(answer) if token in eos), len(answer))]
        for n in hits:
            hits[n] += _agreement(models[n], prompt, answer)
    return {n: sum(found) / len(found) for n, found in hits.items()}


def _agreement(model: PackedModel, prompt: list[int], answer: Sequence[int]) -> list[bool]:
    blocks = range(_CONTEXT // BLOCK_TOKENS)
    [positions] = model.run([Row(blocks, [*prompt, *answer[:-1]], 0, len(answer))])
    return [position.best == token for position, token in zip(positions, answer, strict=True)]


def _expected(share: float, guesses: int) -> float:
    """Tokens per verifying step, when each guess comes true with this share, given those before it did."""
    return sum(share**j for j in range(guesses + 1))


def _break_even(cost: float, guesses: int) -> float | None:
    """The least share, to a hundredth, at which a step that costs so many plain ones gives as many tokens."""
    return next((s / 100 for s in range(101) if _expected(s / 100, guesses) >= cost), None)


if __name__ == "__main__":
    main()
