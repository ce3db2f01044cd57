"""Runs a load in interleaved rounds and sums it up. Knows neither engine nor gateway."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from weir.contracts.errors import UsageError

MAX_CONCURRENCY = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: seconds to its first token and to its end, and how many tokens it had."""

    first_s: float
    total_s: float
    tokens: int

    @property
    def per_token_s(self) -> float | None:
        """Mean time between tokens after the first; None for an answer of one token."""
        return (self.total_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else None


Ask = Callable[[int], Awaitable[Sample]]


@dataclass(frozen=True, slots=True)
class Plan:
    """`requests` answers per round and concurrency; `tokens` per answer at most."""

    concurrencies: tuple[int, ...]
    rounds: int
    requests: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one concurrency. `tokens_per_s` is the median of the rounds; latencies are over all answers, in ms."""

    concurrency: int
    tokens_per_s: float
    first_token_ms_p50: float
    first_token_ms_p99: float
    per_token_ms_p50: float
    per_token_ms_p99: float
    answers: int
    tokens: int


def parse_concurrencies(text: str, option: str = "--concurrency") -> tuple[int, ...]:
    """Return e.g. (1, 4, 8) for "1,4,8".

    Raises:
        UsageError: not numbers, or out of 1..256.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text}: expected numbers such as 1,4,8") from error
    if not found or any(not 1 <= number <= MAX_CONCURRENCY for number in found):
        raise UsageError(f"{option} {text}: each must be from 1 to {MAX_CONCURRENCY}")
    return found


async def measure(plan: Plan, ask: Ask) -> list[Figures]:
    """Warm up, then run every concurrency once per round, so that a slow minute of the machine hits all alike.

    `ask` is given a running number and returns when its answer is whole.
    """
    await ask(0)
    speeds: dict[int, list[float]] = {number: [] for number in plan.concurrencies}
    samples: dict[int, list[Sample]] = {number: [] for number in plan.concurrencies}
    for _ in range(plan.rounds):
        for number in plan.concurrencies:
            began = time.perf_counter()
            answers = await _round(number, max(plan.requests, number), ask)
            speeds[number].append(sum(a.tokens for a in answers) / (time.perf_counter() - began))
            samples[number] += answers
    return [_figures(number, speeds[number], samples[number]) for number in plan.concurrencies]


def table(figures: Sequence[Figures]) -> str:
    head = (
        f"{'at once':>7} {'tokens/s':>10} {'TTFT p50':>10} {'p99':>8} {'TPOT p50':>10} {'p99':>8} {'answers':>8}   (ms)"
    )
    rows = [
        f"{f.concurrency:>7} {f.tokens_per_s:>10.0f} {f.first_token_ms_p50:>10.2f} {f.first_token_ms_p99:>8.2f} "
        f"{f.per_token_ms_p50:>10.3f} {f.per_token_ms_p99:>8.3f} {f.answers:>8}"
        for f in figures
    ]
    return "\n".join([head, *rows])


def as_dicts(figures: Sequence[Figures]) -> list[dict[str, Any]]:
    return [asdict(found) for found in figures]


async def _round(concurrency: int, requests: int, ask: Ask) -> list[Sample]:
    """Let `concurrency` clients work off the requests, each asking again as soon as it was answered."""
    numbers = iter(range(requests))

    async def client() -> list[Sample]:
        return [await ask(number) for number in numbers]

    clients = [asyncio.create_task(client()) for _ in range(concurrency)]
    try:
        done = await asyncio.gather(*clients)
    finally:
        for task in clients:  # the first failure ends the round
            task.cancel()
    return [sample for samples in done for sample in samples]


def _figures(concurrency: int, speeds: Sequence[float], samples: Sequence[Sample]) -> Figures:
    first = sorted(sample.first_s * 1e3 for sample in samples)
    between = sorted(t * 1e3 for sample in samples if (t := sample.per_token_s) is not None) or [0.0]
    return Figures(
        concurrency=concurrency,
        tokens_per_s=round(median(speeds), 1),
        first_token_ms_p50=round(_quantile(first, 0.5), 3),
        first_token_ms_p99=round(_quantile(first, 0.99), 3),
        per_token_ms_p50=round(_quantile(between, 0.5), 4),
        per_token_ms_p99=round(_quantile(between, 0.99), 4),
        answers=len(samples),
        tokens=sum(sample.tokens for sample in samples),
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank)."""
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]
