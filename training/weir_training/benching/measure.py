"""Interleaved rounds over all contestants: a machine that slows down slows them all."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from weir.contracts.errors import JobError
from weir_training.benching.contestants import Contestant, Label, Sample
from weir_training.benching.peers.entry import Missing
from weir_training.benching.prompts import Prompt, PromptMaker
from weir_training.progress import Progress, Tick

PROMPT_TOKENS: Final = 256
PREFILL: Final = 0  # stands for "one prompt read" where a number of users is expected


@dataclass(frozen=True, slots=True)
class Plan:
    """What each contestant does in each round: read a prompt, then decode for each number of users."""

    users: tuple[int, ...]
    rounds: int
    steps: int


@dataclass(slots=True)
class Seen:
    """All that was measured of one contestant: tokens/s per number of users (`PREFILL` for reading), one per round."""

    label: Label
    speeds: dict[int, list[float]] = field(default_factory=dict)
    rss_bytes: int = 0
    failed: str | None = None


@dataclass(frozen=True, slots=True)
class Middle:
    """Median of the rounds, and half of what lies between the least and the most, as a share of it."""

    median: float
    spread: float


def middle(values: Sequence[float]) -> Middle:
    """Raises ValueError without values."""
    if not values:
        raise ValueError("nothing was measured")
    median = statistics.median(values)
    return Middle(median, (max(values) - min(values)) / 2 / median)


def measure(
    contestants: Iterable[Contestant | Missing],
    prompts: PromptMaker,
    plan: Plan,
    progress: Progress,
    on_round: Callable[[], None],
    sample: Sample | None = None,
) -> tuple[list[Seen], list[Missing]]:
    """Load everyone, then take turns; return what was seen, and who could not be had or failed before any figure.

    `on_round` is called before every round that counts. With a `sample`, everyone's label gets its divergence on it.
    """
    missing: list[Missing] = []
    opened: list[tuple[Contestant, Seen]] = []
    try:
        for one in list(contestants):  # all are installed and converted before the first is loaded
            if isinstance(one, Missing):
                missing.append(one)
            else:
                _open(one, opened, missing, sample, progress)
        _rounds(opened, _prompts(prompts, plan), plan, progress, on_round)
    finally:
        for one, _ in opened:
            one.close()
    return [seen for _, seen in opened], missing


def _open(
    one: Contestant,
    opened: list[tuple[Contestant, Seen]],
    missing: list[Missing],
    sample: Sample | None,
    progress: Progress,
) -> None:
    progress(Tick("load", len(opened), len(opened) + 1, one.label.name))
    try:
        one.open()
        label = one.label if sample is None else replace(one.label, kl=one.divergence(sample))
    except (JobError, OSError) as error:
        one.close()
        missing.append(Missing(one.label.name, str(error)))
        return
    opened.append((one, Seen(label)))
    progress(Tick("load", len(opened), len(opened), one.label.name))


def _prompts(maker: PromptMaker, plan: Plan) -> list[Prompt]:
    return [maker.make(seed, PROMPT_TOKENS) for seed in range(max(plan.users))]


def _rounds(
    opened: Sequence[tuple[Contestant, Seen]],
    prompts: Sequence[Prompt],
    plan: Plan,
    progress: Progress,
    on_round: Callable[[], None],
) -> None:
    turns = (PREFILL, *plan.users)
    total = (plan.rounds + 1) * len(turns) * len(opened)
    done = 0
    for number in range(plan.rounds + 1):  # round 0 warms up: it is not counted, and takes few steps
        if number:
            on_round()
        for users in turns:
            for one, seen in opened:
                progress(Tick("rounds", done, total, f"{one.label.name} @{users or 'prefill'}"))
                if seen.failed is None:
                    _turn(one, seen, prompts, users, plan.steps if number else 2, is_counted=number > 0)
                done += 1
    progress(Tick("rounds", total, total, "done"))


def _turn(one: Contestant, seen: Seen, prompts: Sequence[Prompt], users: int, steps: int, *, is_counted: bool) -> None:
    try:
        speed = one.prefill(prompts[0]) if users == PREFILL else one.decode(prompts[:users], steps)
    except JobError as error:
        seen.failed = str(error)
        return
    seen.rss_bytes = max(seen.rss_bytes, one.rss_bytes)
    if is_counted:
        seen.speeds.setdefault(users, []).append(speed.tokens_per_s)
