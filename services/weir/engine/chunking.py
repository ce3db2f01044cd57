"""How many prompt tokens a step may read beside the streams that decode."""

import itertools
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from weir.engine.sequence import Sequence

_WEIGHT = 0.1
_OUTLIER = 3.0  # a step that took longer than this many times its mean says little about the next
_REFIT_STEPS = 32
_FADING_STEPS = 2000
# Until the steps tell: a step's fixed part costs as much as so many tokens, and a token as so many positions read.
_PRIOR_FIXED, _PRIOR_READS = 16.0, 1024.0
_PRIOR_WEIGHT = 0.01
_FEATURES = 3
_SHARES = 4
SHORT_TOKENS = 256  # a prompt of which no more than this must be read is short
FLOOR_TOKENS = 4  # sixteen beside one stream of a 0.5B shape take three times as long as the stream alone


def positions_read(size: int, past: int) -> int:
    """Positions that attention looks at for `size` tokens which follow `past` others."""
    return size * past + size * (size + 1) // 2


class StepTimes:
    """Seconds of a step as `fixed + per_token * tokens + per_read * reads`, from the steps seen so far.

    `reads` are the positions that attention looks at: late in a long prompt they cost more than all else. There is a
    running mean per power of two of both, so that long stretches of equal steps do not wash out the others.
    """

    def __init__(self) -> None:
        self._means: dict[tuple[int, int], _Mean] = {}
        self._line = (0.0, 0.0, 0.0)
        self._seen = 0

    @property
    def is_known(self) -> bool:
        return self._seen > 0

    @property
    def fixed(self) -> float:
        return self._line[0]

    @property
    def per_token(self) -> float:
        return self._line[1]

    @property
    def per_read(self) -> float:
        return self._line[2]

    def seconds(self, tokens: int, reads: int) -> float:
        return self._line[0] + self._line[1] * tokens + self._line[2] * reads

    def observe(self, tokens: int, reads: int, seconds: float) -> None:
        key = (tokens.bit_length(), reads.bit_length())
        known = self._means.get(key)
        if known is None:
            self._means[key] = _Mean(tokens, reads, seconds, self._seen)
        else:
            known.add(tokens, reads, seconds, self._seen)
        if known is None or self._seen % _REFIT_STEPS == 0:
            self._fit()
        self._seen += 1

    def _fit(self) -> None:
        """Least squares of the relative error over the means, no coefficient below zero."""
        points = np.array([mean.point(self._seen) for mean in self._means.values()])
        times, weights = points[:, _FEATURES], points[:, _FEATURES + 1]
        rows = points[:, :_FEATURES] * (weights / times)[:, None]
        typical = _PRIOR_WEIGHT / (times.mean() / (_PRIOR_FIXED + points[:, 1].mean()))
        priors = np.array([[1 / _PRIOR_FIXED, -1, 0], [0, 1, -_PRIOR_READS]]) * typical
        self._line = _non_negative(np.vstack((rows, priors)), np.concatenate((weights, np.zeros(len(priors)))))


class _Mean:
    """Of steps that are alike."""

    def __init__(self, tokens: int, reads: int, seconds: float, now: int) -> None:
        self._tokens, self._reads, self._seconds, self._last = float(tokens), float(reads), max(seconds, 1e-9), now

    def add(self, tokens: int, reads: int, seconds: float, now: int) -> None:
        self._tokens += _WEIGHT * (tokens - self._tokens)
        self._reads += _WEIGHT * (reads - self._reads)
        self._seconds += _WEIGHT * (min(max(seconds, 1e-9), self._seconds * _OUTLIER) - self._seconds)
        self._last = now

    def point(self, now: int) -> tuple[float, float, float, float, float]:
        """Return the features, the seconds, and a weight that fades with age."""
        return 1.0, self._tokens, self._reads, self._seconds, 1.0 / (1.0 + (now - self._last) / _FADING_STEPS)


def _non_negative(rows: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the coefficients, none negative, with the least squared error; of three, so every subset is tried."""
    best, least = (0.0, 0.0, 0.0), math.inf
    for chosen in _subsets():
        part = rows[:, chosen]
        found = np.linalg.lstsq(part, targets, rcond=None)[0]
        error = float(((part @ found - targets) ** 2).sum())
        if error < least and (found >= 0).all():
            line = np.zeros(_FEATURES)
            line[chosen] = found
            best, least = (float(line[0]), float(line[1]), float(line[2])), error
            if len(chosen) == _FEATURES:
                break
    return best


def _subsets() -> Iterator[list[int]]:
    for count in range(_FEATURES, 0, -1):
        yield from map(list, itertools.combinations(range(_FEATURES), count))


class Budget:
    """What a step may spend on prompts, in tokens at the beginning of a prompt; short prompts may use more of it."""

    def __init__(self, long: float, short: float) -> None:
        self._long, self._short = long, short
        self._spent = 0.0

    def left(self, unread: int) -> float:
        """What a prompt may still use, of which so many tokens were unread when it was started."""
        return (self._short if unread <= SHORT_TOKENS else self._long) - self._spent

    def spend(self, cost: float) -> None:
        self._spent += cost

    @property
    def is_spent(self) -> bool:
        """Whether no prompt gets anything more."""
        return self._spent >= self._short

    @property
    def is_full(self) -> bool:
        """Whether long prompts get nothing more: the step is full."""
        return self._spent >= self._long


class Chunking(Protocol):
    """Decides where prompts are cut."""

    def budget(self, decoding: int, reads: int, prompts: int) -> Budget:
        """What a step may spend on `prompts` prompts in which `decoding` streams look at `reads` positions."""
        ...

    def size(self, sequence: Sequence, cached: int, budget: float) -> int:
        """How many tokens of the sequence to read now, `cached` of them being there; 0: wait for another step."""
        ...

    def cost(self, size: int, cached: int) -> float:
        """What of the budget so many tokens use."""
        ...


class FixedChunks:
    """Borders depend on the prompt alone: for models whose answer depends on how a prompt is cut."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def budget(self, decoding: int, reads: int, prompts: int) -> Budget:  # noqa: ARG002  the protocol's
        return Budget(self._tokens, self._tokens)

    def size(self, sequence: Sequence, cached: int, budget: float) -> int:
        size = min(self._tokens - cached % self._tokens, len(sequence.tokens) - cached)
        return size if size <= budget else 0

    def cost(self, size: int, cached: int) -> float:  # noqa: ARG002  the protocol's
        return size


class AdaptiveChunks:
    """As much as keeps the predicted step below `stretch` times a step that only decodes, but `FLOOR_TOKENS`.

    That is for one prompt. Several share the machine with the streams: each, up to `_SHARES`, lengthens the step by as
    much again. Otherwise prompts would queue while streams run at half their speed (measured: 16 users of a 0.5B
    shape waited 5 s for a first token).
    Short prompts are read at once, `SHORT_TOKENS` in a step: whoever waits for a first token sees all of it, streams a
    single gap (measured: 0.6 of the time to a first token, and streams no slower on average: fewer steps are long).
    With nothing decoding, what takes as long as `ceiling` tokens at the beginning of a prompt: newcomers wait for it.
    """

    def __init__(self, times: StepTimes, *, ceiling: int, stretch: float = 1.8) -> None:
        self._times = times
        self._ceiling = ceiling
        self._floor = min(FLOOR_TOKENS, ceiling)
        self._stretch = stretch

    def budget(self, decoding: int, reads: int, prompts: int) -> Budget:
        per_token = self._times.per_token
        if not decoding or (self._times.is_known and per_token <= 0):
            return Budget(self._ceiling, self._ceiling)
        fixed = self._times.seconds(decoding, reads) / per_token if per_token > 0 else _PRIOR_FIXED + decoding
        share = (self._stretch - 1.0) * fixed
        shares = min(max(prompts, 1), _SHARES)
        long = self._bounded(shares * share)
        return Budget(long, max(long, min(SHORT_TOKENS, self._ceiling)))

    def _bounded(self, budget: float) -> float:
        return min(max(budget, self._floor), self._ceiling)

    def size(self, sequence: Sequence, cached: int, budget: float) -> int:
        """At least the floor: a prompt must come to its end, however long."""
        pending = len(sequence.tokens) - cached
        each, pairs = 1.0 + self._per_read * cached, self._per_read / 2
        most = budget / each if not pairs else (math.sqrt(each * each + 4 * pairs * budget) - each) / (2 * pairs)
        return min(pending, max(int(most), min(self._floor, math.ceil(budget))), self._ceiling)

    def cost(self, size: int, cached: int) -> float:
        return size + self._per_read * positions_read(size, cached)

    @property
    def _per_read(self) -> float:
        """What looking at a position costs, in tokens."""
        return self._times.per_read / self._times.per_token if self._times.per_token > 0 else 0.0
