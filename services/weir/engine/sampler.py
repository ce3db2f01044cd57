"""Chooses the next token of one request."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weir.contracts.request import SamplingParams

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Choice:
    """`logprob` is the natural log of the token's probability under the unchanged logits; 0.0 when not asked for."""

    token: int
    logprob: float


class Sampler:
    """One request's sampling state: a generator of its own, so that nobody in the same batch changes the draw.

    The order is transformers': repetition penalty over prompt and completion, temperature, top-k, top-p.
    """

    def __init__(
        self, params: SamplingParams, prompt: list[int], *, vocab_size: int, with_logprobs: bool = False
    ) -> None:
        self._params = params
        self._with_logprobs = with_logprobs
        self._random = np.random.default_rng(params.seed)
        self._seen: NDArray[np.bool_] | None = None
        if params.repetition_penalty != 1.0:
            self._seen = np.zeros(vocab_size, np.bool_)
            self._seen[[t for t in prompt if t < vocab_size]] = True

    def choose(self, logits: Logits) -> Choice:
        """Return the next token; `logits`, shape (vocabulary,), float32, are left as they are."""
        scores = logits if self._seen is None else penalised(logits, self._seen, self._params.repetition_penalty)
        token = int(scores.argmax()) if self._params.is_greedy else self._draw(scores)
        if self._seen is not None:
            self._seen[token] = True
        return Choice(token, log_probability(logits, token) if self._with_logprobs else 0.0)

    def _draw(self, scores: Logits) -> int:
        ids, probabilities = filtered(scores, self._params)
        edges = np.cumsum(probabilities)
        at = int(np.searchsorted(edges, self._random.random() * edges[-1], side="right"))
        return int(ids[min(at, len(ids) - 1)])


def penalised(logits: Logits, seen: NDArray[np.bool_], penalty: float) -> Logits:
    """Return a copy in which tokens that were seen are less likely: positive logits divided, negative multiplied.

    Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1.
    """
    scores = logits.copy()
    values = scores[seen]
    scores[seen] = np.where(values < 0, values * penalty, values / penalty)
    return scores


def filtered(scores: Logits, params: SamplingParams) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the ids that may be drawn, likeliest first, and their probabilities, which sum to 1.

    Tokens level with the k-th stay, as in transformers. Ids with equal scores are in ascending order.
    """
    scaled = scores.astype(np.float64) / params.temperature
    ids = _top_k(scaled, params.top_k)
    ids = ids[np.argsort(-scaled[ids], kind="stable")]
    probabilities = np.exp(scaled[ids] - scaled[ids[0]])
    probabilities /= probabilities.sum()
    if params.top_p < 1.0:
        before = np.cumsum(probabilities) - probabilities
        keep = max(int(np.count_nonzero(before < params.top_p)), 1)
        ids, probabilities = ids[:keep], probabilities[:keep] / probabilities[:keep].sum()
    return ids, probabilities


def _top_k(scaled: NDArray[np.float64], top_k: int) -> NDArray[np.intp]:
    if not 0 < top_k < len(scaled):
        return np.arange(len(scaled))
    threshold = np.partition(scaled, -top_k)[-top_k]
    return np.flatnonzero(scaled >= threshold)


def log_probability(logits: Logits, token: int) -> float:
    """Log-softmax of one token, natural logarithm."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return float(shifted[token] - np.log(np.exp(shifted).sum()))
