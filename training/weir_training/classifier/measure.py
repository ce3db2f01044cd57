"""Figures of a classifier: calibration, the threshold, precision, recall and the area under the curve."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
Flags = NDArray[np.bool_]
_ROUNDS: Final = 50
_RIDGE: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one group of rows at one threshold; what cannot be measured there is not a number."""

    rows: int
    sought: int
    precision: float
    recall: float
    false_positive_rate: float
    auc: float

    def as_json(self) -> dict[str, float | int | None]:
        return {name: _finite(value) for name, value in asdict(self).items()}


def calibrated(logits: Values, sought: Flags) -> tuple[float, float]:
    """Return (a, b) so that sigmoid(a x logit + b) is how often such a text is one that is looked for.

    Source: Platt 1999, with his smoothed targets; Newton's method with a little ridge.
    """
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    positives, negatives = int(sought.sum()), int((~sought).sum())
    target = np.where(sought, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    weights = np.array([1.0, 0.0])
    for _ in range(_ROUNDS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        gradient = x.T @ (p - target) + _RIDGE * (weights - [1.0, 0.0])
        curvature = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - np.clip(step, -1.0, 1.0)
        if float(np.abs(step).max()) < 1e-9:
            break
    return max(float(weights[0]), 1e-3), float(weights[1])


def threshold_at(scores: Values, sought: Flags, rate: float) -> float:
    """Return the lowest threshold at which no more than `rate` of the rows that are fine reach it."""
    fine = np.sort(scores[~sought].astype(np.float64))[::-1]
    allowed = math.floor(rate * len(fine))
    if allowed >= len(fine):
        return float(fine[-1])
    above = fine[allowed]  # this one must stay below
    higher = scores[scores > above]
    return float((above + float(higher.min())) / 2) if len(higher) else float(np.nextafter(np.float32(above), 2.0))


def figures(scores: Values, sought: Flags, threshold: float) -> Figures:
    """Measure at `threshold`; a score that equals it is a find."""
    return figures_of_finds(scores >= threshold, sought, auc=auc(scores, sought))


def figures_of_finds(found: Flags, sought: Flags, *, auc: float = math.nan) -> Figures:
    """Measure finds that have no score."""
    right, wrong = int((found & sought).sum()), int((found & ~sought).sum())
    positives, negatives = int(sought.sum()), int((~sought).sum())
    return Figures(
        rows=len(sought),
        sought=positives,
        precision=_share(right, right + wrong),
        recall=_share(right, positives),
        false_positive_rate=_share(wrong, negatives),
        auc=auc,
    )


def auc(scores: Values, sought: Flags) -> float:
    """Return how often a row that is looked for scores above one that is fine; equal scores count half."""
    positives, negatives = scores[sought], np.sort(scores[~sought])
    if not len(positives) or not len(negatives):
        return math.nan
    below = np.searchsorted(negatives, positives, "left")
    upto = np.searchsorted(negatives, positives, "right")
    return float((below + upto).sum() / (2 * len(positives) * len(negatives)))


def groups(names: Sequence[str]) -> dict[str, Flags]:
    """Return who is in each group, `all` first."""
    every = np.array(names)
    return {"all": np.ones(len(names), bool)} | {name: every == name for name in sorted(set(names))}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
