"""What is measured, and in which order: everything once per round, so that a slow minute hits all alike."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from weir_training.benching.gateway.stage import Stage, Subject

FPS: Final = 48.0
_ANSWER_TOKENS: Final = 16
_SIZES: Final = (1024, 16_384)
_USERS: Final = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` of each rate and each set of streams; `requests` of each latency; `streams` of each set."""

    rounds: int
    seconds: float
    requests: int
    streams: tuple[int, ...]


@dataclass(slots=True)
class Figures:
    """Every round's value of each figure of each subject; latencies in ms."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    memory: dict[str, list[tuple[float, int]]] = field(default_factory=dict)  # seconds and bytes

    def add(self, subject: str, **figures: float) -> None:
        mine = self.values.setdefault(subject, {})
        for name, value in figures.items():
            mine.setdefault(name, []).append(value)

    def median(self, subject: str, name: str) -> float | None:
        found = self.values.get(subject, {}).get(name)
        return median(found) if found else None

    def rss_slope(self, subject: str) -> float | None:
        """Return MB per minute: least squares over the second half, when caches have filled."""
        points = self.memory.get(subject, [])
        points = points[len(points) // 2 :]
        if len(points) < 3:
            return None
        times, sizes = [at for at, _ in points], [size / 1e6 for _, size in points]
        mean_t, mean_s = sum(times) / len(times), sum(sizes) / len(sizes)
        over = sum((t - mean_t) * (s - mean_s) for t, s in zip(times, sizes, strict=True))
        under = sum((t - mean_t) ** 2 for t in times)
        return 60 * over / under if under else None


def measure(stage: Stage, node: Subject, gateways: Sequence[Subject], plan: Plan, tell: Any) -> Figures:
    """Run all rounds. `node` is the one that all are compared with.

    Streams come first: a gateway learns what a node can do, and one that has only seen answers of a millisecond takes
    a stream's slow first token for a node in trouble.
    """
    figures = Figures()
    for number in range(plan.rounds):
        for streams in plan.streams:
            for subject in (node, *_turned(gateways, number)):
                tell(f"round {number + 1}: {subject.name}, {streams} streams")
                _streams(stage, subject, plan, streams, figures)
    for number in range(plan.rounds):
        for size in _SIZES:
            for gateway in _turned(gateways, number):
                tell(f"round {number + 1}: {gateway.name}, {size // 1024} KB")
                _latency(stage, node, gateway, plan, size, figures)
                _rates(stage, gateway, plan, size, figures)
    return figures


def _turned(gateways: Sequence[Subject], number: int) -> Sequence[Subject]:
    """Every second round goes the other way."""
    return gateways if number % 2 == 0 else tuple(reversed(gateways))


def _forms(subject: Subject) -> Iterator[str]:
    if subject.has_tgi:
        yield "tgi"
    if subject.has_openai:
        yield "openai"


def _latency(stage: Stage, node: Subject, gateway: Subject, plan: Plan, size: int, figures: Figures) -> None:
    """Ask node and gateway in turn, one request at a time."""
    form = next(_forms(gateway))
    direct = "oip" if form == "tgi" else "openai"
    for stream in (False, True):
        taken = stage.load(
            mode="latency",
            targets=[node.target(direct, stream=stream), gateway.target(form, stream=stream)],
            requests=plan.requests,
            tokens=_ANSWER_TOKENS,
            size=size,
            stream=stream,
        )
        what = f"{'ttft' if stream else 'latency'}_{size // 1024}k"
        for name in ("p50", "p99"):
            there, here = (taken[one.name][name] for one in (node, gateway))
            figures.add(gateway.name, **{f"{what}_{name}": here, f"added_{what}_{name}": here - there})


def _rates(stage: Stage, gateway: Subject, plan: Plan, size: int, figures: Figures) -> None:
    for form in _forms(gateway):
        before = gateway.cpu_s()
        done = stage.load(
            mode="rate",
            targets=[gateway.target(form)],
            seconds=plan.seconds,
            users=_USERS,
            tokens=_ANSWER_TOKENS,
            size=size,
            stream=False,
        )
        used = gateway.cpu_s() - before
        what = f"{form}_{size // 1024}k"
        figures.add(
            gateway.name,
            **{
                f"rps_{what}": done["requests"] / done["seconds"],
                f"cpu_us_{what}": 1e6 * used / (done["requests"] + _USERS),
                f"busy_{what}": used / done["seconds"],
            },
        )
    figures.memory.setdefault(gateway.name, []).append((time.monotonic(), gateway.rss_bytes()))


def _streams(stage: Stage, subject: Subject, plan: Plan, streams: int, figures: Figures) -> None:
    """Run paced streams; of a gateway the smallest set once more while its metrics are scraped."""
    is_node = subject.name == "direct"
    form = "oip" if is_node else next(_forms(subject))
    target = subject.target(form, stream=True)
    for scraped in (False, True) if subject.metrics_url and streams == min(plan.streams) else (False,):
        before = subject.cpu_s()
        done = stage.load(
            mode="paced",
            targets=[target],
            streams=streams,
            seconds=plan.seconds,
            fps=FPS,
            size=_SIZES[0],
            scrape=subject.metrics_url if scraped else None,
        )
        what = f"{'scraped_' if scraped else ''}{streams}"
        figures.add(
            subject.name,
            **{f"token_{name}_{what}": taken for name, taken in done["under_way"].items()},
            **{
                f"stalled_{what}": done["stalled"] + done["failed"],
                f"cpu_us_token_{what}": 1e6 * (subject.cpu_s() - before) / max(done["tokens"], 1),
            },
        )
