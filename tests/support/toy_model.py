"""A model whose logits are a pure function of what lies in its blocks: wrong bookkeeping changes answers."""

from collections.abc import Sequence

import numpy as np

from weir.engine.step import Detail, PositionLogits, Row

_MASK = (1 << 61) - 1
EMPTY = -1


class ToyModel:
    """A position holds its token and adapter; logits follow from all positions of a sequence, read back each time."""

    def __init__(
        self,
        *,
        blocks: int,
        block_tokens: int = 4,
        context_tokens: int = 64,
        vocab_size: int = 400,
        is_exact: bool = True,
    ) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.context_tokens = context_tokens
        self.vocab_size = vocab_size
        self.is_exact = is_exact
        self.block_bytes = block_tokens * 8
        self.candidates = 8
        self.memory = [[EMPTY] * block_tokens for _ in range(blocks)]
        self.runs = 0
        self.tokens_read = 0
        self.most_rows = 0

    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        self.runs += 1
        self.most_rows = max(self.most_rows, len(rows))
        return [self._row(row) for row in rows]

    def _row(self, row: Row) -> list[PositionLogits]:
        assert row.tokens, "a row without a token"
        assert row.past + len(row.tokens) <= min(self.context_tokens, len(row.blocks) * self.block_tokens)
        state = self._digest(row, row.past)
        found = []
        self.tokens_read += len(row.tokens)
        for offset, token in enumerate(row.tokens):
            block, at = divmod(row.past + offset, self.block_tokens)
            cell = (token << 8) + row.adapter + 1
            self.memory[row.blocks[block]][at] = cell
            state = _mixed(state, cell)
            if offset >= len(row.tokens) - row.wanted:
                found.append(self._position(state, row.detail))
        return found

    def _digest(self, row: Row, past: int) -> int:
        state = 7
        for position in range(past):
            block, at = divmod(position, self.block_tokens)
            cell = self.memory[row.blocks[block]][at]
            assert cell != EMPTY, "a position that was never written is read"
            state = _mixed(state, cell)
        return state

    def _position(self, state: int, detail: Detail) -> PositionLogits:
        if detail is Detail.GREEDY:
            return PositionLogits(best_of(state, self.vocab_size))
        logits = np.random.default_rng(state).normal(0, 2, self.vocab_size).astype(np.float32)
        logits[best_of(state, self.vocab_size)] = 9.0
        ids = np.argsort(-logits, kind="stable")[: self.candidates].astype(np.int32)
        logsumexp = float(np.log(np.exp(logits.astype(np.float64)).sum()))
        return PositionLogits(int(ids[0]), ids, logits[ids], logsumexp, logits if detail is Detail.FULL else None)


def _mixed(state: int, cell: int) -> int:
    return (state * 1_000_003 + cell + 0x9E3779B9) & _MASK


def best_of(state: int, vocab_size: int) -> int:
    return (state * 0x9E3779B97F4A7C15 >> 20) % vocab_size
