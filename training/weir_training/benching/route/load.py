"""What callers send: arrivals in bursts, lengths with long tails, prompts that begin alike; the seed fixes it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

_BURST: Final = 3.0  # times the mean rate
_BURST_SHARE: Final = 0.2  # of the time
_BURST_S: Final = 1.0  # on average
_LEAST: Final = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """Lengths in tokens: medians and spreads of lognormal distributions, and the most there can be.

    `families` prompts begin alike, with `shared` tokens, the first of them more often than the next (Zipf).
    """

    prompt: int = 180
    prompt_sigma: float = 1.0
    prompt_most: int = 4096
    answer: int = 80
    answer_sigma: float = 0.9
    answer_most: int = 1024
    families: int = 64
    shared: int = 96

    @property
    def mean_prompt(self) -> float:
        return self.shared + self.prompt * math.exp(self.prompt_sigma**2 / 2)

    @property
    def mean_answer(self) -> float:
        return self.answer * math.exp(self.answer_sigma**2 / 2)


class Call(NamedTuple):
    """One request: when it comes, how long it is, how long its answer will be, which prompts begin like its own."""

    at_s: float
    prompt_tokens: int
    answer_tokens: int
    most_tokens: int
    family: int
    shared_tokens: int

    @property
    def beginning(self) -> tuple[int, int]:
        """Its family, and how many tokens all of that have in common."""
        return self.family, self.shared_tokens


def calls(shape: Shape, *, rate: float, seconds: float, seed: int) -> Iterator[Call]:
    """Yield requests in order of arrival: a Poisson process whose rate jumps between bursts and calm."""
    dice = Random(seed)  # noqa: S311  nothing secret
    calm = rate * (1 - _BURST * _BURST_SHARE) / (1 - _BURST_SHARE)
    weights = [1 / (rank + 1) for rank in range(shape.families)]
    families = dice.choices(range(shape.families), weights, k=4096)
    now, is_burst, changes_at = 0.0, False, 0.0
    while True:
        pause = dice.expovariate(rate * _BURST if is_burst else calm)
        if now + pause >= changes_at:  # memoryless: what is left of the pause is drawn anew
            now, is_burst = changes_at, not is_burst
            share = _BURST_SHARE if is_burst else 1 - _BURST_SHARE
            changes_at = now + dice.expovariate(_BURST_SHARE / (_BURST_S * share))
            if now >= seconds:
                return
            continue
        now += pause
        if now >= seconds:
            return
        answer = _length(dice, shape.answer, shape.answer_sigma, shape.answer_most)
        yield Call(
            now,
            shape.shared + _length(dice, shape.prompt, shape.prompt_sigma, shape.prompt_most),
            answer,
            _asked(dice, answer, shape.answer_most),
            families[dice.getrandbits(12)],
            shape.shared,
        )


def _length(dice: Random, middle: int, sigma: float, most: int) -> int:
    return max(_LEAST, min(most, round(dice.lognormvariate(math.log(middle), sigma))))


def _asked(dice: Random, answer: int, most: int) -> int:
    """Return the bound that a caller sets: mostly a round number well above what he gets."""
    bound = 1 << (answer - 1).bit_length()
    return min(most, max(bound, answer) * (2 if dice.random() < 0.5 else 1) if dice.random() < 0.7 else most)
