"""Which sequences run in the next step.

Pure bookkeeping: no clock, no threads, no tensors. The engine calls `plan`, runs the model on what it says, and
hands the sampled tokens to `commit`; both happen between any two calls of `add`, `cancel` and `plan`.

Decoding sequences always lie in slots 0..n-1, because the graph steps a contiguous range of rows. When one leaves,
the next plan moves the last slots into the holes.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from weir.engine.sequence import Sequence


@dataclass(frozen=True, slots=True)
class Move:
    """Copy the first `length` positions of one slot's keys and values to another slot."""

    source: int
    target: int
    length: int


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Positions `start` to `stop` (exclusive) of a prompt, to be read into the sequence's slot."""

    sequence: Sequence
    start: int
    stop: int

    @property
    def is_last(self) -> bool:
        """Whether this chunk's logits give the first completion token."""
        return self.stop == self.sequence.prompt_len

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class StepPlan:
    """First the moves, then one run with row r = `decode[r]` in slot r, then each prefill chunk alone.

    The chunks of one step hold at most one chunk length of tokens together: that is all a running stream waits for.
    """

    moves: tuple[Move, ...]
    decode: tuple[Sequence, ...]
    prefill: tuple[PrefillChunk, ...]

    @property
    def is_empty(self) -> bool:
        return not self.decode and not self.prefill


class Scheduler:
    """First come, first served, with a bound on how many sequences hold a slot."""

    def __init__(self, *, slots: int, chunk_tokens: int) -> None:
        self._slots = slots
        self._chunk_tokens = chunk_tokens
        self._waiting: deque[Sequence] = deque()
        self._prefilling: list[Sequence] = []
        self._running: list[Sequence] = []

    @property
    def running(self) -> int:
        """Sequences that hold a slot."""
        return len(self._running) + len(self._prefilling)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def cached_tokens(self) -> int:
        """Positions of the KV buffers in use."""
        return sum(s.cached for s in self._running) + sum(s.cached for s in self._prefilling)

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._prefilling or self._running)

    def add(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)

    def cancel(self, sequence_id: int) -> None:
        """Forget a sequence, wherever it is; unknown ids are ignored."""
        self._waiting = deque(s for s in self._waiting if s.id != sequence_id)
        self._prefilling = [s for s in self._prefilling if s.id != sequence_id]
        self._running = [s for s in self._running if s.id != sequence_id]

    def plan(self) -> StepPlan:
        moves = self._compact()
        return StepPlan(moves, tuple(self._running), self._chunks())

    def commit(self, plan: StepPlan, tokens: Mapping[int, int], *, done: Collection[int]) -> None:
        """Record what the step did.

        Args:
            plan: what was run.
            tokens: per sequence id the sampled token: every decoded sequence and every last chunk has one.
            done: ids that ended with that token; their slots are free from now on.
        """
        for sequence in plan.decode:
            sequence.cached += 1
            sequence.tokens.append(tokens[sequence.id])
        for chunk in plan.prefill:
            chunk.sequence.cached = chunk.stop
            if chunk.is_last and chunk.sequence in self._prefilling:  # it may have been cancelled meanwhile
                chunk.sequence.tokens.append(tokens[chunk.sequence.id])
                self._prefilling.remove(chunk.sequence)
                self._running.append(chunk.sequence)
        self._running = [s for s in self._running if s.id not in done]

    def _compact(self) -> tuple[Move, ...]:
        """Give the running sequences slots 0..n-1, moving as few as possible; order the list by slot."""
        count = len(self._running)
        taken = {s.slot for s in self._running if s.slot < count}
        holes = (slot for slot in range(count) if slot not in taken)
        moves = []
        for sequence in self._running:
            if sequence.slot >= count:
                target = next(holes)
                moves.append(Move(sequence.slot, target, sequence.cached))
                sequence.slot = target
        self._running.sort(key=_slot)
        return tuple(moves)

    def _chunks(self) -> tuple[PrefillChunk, ...]:
        """Go on with the prompt being read, then start waiting ones that fit into what is left of the budget.

        Only a prompt longer than the whole budget stays unfinished, so at most one is half read at any time, and
        its slot lies beyond all running ones.
        """
        chunks = [self._next_chunk(s) for s in self._prefilling]
        budget = self._chunk_tokens - sum(c.size for c in chunks)
        while self._waiting and self.running < self._slots:
            if min(self._waiting[0].prompt_len, self._chunk_tokens) > budget:
                break
            sequence = self._waiting.popleft()
            sequence.slot = self._free_slot()
            self._prefilling.append(sequence)
            chunks.append(self._next_chunk(sequence))
            budget -= chunks[-1].size
        return tuple(chunks)

    def _next_chunk(self, sequence: Sequence) -> PrefillChunk:
        stop = min(sequence.cached + self._chunk_tokens, sequence.prompt_len)
        return PrefillChunk(sequence, sequence.cached, stop)

    def _free_slot(self) -> int:
        taken = set(_slots(self._running)) | set(_slots(self._prefilling))
        return next(slot for slot in range(self._slots) if slot not in taken)


def _slot(sequence: Sequence) -> int:
    return sequence.slot


def _slots(sequences: Iterable[Sequence]) -> Iterable[int]:
    return (s.slot for s in sequences)
