"""How far a model's next-token distributions are from the reference's, position by position. numpy alone."""

from pathlib import Path
from typing import Any

import numpy as np


class Divergence:
    """Collects mean KL(reference, other) in nats; the reference's log-probabilities lie in a file, an array per text.

    Each has shape (tokens, vocabulary): row t says what follows token t. The last row of a text is left out.
    """

    def __init__(self, reference: str) -> None:
        with np.load(Path(reference)) as stored:
            self._wanted = [stored[name] for name in sorted(stored.files)]
        self._total = 0.0
        self._positions = 0

    @property
    def vocab_size(self) -> int:
        return int(self._wanted[0].shape[1])

    def add(self, text: int, logits: Any) -> None:
        """Compare logits of shape (tokens or one less, vocabulary) with the reference's of that text."""
        count = len(self._wanted[text]) - 1
        wanted = self._wanted[text][:count].astype(np.float64)
        found = log_softmax(np.asarray(logits)[:count, : wanted.shape[1]])
        self._total += float((np.exp(wanted) * (wanted - found)).sum())
        self._positions += count

    def figures(self) -> dict[str, float]:
        return {"kl": self._total / self._positions, "positions": self._positions}


def log_softmax(logits: Any) -> Any:
    """Over the last axis, in float64."""
    wide = np.asarray(logits, np.float64)
    wide = wide - wide.max(axis=-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
