"""`weir bench route`: routing policies over simulated nodes."""

import json
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Annotated, Final

import typer

from weir.contracts.errors import UsageError
from weir_training.atomic import write_json
from weir_training.benching.route.load import calls
from weir_training.benching.route.replay import Replay
from weir_training.benching.route.report import GOAL, Figures, draw, figures, table
from weir_training.benching.route.scenes import POLICIES, SCENES, Scale, Scene, policy, scene
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import Progress, Tick, bar

_MOST_REQUESTS: Final = 20_000_000

SceneName = Annotated[list[str] | None, typer.Option("--scene", help=f"{', '.join(SCENES)}; may be repeated.")]
PolicyName = Annotated[list[str] | None, typer.Option("--policy", help=f"{', '.join(POLICIES)}; may be repeated.")]
Rate = Annotated[
    float | None, typer.Option("--rate", min=0.1, max=1e6, help="Requests per second, in place of --load.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the figures. Default: <home>/bench/results.")]


def route(  # noqa: PLR0913  a command line's options are its arguments
    scenes: SceneName = None,
    policies: PolicyName = None,
    nodes: Annotated[int, typer.Option("--nodes", min=2, max=10_000)] = 12,
    load: Annotated[float, typer.Option("--load", min=0.01, max=2, help="Share of what the nodes can do.")] = 0.7,
    rate: Rate = None,
    speed: Annotated[float, typer.Option("--speed", min=0.01, max=1000, help="Of the nodes, as a factor.")] = 1.0,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=3600, help="Simulated, for each seed.")] = 120.0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=100, help="Runs with the seeds 1, 2, …")] = 3,
    out: Out = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Replay bursts of requests with long-tailed lengths over simulated nodes, under several routing policies.

    `weir` is the gateway's own code with a simulated clock. Arrivals, lengths and failures follow from the seed, so the
    same command gives the same figures. They are also written as JSON and PNG.
    """
    scale = Scale(nodes, load, rate, seconds, speed)
    chosen = [scene(name, scale) for name in scenes or SCENES]
    if (asked := sum(one.rate * seconds * seeds for one in chosen)) > _MOST_REQUESTS:
        raise UsageError(f"{asked:.0f} requests: more than {_MOST_REQUESTS}; choose fewer --seconds or --seeds")
    with nullcontext(lambda _: None) if as_json else bar() as progress:
        found = [_run(one, name, seeds, progress) for one in chosen for name in policies or POLICIES]
    given = {
        "nodes": nodes,
        "rates": {one.name: one.rate for one in chosen},
        "seconds": seconds,
        "seeds": seeds,
        "speed": speed,
    }
    goal = {"first_s": GOAL.first_s, "per_token_s": GOAL.per_token_s}
    body = {**given, "goal": goal, "figures": [one.as_dict() for one in found]}
    folder = out or home / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "route.json", body)
    draw(found, f"{nodes} simulated nodes, {seeds} seeds of {seconds:g} s", folder / "route.png")
    rates = ", ".join(f"{one.name} {one.rate:.0f}/s" for one in chosen)
    typer.echo(json.dumps(body) if as_json else f"{nodes} nodes, {rates}, {seeds} seeds\n{table(found)}")


def _run(one: Scene, name: str, seeds: int, progress: Progress) -> Figures:
    speeds = [model.speed for model in one.models]
    runs, began = [], perf_counter()
    for seed in range(1, seeds + 1):
        progress(Tick("simulate", seed - 1, seeds, f"{one.name}, {name}"))
        replay = Replay(speeds, policy(name, one.models, seed), one.troubles)
        runs.append(replay.run(calls(one.shape, rate=one.rate, seconds=one.seconds, seed=seed)))
    return figures(one.name, name, runs, one.seconds, round(perf_counter() - began, 2))
