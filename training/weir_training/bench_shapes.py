"""`weir bench shape`: steps per second of a graph with the shape of a known model and random weights.

Speed does not depend on what the weights say, so no hub is needed. Each flavour is exported once and kept below
`<home>/bench`; rounds go through all flavours in turn, so that a machine that slows down slows them all.
"""

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from weir.contracts.errors import UsageError
from weir_training.atomic import new_folder
from weir_training.options import DEFAULT_HOME, AsJson, Home

if TYPE_CHECKING:
    from weir.engine.session import GraphSession

_DEPTH: Final = 256  # tokens in every slot before decoding is timed
_STEPS: Final = 24
_FLAVOURS: Final = "cpu-fp32,cpu-w8a8,cpu-int8,cpu-int4"
_SHAPES: Final[dict[str, dict[str, Any]]] = {
    "smollm2-135m": {
        "model_type": "llama",
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Tokens per second of one flavour at one number of users; `users` 0 is reading one prompt of 256 tokens."""

    flavour: str
    users: int
    tokens_per_s: float
    graph_mb: float


def shape(  # noqa: PLR0913 - a command line's options are its arguments
    name: Annotated[str, typer.Argument(metavar="SHAPE", help=", ".join(_SHAPES))],
    flavours: Annotated[str, typer.Option("--flavours", help="Comma-separated.")] = _FLAVOURS,
    users: Annotated[str, typer.Option("--users", help="How many decode at once, e.g. 1,4,8,16.")] = "1,4,8,16",
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=50)] = 5,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256)] = 2,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Measure prefill and decode on random weights; medians of interleaved rounds."""
    if name not in _SHAPES:
        raise UsageError(f"{name}: no such shape (known: {', '.join(_SHAPES)})")
    counts = [int(word) for word in users.split(",")]
    folders = _graphs(name, flavours.split(","), home / "bench" / name)
    figures = list(_measure(folders, counts, rounds=rounds, threads=threads))
    if as_json:
        typer.echo(json.dumps([asdict(figure) for figure in figures]))
    else:
        typer.echo(_table(figures, counts))


def _graphs(name: str, flavours: Sequence[str], cache: Path) -> dict[str, Path]:
    from weir_training.export import export_folders

    checkpoint = cache / "checkpoint"
    if not checkpoint.is_dir():
        with new_folder(checkpoint) as folder:
            _random_checkpoint(name, folder)
    folders = {flavour: cache / flavour for flavour in flavours}
    missing = {flavour: folder for flavour, folder in folders.items() if not folder.is_dir()}
    if missing:
        export_folders(checkpoint, missing, cache / "export.log")
    return folders


def _random_checkpoint(name: str, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    values = dict(_SHAPES[name])
    config = AutoConfig.for_model(
        values.pop("model_type"), **values, tie_word_embeddings=True, max_position_embeddings=2048, bos_token_id=0,
        eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder, safe_serialization=True)
    _any_tokenizer(folder)


def _any_tokenizer(folder: Path) -> None:
    """The builder wants one; nobody asks it anything."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="a", pad_token="a").save_pretrained(folder)  # noqa: S106


def _measure(folders: dict[str, Path], counts: Sequence[int], *, rounds: int, threads: int) -> Iterator[Figure]:
    from weir.engine.session import Graph, GraphSession

    sessions = {
        flavour: GraphSession(Graph(folder / "model.onnx", threads=threads), slots=max(counts), context_tokens=512)
        for flavour, folder in folders.items()
    }
    for session in sessions.values():
        for slot in range(max(counts)):
            _prefill(session, slot)
    for users in (0, *counts):
        seen: dict[str, list[float]] = {flavour: [] for flavour in sessions}
        for _ in range(rounds):
            for flavour, session in sessions.items():
                seen[flavour].append(_prefill(session, 0) if users == 0 else _decode(session, users))
        for flavour, speeds in seen.items():
            size = sum(p.stat().st_size for p in folders[flavour].iterdir()) / 1e6
            yield Figure(flavour, users, statistics.median(speeds), size)


def _prefill(session: "GraphSession", slot: int) -> float:
    """Read one prompt; return tokens per second."""
    import numpy as np

    ids = np.random.default_rng(slot).integers(1, session.graph.vocab_size, (1, _DEPTH))
    began = time.perf_counter()
    session.run(ids, [0], first_slot=slot)
    return _DEPTH / (time.perf_counter() - began)


def _decode(session: "GraphSession", users: int) -> float:
    """Take steps with a greedy choice for each row; return tokens per second of all rows, by the median step."""
    import numpy as np

    tokens = np.ones((users, 1), np.int64)
    spans = []
    for step in range(_STEPS):
        began = time.perf_counter()
        logits = session.run(tokens, [_DEPTH + step] * users, first_slot=0)
        tokens = logits.argmax(axis=-1)[:, None]
        spans.append(time.perf_counter() - began)
    return users / statistics.median(spans)


def _table(figures: Sequence[Figure], counts: Sequence[int]) -> str:
    rows: dict[str, list[Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.flavour, []).append(figure)
    head = f"{'tokens/s':<10}{'MB':>8}{'prefill':>10}" + "".join(f"{f'@{users}':>9}" for users in counts)
    lines = [f"{name:<10}{row[0].graph_mb:>8.0f}" + _cells(row) for name, row in rows.items()]
    return "\n".join([head, *lines])


def _cells(row: Sequence[Figure]) -> str:
    return f"{row[0].tokens_per_s:>10.0f}" + "".join(f"{figure.tokens_per_s:>9.0f}" for figure in row[1:])
