"""Graphs of onnxruntime-genai's builder as a `Model`: a block is a whole slot of the key/value buffers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weir.engine.draw import top_ids
from weir.engine.logprobs import log_sum_exp
from weir.engine.session import GraphSession, Logits, Shortlists
from weir.engine.step import Detail, PositionLogits, Row

_CANDIDATES = 64


class SlotModel:
    """Runs rows of one token together, then every longer row alone: more GroupQueryAttention does not take.

    Rows that run together must lie in neighbouring slots. Where slots can be swapped, blocks are moved together when
    somebody leaves. On a GPU the slots between run along instead: they read a token of no meaning at the position that
    their own next token will write over.
    """

    is_exact = False  # matrix products of one row and of many round differently

    def __init__(self, session: GraphSession) -> None:
        self._session = session
        self._slot_of = list(range(session.slots))  # by block
        self._block_in = list(range(session.slots))  # by slot
        self._length = [0] * session.slots  # by block: positions that may matter

    @property
    def device(self) -> str:
        return self._session.graph.device.value

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
        return self._session.graph.candidates or min(_CANDIDATES, self.vocab_size)

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
            self._together(rows, together, found)
        return found

    def _alone(self, row: Row) -> list[PositionLogits]:
        """The first run reads all but the positions that are wanted one by one."""
        first = len(row.tokens) - max(row.wanted - 1, 0)
        ends = range(first, len(row.tokens) + 1)
        start, found = 0, []
        for end in ends:
            ids = np.array([row.tokens[start:end]], np.int64)
            seen = self._read(ids, [row.past + start], self._slot_of[row.blocks[0]], row.detail)
            if row.wanted:
                found.append(seen.position(0, row.detail, self.candidates, is_kept=True))
            start = end
        self._length[row.blocks[0]] = row.past + len(row.tokens)
        return found

    def _together(self, rows: Sequence[Row], chosen: Sequence[int], found: list[list[PositionLogits]]) -> None:
        first, slots = self._neighbours([rows[index].blocks[0] for index in chosen])
        ids = np.zeros((len(slots), 1), np.int64)
        past = [min(self._length[self._block_in[slot]], self.context_tokens - 1) for slot in slots]
        for index in chosen:
            at = self._slot_of[rows[index].blocks[0]] - first
            ids[at, 0], past[at] = rows[index].tokens[0], rows[index].past
        seen = self._read(ids, past, first, max(rows[index].detail for index in chosen))
        for index in chosen:
            row = rows[index]
            self._length[row.blocks[0]] = row.past + 1
            if row.wanted:
                at = self._slot_of[row.blocks[0]] - first
                found[index] = [seen.position(at, row.detail, self.candidates)]

    def _read(self, ids: NDArray[np.int64], past: Sequence[int], first: int, detail: Detail) -> "_Seen":
        if self._session.graph.candidates and detail is not Detail.FULL:
            return _Seen(short=self._session.shortlists(ids, past, first_slot=first))
        return _Seen(self._session.run(ids, past, first_slot=first))

    def _neighbours(self, blocks: Sequence[int]) -> tuple[int, range]:
        """Return a run of slots that holds these blocks, and its first one; others may lie between on a GPU only."""
        if self._session.can_swap:
            self._gather(blocks)
            return 0, range(len(blocks))
        slots = [self._slot_of[block] for block in blocks]
        return min(slots), range(min(slots), max(slots) + 1)

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


class _Seen:
    """What one run said: logits of shape (rows, vocabulary), or the graph's own shortlists of them."""

    def __init__(self, logits: Logits | None = None, short: Shortlists | None = None) -> None:
        self._logits = logits
        self._short = short
        self._best: list[int] | None = None

    def position(self, at: int, detail: Detail, candidates: int, *, is_kept: bool = False) -> PositionLogits:
        """What is known of row `at`; `is_kept`: it is looked at after a later run."""
        if self._short is not None:
            return _listed(self._short, at, detail)
        if self._logits is None:
            raise RuntimeError("a run says one or the other")
        if detail is Detail.GREEDY:
            if self._best is None:
                self._best = self._logits.argmax(axis=-1).tolist()
            return PositionLogits(self._best[at])
        logits = self._logits[at].copy() if is_kept else self._logits[at]
        ids = top_ids(logits, candidates).astype(np.int32)
        return PositionLogits(int(logits.argmax()), ids, logits[ids], log_sum_exp(logits), logits)


def _listed(short: Shortlists, at: int, detail: Detail) -> PositionLogits:
    best = int(short.ids[at, 0])
    if detail is Detail.GREEDY:
        return PositionLogits(best)
    return PositionLogits(best, short.ids[at].copy(), short.logits[at].copy(), float(short.logsumexp[at, 0]))
