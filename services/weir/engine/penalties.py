"""Changes that a request makes to its own logits: penalties for what was said, and a bias on listed tokens."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from weir.contracts.errors import ValidationError
from weir.contracts.request import BANNED_BIAS, SamplingParams

Logits = NDArray[np.float32]


class Penalties:
    """One request's; only tokens that were seen or are listed are touched, however large the vocabulary.

    Sources: repetition: Keskar et al. 2019, arXiv:1909.05858, section 4.1, over prompt and completion; frequency and
    presence: as OpenAI defines them, over the completion.

    Raises:
        ValidationError: the bias lists a token that the model does not have.
    """

    def __init__(self, params: SamplingParams, prompt: Iterable[int], vocab_size: int) -> None:
        self._repetition = np.float32(params.repetition_penalty)
        self._frequency = np.float32(params.frequency_penalty)
        self._presence = np.float32(params.presence_penalty)
        self._counts_said = bool(params.frequency_penalty or params.presence_penalty)
        self._remembers = params.repetition_penalty != 1.0 or self._counts_said
        self._places: dict[int, int] = {}
        self._ids = np.empty(64, np.int64)
        self._said = np.zeros(64, np.float32)  # how often, in the completion
        self._bias_ids = np.array([token for token, _ in params.logit_bias], np.int64)
        self._bias = np.array([_effect(bias) for _, bias in params.logit_bias], np.float32)
        if len(self._bias_ids) and self._bias_ids.max() >= vocab_size:
            raise ValidationError(f"logit_bias: token {self._bias_ids.max()} of {vocab_size}", "logit_bias")
        if params.repetition_penalty != 1.0:
            for token in prompt:
                if token < vocab_size:
                    self._place(token)

    @property
    def is_active(self) -> bool:
        return self._remembers or len(self._bias_ids) > 0

    def apply(self, scores: Logits) -> None:
        """Change `scores`, shape (vocabulary,), in place; a banned token gets -inf."""
        ids = self._ids[: len(self._places)]
        if len(ids):
            values = scores[ids]
            if self._repetition != 1.0:
                values = np.where(values < 0, values * self._repetition, values / self._repetition)
            if self._counts_said:
                said = self._said[: len(ids)]
                values -= said * self._frequency + (said > 0) * self._presence
            scores[ids] = values
        scores[self._bias_ids] += self._bias

    def said(self, token: int) -> None:
        if self._remembers:
            place = self._place(token)  # first: it may make the arrays longer
            self._said[place] += 1

    def _place(self, token: int) -> int:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._ids):
            self._ids = np.concatenate([self._ids, np.empty_like(self._ids)])
            self._said = np.concatenate([self._said, np.zeros_like(self._said)])
        self._ids[place] = token
        return place


def _effect(bias: float) -> float:
    return -np.inf if bias <= BANNED_BIAS else bias
