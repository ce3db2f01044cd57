"""Log-probabilities under a model's own logits."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from weir.engine.draw import top_ids
from weir.engine.step import Logits, PositionLogits

NEVER: Final = -9999.0  # JSON has no infinity; OpenAI's API says it so


@dataclass(frozen=True, slots=True)
class Scored:
    """A token's natural log-probability and those of the likeliest tokens of its place, likeliest first.

    `NEVER` is that of a token which the graph cannot say.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


def scored(position: PositionLogits, token: int, top: int) -> Scored | None:
    """Return what `position` says of `token` and of its `top` likeliest tokens; None: it says too little."""
    logit = _logit(position, token)
    if logit is None:
        return None
    likeliest = _likeliest(position, top)
    normaliser = position.logsumexp
    if normaliser is None and position.full is not None:
        normaliser = log_sum_exp(position.full)
    if likeliest is None or normaliser is None:
        return None
    pairs = tuple((int(i), _bounded(float(value) - normaliser)) for i, value in zip(*likeliest, strict=True))
    return Scored(_bounded(logit - normaliser), pairs)


def _bounded(logprob: float) -> float:
    return max(min(logprob, 0.0), NEVER)


def log_sum_exp(logits: Logits) -> float:
    """Natural log of the sum of exp; summed in float64."""
    highest = logits.max()
    return float(highest) + float(np.log(np.exp(logits - highest).sum(dtype=np.float64)))


def _logit(position: PositionLogits, token: int) -> float | None:
    if position.full is not None:
        return float(position.full[token])
    if position.ids is None or position.logits is None:
        return None
    found = np.flatnonzero(position.ids == token)
    return float(position.logits[found[0]]) if len(found) else None


def _likeliest(position: PositionLogits, count: int) -> tuple[np.ndarray, Logits] | None:
    if count == 0:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    if position.ids is not None and position.logits is not None and len(position.ids) >= count:
        return position.ids[:count], position.logits[:count]
    if position.full is None:
        return None
    ids = top_ids(position.full, count)
    return ids, position.full[ids]
