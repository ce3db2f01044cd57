"""Is the graph the checkpoint? Texts alone and padded in batches, against hidden states that were pooled apart."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from weir.contracts.embedder import VectorParity
from weir.engine.embedder import VectorGraph
from weir_training.embedder.graph import Vector

LEAST_COSINE: Final = 0.999
TEXTS: Final = (
    "How do I return an order?",
    "怎么退货？签收后七天内可以无理由退货。",
    "Returns are free within thirty days of delivery; the label is in the parcel.",
    "Hi",
    "Où est ma commande, et quand arrivera-t-elle ?",
    "The quick brown fox jumps over the lazy dog while seven wizards quietly mix strong potions. " * 6,
    "12 345 items @ €9.99 — 😀 <b>sale</b> ends 2026-12-24T23:59",
)
_LENGTHS: Final = (1.0, 0.5, 0.1)  # of the context: rows of made-up ids, for what texts do not reach
_BATCH: Final = 4


def probe_rows(texts: Sequence[Sequence[int]], *, context_tokens: int, vocab_size: int) -> list[list[int]]:
    """Return the rows to compare: the texts, cut to the context, and longer rows of ids drawn by a fixed seed."""
    dice = np.random.default_rng(0)
    lengths = [max(1, min(int(share * context_tokens), 1024)) for share in _LENGTHS]
    drawn = [dice.integers(0, vocab_size, length).tolist() for length in lengths]
    return [list(row[:context_tokens]) for row in texts if row] + drawn


def compared(graph: VectorGraph, rows: Sequence[Sequence[int]], wanted: Sequence[Vector], size: int) -> VectorParity:
    """Compare; `size`: bytes of the graph's files."""
    found = [graph([row])[0] for row in rows]
    for begin in range(0, len(rows), _BATCH):
        found += list(graph(rows[begin : begin + _BATCH]))
    pairs = list(zip(found, [*wanted, *wanted], strict=True))
    cosine = min(float(np.dot(vector.astype(np.float64), other)) for vector, other in pairs)
    length = max(abs(float(np.linalg.norm(vector)) - 1.0) for vector in found)
    reasons = [f"cosine {cosine:.6f} < {LEAST_COSINE}"] if not cosine >= LEAST_COSINE else []
    reasons += [f"a vector's length differs from 1 by {length:.2g}"] if not length <= 1e-3 else []
    max_abs = max(float(np.abs(vector - other).max()) for vector, other in pairs)
    return VectorParity(
        min_cosine=cosine, max_abs=max_abs, rows=len(pairs), bytes=size, passed=not reasons, reasons=tuple(reasons)
    )
