"""What scheduler and model agree on: rows of tokens go in, logits of chosen positions come out.

A model holds the keys and values of all sequences in blocks; a row names the blocks of its sequence, in order. Whoever
gives out blocks (`weir.engine.blocks`) decides what they hold; a model only reads and writes where it is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Detail(IntEnum):
    """How much of a position's logits somebody will look at; more costs more."""

    GREEDY = 0  # the likeliest token alone
    TOP = 1  # also the likeliest `candidates` of the model, and the log of the sum over all
    FULL = 2  # also every logit


@dataclass(frozen=True, slots=True)
class Row:
    """What one sequence brings to a step: `tokens` are read at positions `past`, `past + 1`, ...

    Positions before `past` must lie in `blocks` already; a `past` smaller than before rewinds. Logits are given after
    each of the last `wanted` tokens (0: only read). `adapter` is -1 or the number of a loaded LoRA adapter.
    """

    blocks: Sequence[int]
    tokens: Sequence[int]
    past: int
    wanted: int = 1
    detail: Detail = Detail.GREEDY
    adapter: int = -1


@dataclass(frozen=True, slots=True)
class PositionLogits:
    """The logits after one token. What was not asked for may be None; views are valid until the model's next run.

    Attributes:
        best: the likeliest token; the lowest id among equals.
        ids: candidates, likeliest first, ascending among equals; int32, shape (candidates,).
        logits: theirs; float32, shape (candidates,).
        logsumexp: over the whole vocabulary, natural logarithm.
        full: float32, shape (vocabulary,).
    """

    best: int
    ids: NDArray[np.int32] | None = None
    logits: Logits | None = None
    logsumexp: float | None = None
    full: Logits | None = None


class Model(Protocol):
    """A graph and its key/value blocks. Not thread-safe: the engine's thread alone runs it."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context_tokens(self) -> int:
        """Most tokens of one sequence, prompt and completion together."""
        ...

    @property
    def blocks(self) -> int:
        """How many blocks there are, numbered from 0."""
        ...

    @property
    def block_tokens(self) -> int:
        """Positions in a block. A model that cannot share blocks has `context_tokens` of them in each."""
        ...

    @property
    def block_bytes(self) -> int: ...

    @property
    def candidates(self) -> int:
        """How many candidates `Detail.TOP` gives, at most the vocabulary."""
        ...

    @property
    def is_exact(self) -> bool:
        """Whether a position's logits are the same to the last bit however rows and chunks are cut."""
        ...

    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        """Read every row's tokens; return per row the logits after its last `wanted` tokens."""
        ...
