"""A mixed load as real callers make it, and what is said of how it was served. No clocks, no processes.

Arrivals are a Poisson process; lengths of questions and answers are lognormal, that is mostly short with a long tail;
every prompt begins with the same system text. The seed fixes all of it, so every contestant serves the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Any, Final

from weir_training.benching.prompts import Prompt, PromptMaker

_PROMPT_MEDIAN, _PROMPT_SIGMA = 96, 0.8
_ANSWER_MEDIAN, _ANSWER_SIGMA = 64, 0.7
_LEAST: Final = 8
_SYSTEM_SEED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens: of the shared system text, and the most of a question and of an answer."""

    system: int
    question_most: int
    answer_most: int

    @classmethod
    def within(cls, context_tokens: int) -> "Lengths":
        """Return lengths that fit any request into the context; 256, 512 and 256 where it is long enough."""
        part = context_tokens // 4
        return cls(min(256, part), min(512, part), min(256, part))


@dataclass(frozen=True, slots=True)
class Request:
    """One arrival: seconds after the start, its prompt, and exactly how many tokens its answer has."""

    arrival_s: float
    prompt: Prompt
    new_tokens: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "arrival_s": self.arrival_s,
            "text": self.prompt.text,
            "ids": list(self.prompt.ids),
            "new_tokens": self.new_tokens,
        }


@dataclass(frozen=True, slots=True)
class Goal:
    """What a caller was promised, in seconds; goodput counts only the tokens of answers that kept it."""

    first_s: float
    per_token_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds from arrival to the first and to the last token; how many tokens; the end, since the load began."""

    first_s: float
    total_s: float
    tokens: int
    ended_s: float

    @property
    def per_token_s(self) -> float:
        return (self.total_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else 0.0

    def meets(self, goal: Goal) -> bool:
        return self.tokens > 0 and self.first_s <= goal.first_s and self.per_token_s <= goal.per_token_s


@dataclass(frozen=True, slots=True)
class Score:
    """Latencies over all answers of all repeats, in seconds; rates are medians of the repeats, in tokens/s."""

    first_p50: float
    first_p90: float
    first_p99: float
    per_token_p50: float
    per_token_p99: float
    tokens_per_s: float
    goodput: float
    met: float
    answers: int


def mixed_trace(maker: PromptMaker, lengths: Lengths, *, rate: float, count: int, seed: int) -> tuple[Request, ...]:
    """Return `count` requests that arrive at `rate` per second on average, in order of arrival."""
    dice = Random(seed)  # noqa: S311  nothing secret
    system = maker.make(_SYSTEM_SEED + seed, lengths.system)
    requests, now = [], 0.0
    for number in range(count):
        now += dice.expovariate(rate)
        question = _lognormal(dice, _PROMPT_MEDIAN, _PROMPT_SIGMA, lengths.question_most)
        answer = _lognormal(dice, _ANSWER_MEDIAN, _ANSWER_SIGMA, lengths.answer_most)
        requests.append(Request(now, maker.make(_SYSTEM_SEED + seed + 1 + number, question, after=system.text), answer))
    return tuple(requests)


def crowd(maker: PromptMaker, *, count: int, prompt_tokens: int, new_tokens: int) -> tuple[Request, ...]:
    """Return requests of one size that are all there from the start, for a fixed number of users to work off."""
    return tuple(Request(0.0, maker.make(seed, prompt_tokens), new_tokens) for seed in range(count))


def mean_tokens(requests: Sequence[Request]) -> tuple[float, float]:
    """Return the mean tokens of a prompt, system text included, and of an answer."""
    prompts = sum(len(request.prompt.ids) for request in requests)
    return prompts / len(requests), sum(request.new_tokens for request in requests) / len(requests)


def score(requests: Sequence[Request], repeats: Sequence[Sequence[Answer]], goal: Goal) -> Score:
    """Sum up the answers; `repeats[r][n]` answers `requests[n]`.

    Raises:
        ValueError: no answers, or not one for each request.
    """
    if not repeats or any(len(answers) != len(requests) for answers in repeats):
        raise ValueError("expected one answer to each request, in every repeat")
    every = [answer for answers in repeats for answer in answers]
    first = sorted(answer.first_s for answer in every)
    between = sorted(answer.per_token_s for answer in every)
    rates = [_rates(answers, goal) for answers in repeats]
    return Score(
        first_p50=quantile(first, 0.5),
        first_p90=quantile(first, 0.9),
        first_p99=quantile(first, 0.99),
        per_token_p50=quantile(between, 0.5),
        per_token_p99=quantile(between, 0.99),
        tokens_per_s=median(total for total, _ in rates),
        goodput=median(good for _, good in rates),
        met=sum(answer.meets(goal) for answer in every) / len(every),
        answers=len(every),
    )


def _rates(answers: Sequence[Answer], goal: Goal) -> tuple[float, float]:
    """Tokens/s of all answers and of those that kept the goal, from the start to the last token of all."""
    span = max(answer.ended_s for answer in answers)
    good = sum(answer.tokens for answer in answers if answer.meets(goal))
    return sum(answer.tokens for answer in answers) / span, good / span


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _lognormal(dice: Random, middle: int, sigma: float, most: int) -> int:
    return max(min(_LEAST, most), min(most, round(dice.lognormvariate(math.log(middle), sigma))))
