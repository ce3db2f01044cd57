"""`weir bench gateway`: what the gateway adds to a node, and how much of it one core takes."""

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
from weir_training.benching.environments import PINS, environment, installed
from weir_training.benching.gateway.measures import Figures, Plan, measure
from weir_training.benching.gateway.report import draw, ratio, rows, table, value
from weir_training.benching.gateway.stage import Stage, Subject
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import Progress, Tick, bar

_PEERS: Final = ("litellm",)
_WEIR: Final = "weir"

Peer = Annotated[list[str] | None, typer.Option("--peer", help="litellm: its proxy, on the same node and core.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=50, help="Everything once per round.")]
Seconds = Annotated[float, typer.Option("--seconds", min=1, max=600, help="Of each rate and each set of streams.")]
Requests = Annotated[int, typer.Option("--requests", min=50, max=100_000, help="One at a time, for latencies.")]
Streams = Annotated[str, typer.Option("--streams", help="Sets of answers at 48 tokens/s, e.g. 64,256.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the figures. Default: <home>/bench/results.")]


def gateway(  # noqa: PLR0913  a command line's options are its arguments
    rounds: Rounds = 3,
    seconds: Seconds = 4.0,
    requests: Requests = 1000,
    streams: Streams = "64,256",
    grpc: Annotated[bool, typer.Option(help="Also over a gRPC node.")] = True,
    unguarded: Annotated[bool, typer.Option(help="Also with an empty guard policy.")] = True,
    peer: Peer = None,
    out: Out = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Measure the gateway (auth, limits, guard and metrics on) over scripted nodes, beside the node itself.

    Direct and through it are interleaved. The gateway has one CPU, node and load generator share another. Figures are
    medians of the rounds; also written as JSON and PNG.
    """
    unknown = sorted(set(peer or ()) - set(_PEERS))
    if unknown:
        raise UsageError(f"--peer {unknown[0]}: expected one of {', '.join(_PEERS)}")
    plan = Plan(rounds, seconds, requests, tuple(sorted(set(parse_concurrencies(streams, "--streams")))))
    with nullcontext(lambda _: None) if as_json else bar() as progress:
        python = environment("litellm", home / "bench" / "peers", progress) if peer else None
        with Stage(home / "bench" / "gateway") as stage:
            node = stage.node("http")
            gateways = _gateways(stage, node, grpc=grpc, unguarded=unguarded)
            if python is not None:
                gateways.append(stage.litellm(python, node))
            figures = measure(stage, node, gateways, plan, _teller(progress))
            pins = stage.pins
    names = ["direct", *(one.name for one in gateways)]
    _tell(figures, names, plan, _circumstances(plan, pins), out or home / "bench" / "results", as_json=as_json)


def _gateways(stage: Stage, node: Subject, *, grpc: bool, unguarded: bool) -> list[Subject]:
    gateways = [stage.gateway(_WEIR, node)]
    if unguarded:
        gateways.append(stage.gateway("weir, no rules", node, with_guard=False))
    if grpc:
        gateways.append(stage.gateway("weir over gRPC", stage.node("grpc")))
    return gateways


def _teller(progress: Progress) -> Any:
    return lambda text: progress(Tick("measure", 0, 1, text))


def _tell(
    figures: Figures,
    names: list[str],
    plan: Plan,
    circumstances: dict[str, Any],
    folder: Path,
    *,
    as_json: bool,
) -> None:
    medians = {name: {row.figure: value(figures, name, row.figure) for row in rows(plan)} for name in names}
    times = ratio(figures, _WEIR, "litellm")
    result = {**circumstances, "medians": medians, "times_litellm": times, "rounds": figures.values}
    path = folder / f"gateway-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}.json"
    write_json(path, result)
    picture = path.with_suffix(".png")
    drawn = draw(figures, names[1:], plan, picture)
    where = f"figures: {path}\n" + (f"picture: {picture}" if drawn else "no picture: pip install 'weir[bench]'")
    if as_json:
        typer.echo(json.dumps(result))
        return
    beside = f"\nrequests/s on OpenAI's route: {times:.0f} times LiteLLM's\n" if times else ""
    typer.echo(f"{table(figures, names, plan)}\n{beside}\n{where}")


def _circumstances(plan: Plan, pins: dict[str, int]) -> dict[str, Any]:
    return {
        "plan": asdict(plan),
        "pinned_to": pins,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed(name) for name in ("weir", "uvicorn", "uvloop", "httptools", "grpcio")},
        "pins": PINS["litellm"],
    }
