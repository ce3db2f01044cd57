"""How many prompt tokens a step may read beside the streams that decode."""

from typing import Protocol

from weir.engine.sequence import Sequence

_WEIGHT = 0.1
_OUTLIER = 3.0  # a step that took longer than this many times its mean says little about the next
_REFIT_STEPS = 8
_PRIOR_RATIO = 16.0  # tokens that cost as much as a step's fixed part, until something was measured
FLOOR_TOKENS = 16


class StepTimes:
    """Seconds of a step as a line over its tokens, `fixed + per_token * tokens`, from the steps seen so far.

    One running mean per power of two of tokens, so that long stretches of equal steps do not wash out the others.
    """

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float]] = {}
        self._fixed = 0.0
        self._per_token = 0.0
        self._seen = 0

    @property
    def is_known(self) -> bool:
        return self._seen > 0

    @property
    def fixed(self) -> float:
        return self._fixed

    @property
    def per_token(self) -> float:
        return self._per_token

    @property
    def tokens_per_fixed(self) -> float:
        """How many tokens cost as much as the fixed part."""
        return self._fixed / self._per_token if self._per_token > 0 else _PRIOR_RATIO

    def seconds(self, tokens: int) -> float:
        return self._fixed + self._per_token * tokens

    def observe(self, tokens: int, seconds: float) -> None:
        bucket = tokens.bit_length()
        known = self._means.get(bucket)
        if known is None:
            self._means[bucket] = (float(tokens), seconds)
        else:
            count, mean = known
            clipped = min(seconds, mean * _OUTLIER)
            self._means[bucket] = (count + _WEIGHT * (tokens - count), mean + _WEIGHT * (clipped - mean))
        if known is None or self._seen % _REFIT_STEPS == 0:
            self._fit()
        self._seen += 1

    def _fit(self) -> None:
        """Least squares of the relative error over the means."""
        points = [(n, t, 1.0 / (t * t)) for n, t in self._means.values() if t > 0]
        weight = sum(w for _, _, w in points)
        if not weight:
            return
        n_mean = sum(w * n for n, _, w in points) / weight
        t_mean = sum(w * t for _, t, w in points) / weight
        spread = sum(w * (n - n_mean) ** 2 for n, _, w in points)
        if spread > weight:  # means that differ by a token or more
            slope = sum(w * (n - n_mean) * (t - t_mean) for n, t, w in points) / spread
        else:
            slope = t_mean / (_PRIOR_RATIO + n_mean)
        self._per_token = min(max(slope, 0.0), t_mean / n_mean)
        self._fixed = t_mean - self._per_token * n_mean


class Chunking(Protocol):
    """Decides where prompts are cut."""

    def budget(self, decoding: int) -> int:
        """Prompt tokens that a step with `decoding` streams may read."""
        ...

    def size(self, sequence: Sequence, cached: int, budget: int) -> int:
        """How many tokens of the sequence to read now, `cached` of them being there; 0: wait for another step."""
        ...


class FixedChunks:
    """Borders depend on the prompt alone: for models whose answer depends on how a prompt is cut."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def budget(self, decoding: int) -> int:  # noqa: ARG002  the protocol's
        return self._tokens

    def size(self, sequence: Sequence, cached: int, budget: int) -> int:
        size = min(self._tokens - cached % self._tokens, len(sequence.tokens) - cached)
        return size if size <= budget else 0


class AdaptiveChunks:
    """As much as keeps the predicted step below `stretch` times a step that only decodes, but `FLOOR_TOKENS`."""

    def __init__(self, times: StepTimes, *, ceiling: int, stretch: float = 1.8) -> None:
        self._times = times
        self._ceiling = ceiling
        self._stretch = stretch

    def budget(self, decoding: int) -> int:
        if not decoding:
            return self._ceiling
        room = (self._stretch - 1.0) * (self._times.tokens_per_fixed + decoding)
        return min(max(int(room), FLOOR_TOKENS), self._ceiling)

    def size(self, sequence: Sequence, cached: int, budget: int) -> int:
        return min(len(sequence.tokens) - cached, budget)
