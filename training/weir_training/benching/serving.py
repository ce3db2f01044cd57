"""Lets contestants serve the same requests in turns. Each is started for its turn: caches are cold for all alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from weir.contracts.errors import JobError
from weir_training.benching.contestants import Label
from weir_training.benching.peers.entry import Missing
from weir_training.benching.tables import NAME_WIDTH, short
from weir_training.benching.trace import Answer, Goal, Request, Score, score
from weir_training.progress import Progress, Tick

_WARM_UP_TOKENS: Final = 4


class Server(Protocol):
    """Whatever answers requests that arrive: an engine in a worker, or a server over HTTP."""

    @property
    def label(self) -> Label: ...

    @property
    def rss_bytes(self) -> int: ...

    def open(self) -> None: ...

    def trace(self, requests: Sequence[Mapping[str, Any]], *, at_once: int | None) -> list[list[float]]:
        """Return per request the seconds from its arrival to its first and last token, and the number of tokens."""
        ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Served:
    """What one contestant did; `repeats[r][n]` answers request n."""

    label: Label
    repeats: list[list[Answer]] = field(default_factory=list)
    rss_bytes: int = 0
    failed: str | None = None


def serve_in_turns(
    servers: Iterable[Server | Missing], requests: Sequence[Request], *, at_once: int | None, rounds: int,
    progress: Progress, stage: str,
) -> tuple[list[Served], list[Missing]]:  # fmt: skip
    """Let everyone serve `requests` once per round; a contestant that fails once is not asked again."""
    missing, taking = [], []
    for server in servers:
        if isinstance(server, Missing):
            missing.append(server)
        else:
            taking.append((server, Served(server.label)))
    total, done = rounds * len(taking), 0
    for _ in range(rounds):
        for server, served in taking:
            progress(Tick(stage, done, total, served.label.name))
            if served.failed is None:
                _turn(server, served, requests, at_once)
            done += 1
    progress(Tick(stage, total, total, "done"))
    return [served for _, served in taking], missing


def _turn(server: Server, served: Served, requests: Sequence[Request], at_once: int | None) -> None:
    try:
        server.open()
        server.trace([_warm_up(requests[-1])], at_once=None)
        answers = server.trace([request.as_dict() for request in requests], at_once=at_once)
        served.repeats.append([Answer(a[0], a[1], int(a[2]), a[3]) for a in answers])
        served.rss_bytes = max(served.rss_bytes, server.rss_bytes)
    except (JobError, OSError) as error:
        served.failed = str(error)
    finally:
        server.close()


def _warm_up(request: Request) -> dict[str, Any]:
    """The second half of a prompt, so that no prefix of a measured one lies in a cache."""
    half = len(request.prompt.text) // 2
    ids = request.prompt.ids[len(request.prompt.ids) // 2 :]
    return {"arrival_s": 0.0, "text": request.prompt.text[half:], "ids": list(ids), "new_tokens": _WARM_UP_TOKENS}


def served_table(served: Sequence[Served], requests: Sequence[Request], goal: Goal) -> str:
    head = f"{'':<{NAME_WIDTH}}{'RSS MB':>8}{'TTFT p50':>10}{'p90':>8}{'p99':>8}{'TPOT p50':>10}{'p99':>8}"
    lines = [head + f"{'tokens/s':>10}{'goodput':>9}{'kept':>7}   (latencies in ms)"]
    for one in served:
        lines.append(f"{one.label.name:<{NAME_WIDTH}}" + _figures(one, requests, goal))
        lines += [f"    failed: {short(one.failed)}"] if one.failed else []
    return "\n".join(lines)


def served_dict(served: Sequence[Served], requests: Sequence[Request], goal: Goal) -> list[dict[str, Any]]:
    return [
        {
            **asdict(one.label),
            "rss_bytes": one.rss_bytes,
            "failed": one.failed,
            "score": asdict(score(requests, one.repeats, goal)) if one.repeats else None,
            "repeats": [[asdict(answer) for answer in answers] for answers in one.repeats],
        }
        for one in served
    ]


def _figures(one: Served, requests: Sequence[Request], goal: Goal) -> str:
    if not one.repeats:
        return f"{'-':>8}"
    found: Score = score(requests, one.repeats, goal)
    first = f"{found.first_p50 * 1e3:>10.0f}{found.first_p90 * 1e3:>8.0f}{found.first_p99 * 1e3:>8.0f}"
    between = f"{found.per_token_p50 * 1e3:>10.1f}{found.per_token_p99 * 1e3:>8.1f}"
    rates = f"{found.tokens_per_s:>10.1f}{found.goodput:>9.1f}{found.met:>7.0%}"
    return f"{one.rss_bytes / 1e6:>8.0f}" + first + between + rates
