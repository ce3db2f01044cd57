"""What one run of a packed graph reads and writes: arrays that are bound once and written into again and again.

Steps of the same shape follow one another by the thousand while sequences decode, and binding takes longer than running
a small graph.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weir.engine.step import Detail, Logits, Row

BLOCK_TOKENS = 16
_NOWHERE = 2**31 - 1  # a row that the graph refuses
_WIDTHS = 8  # tables are as wide as a multiple of this many blocks, so that shapes repeat


class CallShape(NamedTuple):
    """Tokens read, sequences, blocks of the longest one, positions with logits, and whether all logits are given."""

    tokens: int
    rows: int
    width: int
    outputs: int
    is_full: bool


def shape_of(rows: Sequence[Row]) -> CallShape:
    tokens = outputs = longest = 0
    is_full = False
    for row in rows:
        count = len(row.tokens)
        tokens += count
        outputs += row.wanted
        longest = max(longest, row.past + count)
        is_full = is_full or (row.detail == Detail.FULL and row.wanted > 0)
    width = -(-longest // (BLOCK_TOKENS * _WIDTHS)) * _WIDTHS
    return CallShape(tokens, len(rows), width, outputs, is_full)


@dataclass(frozen=True, slots=True)
class Results:
    """Outputs of a run; written over by the next one of the same shape. `logits` only when asked for."""

    ids: NDArray[np.int32]
    values: Logits
    logsumexp: Logits
    logits: Logits | None


class PackedCall:
    """Inputs and outputs of one shape, bound; the caller binds the cache and the adapters."""

    def __init__(self, binding: Any, shape: CallShape, *, candidates: int, columns: int) -> None:
        self.binding = binding
        self._ids = np.zeros(shape.tokens, np.int64)
        self._sequences = np.zeros((shape.rows, 3), np.int32)
        self._table = np.zeros((shape.rows, shape.width), np.int32)
        self._wanted = np.zeros(shape.outputs, np.int32)
        self._wants = np.zeros(shape.outputs, np.int32)
        self._adapter_of = np.zeros(shape.tokens, np.int32)
        top = (shape.outputs, candidates)
        self.results = Results(
            np.zeros(top, np.int32),
            np.zeros(top, np.float32),
            np.zeros(shape.outputs, np.float32),
            np.zeros((shape.outputs, columns), np.float32) if shape.is_full else None,
        )
        self._bind_all()

    def _bind_all(self) -> None:
        inputs: dict[str, NDArray[Any]] = {"input_ids": self._ids, "sequences": self._sequences, "table": self._table}
        inputs |= {"wanted": self._wanted, "wants": self._wants, "adapter_of": self._adapter_of}
        for name, array in inputs.items():
            bind(self.binding.bind_input, name, array)
        results = self.results
        for name, found in (("ids", results.ids), ("values", results.values), ("logsumexp", results.logsumexp)):
            bind(self.binding.bind_output, name, found)
        if results.logits is not None:
            bind(self.binding.bind_output, "logits", results.logits)

    def fill(self, rows: Sequence[Row], adapter_rows: Mapping[int, int]) -> None:
        """Write down what `rows`, of this shape, read and want; `adapter_rows`: where each adapter's number lies."""
        ids: list[int] = []
        sequences: list[tuple[int, int, int]] = []
        wanted: list[int] = []
        wants: list[int] = []
        adapters: list[int] = []
        for line, row in zip(self._table, rows, strict=True):
            first, count = len(ids), len(row.tokens)
            ids += row.tokens
            sequences.append((first, count, row.past))
            used = -(-(row.past + count) // BLOCK_TOKENS)
            line[:used] = row.blocks[:used]
            wanted += range(first + count - row.wanted, first + count)
            wants += [int(row.detail > Detail.GREEDY)] * row.wanted
            adapters += [-1 if row.adapter < 0 else adapter_rows.get(row.adapter, _NOWHERE)] * count
        self._ids[:] = ids
        self._sequences[:] = sequences
        self._wanted[:] = wanted
        self._wants[:] = wants
        self._adapter_of[:] = adapters


def bind(how: Any, name: str, array: NDArray[Any]) -> None:
    """Bind an array's own memory; the caller keeps it alive until the run is over."""
    how(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
