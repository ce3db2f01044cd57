"""`weir guard bench` (also `weir bench guard`): the guard's speed, hold-back and leaks, beside other guards."""

import json
import os
import platform
from contextlib import ExitStack, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from weir.contracts.errors import UsageError
from weir.guard.policy import load_policy
from weir_training.atomic import write_json
from weir_training.benching.environments import installed
from weir_training.benching.guard import report
from weir_training.benching.guard.measures import Cut, Figures, Plan, measure
from weir_training.benching.guard.subjects import PEERS, Subject, ours, peer, tokenized
from weir_training.options import DEFAULT_HOME, AsJson, Home
from weir_training.progress import bar

Peer = Annotated[list[str] | None, typer.Option("--peer", help=f"{', '.join(PEERS)}; may be repeated.")]
Rounds = Annotated[int, typer.Option("--rounds", min=1, max=50, help="Every text once per guard and round.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the figures. Default: <home>/bench/results.")]
_VERSIONS: Final = ("weir", "google-re2", "ahocorasick_rs")


app = typer.Typer(add_completion=False)


@app.command()
def guard(
    policy: Annotated[Path | None, typer.Argument(metavar="POLICY", help="Measure Weir with this policy too.")] = None,
    peers: Peer = None,
    rounds: Rounds = 3,
    out: Out = None,
    home: Home = DEFAULT_HOME,
    as_json: AsJson = False,
) -> None:
    """Measure the guard with 1,000 and 10,000 terms and 100 patterns; peers get the same rules and texts, in turn.

    Times are taken in each guard's own process, around the call alone, all on one CPU. Peers are installed below
    `<home>/bench/peers` the first time. With litellm, whose package carries a real vocabulary, answers are also cut
    into its tokens. Figures are also written as JSON and PNG.
    """
    unknown = sorted(set(peers or ()) - set(PEERS))
    if unknown:
        raise UsageError(f"--peer {unknown[0]}: expected one of {', '.join(PEERS)}")
    if policy is not None:
        load_policy(policy)  # what is wrong with it is said here
    folder = home / "bench" / "guard"
    with nullcontext(lambda _: None) if as_json else bar() as progress, ExitStack() as stack:
        plan = Plan(rounds, _cpu(), policy, _tokenizer(home, folder, progress) if "litellm" in (peers or ()) else None)
        subjects: list[Subject] = []
        for start in [
            lambda: ours(folder),
            *(_starter(name, home, folder, progress) for name in dict.fromkeys(peers or ())),
        ]:
            subjects.append(start())
            stack.callback(subjects[-1].close)
        figures = measure(subjects, plan, progress)
    _tell(figures, [one.name for one in subjects], _circumstances(plan), out or home / "bench" / "results",
          as_json=as_json)  # fmt: skip


def _starter(name: str, home: Path, folder: Path, progress: Any) -> Any:
    return lambda: peer(name, home / "bench" / "peers", folder, progress)


def _tokenizer(home: Path, folder: Path, progress: Any) -> Cut:
    return lambda texts: tokenized(texts, home / "bench" / "peers", folder, progress)


def _cpu() -> int | None:
    """The CPU that all guards share: the last of ours. They are never at work at the same time."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _circumstances(plan: Plan) -> dict[str, Any]:
    return {
        "rounds": plan.rounds,
        "cpu": plan.cpu,
        "policy": None if plan.policy is None else str(plan.policy),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {name: installed(name) for name in _VERSIONS},
    }


def _tell(figures: Figures, names: list[str], about: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    checks, chunks = report.check_lines(figures, names), report.chunk_lines(figures, names)
    result = {
        **about,
        "checks_ms": [line._asdict() for line in checks],
        "chunks_us": [line._asdict() for line in chunks],
        "held": [[*key, values] for key, values in figures.held.items()],
        "late": [[*key, values] for key, values in figures.late.items()],
        "leaked": [[*key, value] for key, value in figures.leaks.items()],
        "loads": [[*key, values] for key, values in figures.loads.items()],
        "stages": [[*key, values] for key, values in figures.stages.items()],
    }
    path = folder / f"guard-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}.json"
    write_json(path, result)
    picture = path.with_suffix(".png")
    drawn = report.draw(figures, names, picture)
    if as_json:
        typer.echo(json.dumps(result))
        return
    parts = [
        report.table("whole texts, ms", checks),
        report.table("chunks of a stream, us", chunks),
        *([report.ratio_table(checks, chunks)] if len(names) > 1 else []),
        report.held_table(figures),
        report.leak_table(figures, names),
        report.stage_table(figures),
        report.load_table(figures),
        f"figures: {path}\n" + (f"picture: {picture}" if drawn else "no picture: pip install 'weir[bench]'"),
    ]
    typer.echo("\n\n".join(parts))
