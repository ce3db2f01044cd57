"""What an answer loses when some tokens cannot be said any more: the checkpoint's probability on them.

Let p be the checkpoint's distribution, p' the same without the tokens that were cut, scaled up to 1 again, and q a
graph's. KL(p || q) is infinite. The distance is taken in two steps instead, both in nats, and added: cutting,
KL(p' || p) = -log(1 - lost), here; rounding, KL(p' || q), in `weir_training.parity`. With nothing cut the first is 0
and the second KL(p || q).

Cutting is measured on answers alone, trained and held out, the worse of both: nobody says a question's tokens, and
answers that were learnt by heart would hide what others lose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weir_training.parity import TaskRow, batches, log_softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weir_training.checkpoint import Checkpoint
    from weir_training.parity import Logits


@dataclass(frozen=True, slots=True)
class CutCost:
    """Means over answer positions: the share of probability that was cut off, and -log of the rest."""

    mass: float = 0.0
    nats: float = 0.0


def cut_cost(checkpoint: "Checkpoint", rows: Sequence[TaskRow], kept: "NDArray[np.int32]") -> CutCost:
    """Measure `rows` (none: no cost) when only the `kept` tokens can be said."""
    cut = np.ones(checkpoint.vocab_size, np.bool_)
    cut[kept] = False
    lost = [
        _lost(logits[len(row.prompt_ids) - 1 : -1], cut)
        for batch in batches(rows, checkpoint.vocab_size)
        for row, logits in zip(batch, checkpoint.logits([row.ids for row in batch]), strict=True)
    ]
    if not lost:
        return CutCost()
    every = np.concatenate(lost)
    with np.errstate(divide="ignore"):  # where everything was lost
        return CutCost(float(every.mean()), float(-np.log1p(-every).mean()))


def _lost(logits: "Logits", cut: "NDArray[np.bool_]") -> "NDArray[np.float64]":
    shares: NDArray[np.float64] = np.exp(log_softmax(logits))[:, cut].sum(axis=-1)
    return np.minimum(shares, 1.0)
