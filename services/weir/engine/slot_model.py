"""Graphs of onnxruntime-genai's builder as a `Model`: a block is a whole slot of the key/value buffers."""

from collections.abc import Sequence

import numpy as np

from weir.engine.draw import top_ids
from weir.engine.logprobs import log_sum_exp
from weir.engine.session import GraphSession, Logits
from weir.engine.step import Detail, PositionLogits, Row

_CANDIDATES = 64


class SlotModel:
    """Runs rows of one token together, then every longer row alone: more GroupQueryAttention does not take.

    Rows that run together must lie in neighbouring slots, so blocks are moved between slots when somebody leaves.
    """

    is_exact = False  # matrix products of one row and of many round differently

    def __init__(self, session: GraphSession) -> None:
        self._session = session
        self._slot_of = list(range(session.slots))  # by block
        self._block_in = list(range(session.slots))  # by slot
        self._length = [0] * session.slots  # by block: positions that may matter

    @property
    def vocab_size(self) -> int:
        return self._session.graph.vocab_size

    @property
    def context_tokens(self) -> int:
        return self._session.context_tokens

    @property
    def blocks(self) -> int:
        return self._session.slots

    @property
    def block_tokens(self) -> int:
        return self._session.context_tokens

    @property
    def block_bytes(self) -> int:
        return self._session.graph.cache.bytes_per_slot(self._session.context_tokens)

    @property
    def candidates(self) -> int:
        return min(_CANDIDATES, self.vocab_size)

    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        """As `Model.run`; a row with `wanted` over 1 takes its last tokens one by one, as the graph's output is pruned.

        The rows that run together go last, so that their logits need not be copied.
        """
        found: list[list[PositionLogits]] = [[] for _ in rows]
        together: list[int] = []
        for index, row in enumerate(rows):
            self._length[row.blocks[0]] = row.past
            if len(row.tokens) == 1:
                together.append(index)
            else:
                found[index] = self._alone(row)
        if together:
            self._gather([rows[index].blocks[0] for index in together])
            together.sort(key=lambda index: self._slot_of[rows[index].blocks[0]])
            self._together(rows, together, found)
        return found

    def _alone(self, row: Row) -> list[PositionLogits]:
        """The first run reads all but the positions that are wanted one by one."""
        first = len(row.tokens) - max(row.wanted - 1, 0)
        ends = range(first, len(row.tokens) + 1)
        start, found = 0, []
        for end in ends:
            ids = np.array([row.tokens[start:end]], np.int64)
            logits = self._session.run(ids, [row.past + start], first_slot=self._slot_of[row.blocks[0]])
            if row.wanted:
                found.append(_position(logits[0].copy(), row.detail, self.candidates))
            start = end
        self._length[row.blocks[0]] = row.past + len(row.tokens)
        return found

    def _together(self, rows: Sequence[Row], chosen: list[int], found: list[list[PositionLogits]]) -> None:
        ids = np.array([rows[index].tokens for index in chosen], np.int64)
        logits = self._session.run(ids, [rows[index].past for index in chosen], first_slot=0)
        best = logits.argmax(axis=-1).tolist()
        for at, index in enumerate(chosen):
            row = rows[index]
            self._length[row.blocks[0]] = row.past + 1
            if not row.wanted:
                continue
            if row.detail is Detail.GREEDY:
                found[index] = [PositionLogits(best[at])]
            else:
                found[index] = [_position(logits[at], row.detail, self.candidates)]

    def _gather(self, blocks: Sequence[int]) -> None:
        """Bring blocks into slots 0..n-1, moving as few as possible; others keep what they hold, elsewhere."""
        slots = {self._slot_of[block] for block in blocks}
        holes = (slot for slot in range(len(blocks)) if slot not in slots)
        for slot in slots:
            if slot >= len(blocks):
                self._swap(slot, next(holes))

    def _swap(self, one: int, other: int) -> None:
        first, second = self._block_in[one], self._block_in[other]
        self._session.swap(one, other, lengths=(self._length[first], self._length[second]))
        self._block_in[one], self._block_in[other] = second, first
        self._slot_of[first], self._slot_of[second] = other, one


def _position(logits: Logits, detail: Detail, candidates: int) -> PositionLogits:
    """What is known of one position, from its logits of shape (vocabulary,); all are here anyway."""
    best = int(logits.argmax())
    if detail is Detail.GREEDY:
        return PositionLogits(best)
    ids = top_ids(logits, candidates).astype(np.int32)
    return PositionLogits(best, ids, logits[ids], log_sum_exp(logits), logits)
