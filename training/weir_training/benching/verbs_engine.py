"""`weir bench engine`: Weir's flavours beside other engines, on the same weights, in the same rounds."""

import json
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from weir.contracts.errors import CheckFailedError, UsageError
from weir_training.atomic import write_json
from weir_training.benching.closed_loop import parse_concurrencies
from weir_training.benching.contestants import Setup
from weir_training.benching.environments import installed
from weir_training.benching.measure import PROMPT_TOKENS, Plan, measure
from weir_training.benching.peers.entry import PEERS, check_peers, contestants
from weir_training.benching.roofline import measured_roofline
from weir_training.benching.shapes import SHAPES
from weir_training.benching.tables import as_dict, table
from weir_training.benching.target import Target, open_target
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import bar

_FLAVOURS: Final = "cpu-w8a8,cpu-int4"
_DECODE_ROOM: Final = 384  # of an answer while decoding is measured: early ones run on while late prompts are read

Where = Annotated[
    str, typer.Argument(metavar="SHAPE|RELEASE", help=f"{', '.join(SHAPES)}; or MODEL[/VERSION], a folder.")
]
Flavours = Annotated[str | None, typer.Option("--flavours", help="Comma-separated. Default: all that a release has.")]
Users = Annotated[str, typer.Option("--users", help="How many decode at once, e.g. 1,4,8,16,32.")]
Peer = Annotated[list[str] | None, typer.Option("--peer", help=f"{', '.join(PEERS)}; may be repeated.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=50, help="Everyone once per round, after one to warm up.")]
Steps = Annotated[int, typer.Option("--steps", min=4, max=256, help="Tokens per user while decoding is timed.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=256)]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the figures. Default: <home>/bench/results.")]


def engine(  # noqa: PLR0913  a command line's options are its arguments
    name: Where,
    flavours: Flavours = None,
    users: Users = "1,4,8,16",
    peer: Peer = None,
    rounds: Rounds = 3,
    steps: Steps = 64,
    threads: Threads = 2,
    out: Out = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Measure prefill and decode, Weir's model alone and its engine, and the peers; medians of interleaved rounds."""
    peers = check_peers(peer or ())
    counts = tuple(sorted(set(parse_concurrencies(users, "--users"))))
    with bar() as progress:
        target = open_target(name, _asked(flavours, _FLAVOURS), home, progress)
        plan = Plan(counts, rounds, steps)
        setup = _setup(target, plan, threads)
        roofline = measured_roofline(threads)
        found = contestants(target, _flavours(target, flavours), peers, setup, home / "bench" / "peers", progress)
        seen, missing = measure(found, target.prompts, plan, progress)
    if not any(one.speeds for one in seen):
        raise CheckFailedError("nothing could be measured:\n" + table(seen, missing, plan, roofline))
    result = {**_circumstances(target, setup), **as_dict(seen, missing, plan, roofline)}
    path = _written(result, out or home / "bench" / "results", "engine")
    typer.echo(json.dumps(result) if as_json else f"{table(seen, missing, plan, roofline)}\nfigures: {path}")


def _asked(flavours: str | None, otherwise: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for word in (flavours or otherwise).split(",") if word))


def _flavours(target: Target, flavours: str | None) -> tuple[str, ...]:
    if flavours is None:
        return tuple(found.flavour for found in target.manifest.formats)
    asked = _asked(flavours, "")
    for flavour in asked:
        target.graph(flavour)
    return asked


def _setup(target: Target, plan: Plan, threads: int) -> Setup:
    """Give the engine room beyond the prompt: while late prompts are read, early answers go on."""
    context = min(target.context_tokens, PROMPT_TOKENS + _DECODE_ROOM + 64)
    if context < PROMPT_TOKENS + plan.steps + 2:
        raise UsageError(
            f"{target.name}: a context of {context} is too short for {PROMPT_TOKENS} + {plan.steps} tokens"
        )
    return Setup(threads, max(plan.users), context, min(_DECODE_ROOM, context - PROMPT_TOKENS - 16))


def _circumstances(target: Target, setup: Setup) -> dict[str, Any]:
    return {
        "target": target.name,
        "weights": target.weights,
        "threads": setup.threads,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed(name) for name in ("onnxruntime", "numpy", "weir")},
    }


def _written(result: dict[str, Any], folder: Path, kind: str) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{result['target'].replace('/', '-')}-{kind}-{stamp}.json"
    write_json(path, result)
    return path
