"""Chooses the next token of one request."""

from collections.abc import Collection
from dataclasses import dataclass
from secrets import randbits

import numpy as np

from weir.contracts.errors import ValidationError
from weir.contracts.request import SamplingParams
from weir.engine.constraints import Constraint
from weir.engine.draw import Shortlist, draw, shortlist_of, uniform
from weir.engine.logprobs import scored
from weir.engine.penalties import Penalties
from weir.engine.step import Detail, Logits, PositionLogits

_FULL_AFTER_MISS = 8  # positions; doubled with every miss


@dataclass(frozen=True, slots=True)
class Choice:
    """`logprob` and `top` are natural and under the unchanged logits; 0.0 and empty when not asked for."""

    token: int
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """One request's sampling state; it advances when a token is chosen and never otherwise.

    The draw for a place in the completion depends on the seed, the place and the logits there: not on who shares the
    batch, nor on how often or in how much detail the place was computed. Order and sources: `SamplingParams`; the cuts
    are those of transformers, but that top-k keeps exactly k tokens when some are level with the k-th.

    Args:
        params: `seed` none: one is drawn now.
        prompt: token ids, for the repetition penalty.
        vocab_size: how many logits a full position has.
        end_ids: tokens that must not come before `min_new_tokens`.
        constraint: what the grammar lets come next; advanced with every choice.
        with_logprobs: whether choices carry log-probabilities (`params.logprobs` says how many more beside them).
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: Collection[int],
        *,
        vocab_size: int,
        end_ids: Collection[int] = (),
        constraint: Constraint | None = None,
        with_logprobs: bool = False,
    ) -> None:
        self._params = params
        self._seed = randbits(64) if params.seed is None else params.seed
        self._vocab_size = vocab_size
        self._penalties = Penalties(params, prompt, vocab_size)
        self._end_ids = np.array([token for token in end_ids if token < vocab_size], np.int64)
        self._constraint = constraint
        self._with_logprobs = with_logprobs
        self._chosen = 0
        self._misses = 0
        self._full_until = 0

    @property
    def detail(self) -> Detail:
        """How much of the next place's logits must be shown for a choice to be likely; `FULL` makes it certain."""
        if self._changes_logits or self._params.typical_p < 1.0 or self._chosen < self._full_until:
            return Detail.FULL
        return Detail.GREEDY if self._params.is_greedy and not self._with_logprobs else Detail.TOP

    @property
    def _changes_logits(self) -> bool:
        return self._penalties.is_active or self._constraint is not None or self._must_go_on

    @property
    def _must_go_on(self) -> bool:
        return self._chosen < self._params.min_new_tokens and len(self._end_ids) > 0

    def choose(self, position: PositionLogits) -> Choice | None:
        """Return the next token; None: `position` shows too little, and `detail` has become `FULL`.

        The position's arrays are left as they are.

        Raises:
            ValidationError: grammar and bias leave no token at all.
        """
        token = self._pick(position)
        found = None if token is None else self._described(position, token)
        if found is None:
            self._full_until = self._chosen + (_FULL_AFTER_MISS << min(self._misses, 16))
            self._misses += 1
            return None
        self._chosen += 1
        self._penalties.said(found.token)
        if self._constraint is not None:
            self._constraint.advance(found.token)
        return found

    def _pick(self, position: PositionLogits) -> int | None:
        if not self._changes_logits:
            if self._params.is_greedy:
                return position.best
            shortlist = _shortlist(position, self._vocab_size)
        elif position.full is not None:
            scores = self._changed(position.full)
            if self._params.is_greedy:
                return int(scores.argmax())
            shortlist = shortlist_of(scores)
        else:
            return None
        return None if shortlist is None else draw(shortlist, self._params, uniform(self._seed, self._chosen))

    def _changed(self, full: Logits) -> Logits:
        scores = full.copy()
        self._penalties.apply(scores)
        if self._constraint is not None:
            self._constraint.apply(scores)
        if scores.max() == -np.inf:
            raise ValidationError("grammar and logit_bias leave no token that may come next", "grammar")
        if self._must_go_on:
            ends = scores[self._end_ids]
            scores[self._end_ids] = -np.inf
            if scores.max() == -np.inf:  # the grammar can only end here
                scores[self._end_ids] = ends
        return scores

    def _described(self, position: PositionLogits, token: int) -> Choice | None:
        if not self._with_logprobs:
            return Choice(token)
        found = scored(position, token, self._params.logprobs or 0)
        return None if found is None else Choice(token, found.logprob, found.top)


def _shortlist(position: PositionLogits, vocab_size: int) -> Shortlist | None:
    if position.ids is not None and position.logits is not None:
        return Shortlist(position.ids, position.logits, vocab_size, position.logsumexp, position.full)
    return None if position.full is None else shortlist_of(position.full)
