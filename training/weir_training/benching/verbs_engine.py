"""`weir bench engine`: Weir's flavours beside other engines, on the same weights, in the same rounds."""

import json
import platform
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from weir.contracts.errors import UsageError
from weir_training.atomic import write_json
from weir_training.benching.closed_loop import parse_concurrencies
from weir_training.benching.contestants import Setup
from weir_training.benching.environments import PINS, installed
from weir_training.benching.fidelity import golden_sample
from weir_training.benching.measure import PROMPT_TOKENS, Plan
from weir_training.benching.peers.entry import PEERS, check_peers
from weir_training.benching.plot import draw
from weir_training.benching.run import Load, Run
from weir_training.benching.shapes import SHAPES
from weir_training.benching.target import Target, open_target
from weir_training.benching.trace import Goal
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import bar

_FLAVOURS: Final = "cpu-packed8,cpu-packed4"
_CONTEXT: Final = 1024  # of every contestant: system text 256, questions to 512, answers to 256
_DECODE_ROOM: Final = 384  # of an answer while decoding is measured: early ones run on while late prompts are read

Where = Annotated[
    str,
    typer.Argument(
        metavar="SHAPE|RELEASE", help=f"{', '.join(SHAPES)}; or a release: MODEL, MODEL/VERSION or a folder."
    ),
]
Flavours = Annotated[
    str | None,
    typer.Option("--flavours", help=f"Comma-separated. Default: all that a release has; of a shape {_FLAVOURS}."),
]
Users = Annotated[str, typer.Option("--users", help="How many decode at once, e.g. 1,4,8,16,32.")]
Peer = Annotated[list[str] | None, typer.Option("--peer", help=f"{', '.join(PEERS)}; may be repeated.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=50, help="Everyone once per round, after one to warm up.")]
Steps = Annotated[int, typer.Option("--steps", min=4, max=256, help="Tokens per user while decoding is timed.")]
Threads = Annotated[int, typer.Option("--threads", min=1, max=256)]
Requests = Annotated[int, typer.Option("--requests", min=1, max=2000, help="Of the trace.")]
Share = Annotated[
    float, typer.Option("--load", min=0.05, max=5.0, help="Arrivals as a share of the fastest's capacity.")
]
Rate = Annotated[float | None, typer.Option("--rate", min=0.001, help="Arrivals per second, instead of --load.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the figures. Default: <home>/bench/results.")]


def engine(  # noqa: PLR0913  a command line's options are its arguments
    name: Where,
    flavours: Flavours = None,
    users: Users = "1,4,8,16",
    peer: Peer = None,
    rounds: Rounds = 3,
    steps: Steps = 64,
    threads: Threads = 2,
    decode: Annotated[bool, typer.Option(help="Measure prefill and decode.")] = True,
    trace: Annotated[bool, typer.Option("--trace", help="Also serve arriving requests of mixed lengths.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Also ask through HTTP, 16 users at once.")] = False,
    choose: Annotated[bool, typer.Option("--choose", help="Say which flavour of a release to serve here.")] = False,
    kl: Annotated[bool, typer.Option("--kl", help="Also everyone's KL to the fp32 checkpoint of a release.")] = False,
    requests: Requests = 48,
    load: Share = 0.8,
    rate: Rate = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the trace.")] = 0,
    goal_ttft_ms: Annotated[float, typer.Option("--goal-ttft-ms", min=1)] = 2000.0,
    goal_tpot_ms: Annotated[float, typer.Option("--goal-tpot-ms", min=1)] = 150.0,
    out: Out = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Measure Weir's flavours (model alone, and engine) beside other engines on the same weights, in the same rounds.

    Figures are medians of interleaved rounds; also written as JSON and PNG. A peer that cannot be had is listed as
    unavailable. The first use of a peer installs it below <home>/bench/peers, which takes minutes.
    """
    peers = check_peers(peer or ())
    plan = Plan(tuple(sorted(set(parse_concurrencies(users, "--users")))), rounds, steps)
    goal = Goal(goal_ttft_ms / 1e3, goal_tpot_ms / 1e3)
    with bar() as progress:
        target = open_target(name, _asked(flavours, _FLAVOURS), home, progress)
        chosen = _flavours(target, flavours)
        run = Run(target, chosen, peers, _setup(target, plan, threads), rounds, home / "bench" / "peers", progress)
        if decode or choose or kl:
            with golden_sample(target, threads) if kl else nullcontext() as sample:
                run.decode(plan, sample)
        if choose:
            run.choose()
        if trace:
            run.trace(Load(requests, seed, goal, load, rate))
        if serve:
            run.serve(goal)
    _tell(run, out or home / "bench" / "results", as_json=as_json)


def _tell(run: Run, folder: Path, *, as_json: bool) -> None:
    result = {**_circumstances(run.target, run.setup), **run.figures}
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = folder / f"{run.target.name.replace('/', '-')}-{stamp}.json"
    write_json(path, result)
    where = [f"figures: {path}"]
    picture = path.with_suffix(".png")
    if run.seen:
        drawn = draw(run.seen, f"{run.target.name}, {run.setup.threads} threads, greedy", picture)
        where.append(f"picture: {picture}" if drawn else "no picture: it needs Pillow (pip install 'weir[bench]')")
    typer.echo(json.dumps(result) if as_json else "\n\n".join([*run.said, "\n".join(where)]))


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
    context = min(target.context_tokens, _CONTEXT)
    if context < PROMPT_TOKENS + plan.steps + 2:
        raise UsageError(
            f"{target.name}: a context of {context} is too short for {PROMPT_TOKENS} + {plan.steps} tokens"
        )
    return Setup(threads, max(plan.users), context, min(_DECODE_ROOM, context - PROMPT_TOKENS - 16))


def _circumstances(target: Target, setup: Setup) -> dict[str, Any]:
    return {
        "target": target.name,
        "weights": asdict(target.weights),
        "threads": setup.threads,
        "context_tokens": setup.context_tokens,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed(name) for name in ("onnxruntime", "numpy", "weir")},
        "pins": PINS,
    }
