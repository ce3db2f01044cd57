"""Which tokens of which sequences the next step reads.

Pure bookkeeping: no clock, no threads, no tensors. The engine calls `plan`, runs the model on what it says, and
hands the chosen tokens to `commit`; between the two it calls nothing else.
"""

from bisect import insort
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Sequence as Tokens
from dataclasses import dataclass

from weir.engine.blocks import BlockPool
from weir.engine.chunking import Budget, Chunking, positions_read
from weir.engine.prefix import PrefixCache
from weir.engine.sequence import Sequence
from weir.engine.speculation import Speculation

SCORED_TOKENS = 64  # of prompts whose every token's logits are wanted, in one step: each may be 150k numbers


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """`size` tokens of a sequence, from its `cached`th on, then `drafts`, which are guesses."""

    sequence: Sequence
    size: int
    drafts: Tokens[int] = ()

    @property
    def tokens(self) -> list[int]:
        start = self.sequence.cached
        return [*self.sequence.tokens[start : start + self.size], *self.drafts]

    @property
    def scores_prompt(self) -> bool:
        """Whether it reads tokens of a prompt that are to be scored."""
        return self.sequence.scores_prompt and self.sequence.cached < self.sequence.prompt_len

    @property
    def gives_token(self) -> bool:
        """Whether the logits after its last tokens lead to new ones."""
        return self.size == self.sequence.pending

    @property
    def wanted(self) -> int:
        """After how many of its tokens logits are needed: none inside a prompt that is not scored."""
        if self.scores_prompt:
            return self.size
        return 1 + len(self.drafts) if self.gives_token else 0


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One run of the model: first the streams that decode, one row each, then chunks of prompts.

    Attributes:
        preempted: sequences that had to give their blocks back, to be read again later.
        prefix_queried: tokens of the sequences that start with this step.
        prefix_hit: tokens that need not be read, because others had read them.
    """

    decode: tuple[PlannedRow, ...]
    prefill: tuple[PlannedRow, ...]
    preempted: int = 0
    prefix_queried: int = 0
    prefix_hit: int = 0

    @property
    def rows(self) -> tuple[PlannedRow, ...]:
        return self.decode + self.prefill

    @property
    def is_empty(self) -> bool:
        return not self.decode and not self.prefill

    @property
    def reads(self) -> int:
        """Positions that attention looks at; before `commit`."""
        return sum(positions_read(row.size + len(row.drafts), row.sequence.cached) for row in self.rows)


class Scheduler:
    """First come, first served within a priority; nobody overtakes a sequence that waits for blocks.

    A sequence starts when the blocks of all its tokens are there, and a reserve for those that run. One that needs
    another block later takes it from the least important running one, if need be from itself; the most important
    one is never preempted, so that it ends, whatever comes.
    """

    def __init__(
        self,
        pool: BlockPool,
        prefix: PrefixCache,
        chunking: Chunking,
        *,
        max_running: int,
        speculation: Speculation | None = None,
    ) -> None:
        self._pool = pool
        self._prefix = prefix
        self._chunking = chunking
        self._max_running = max_running
        self._speculation = speculation
        self._waiting: list[Sequence] = []  # both lists: the most important first
        self._running: list[Sequence] = []
        self._queried = 0
        self._hit = 0

    @property
    def running(self) -> int:
        """Sequences that hold blocks."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_idle(self) -> bool:
        return not (self._waiting or self._running)

    def add(self, sequence: Sequence) -> None:
        insort(self._waiting, sequence, key=_rank)

    def cancel(self, sequence_id: int) -> None:
        """Forget a sequence, wherever it is; unknown ids are ignored."""
        self._waiting = [s for s in self._waiting if s.id != sequence_id]
        for sequence in [s for s in self._running if s.id == sequence_id]:
            self._stop(sequence)

    def plan(self) -> StepPlan:
        self._queried = self._hit = 0
        preempted = self._grow()
        decoding = [s for s in self._running if s.is_decoding]
        reads = sum(len(s.tokens) for s in decoding)
        prompts = min(len(self._running) + len(self._waiting), self._max_running) - len(decoding)
        budget = self._chunking.budget(len(decoding), reads, prompts)
        prefill = tuple(self._chunks(budget))
        drafts = not budget.is_full  # a prompt that is cut needs the step for itself
        decode = tuple(PlannedRow(s, 1, self._drafts(s, len(decoding), reads) if drafts else ()) for s in decoding)
        return StepPlan(decode, prefill, preempted, self._queried, self._hit)

    def commit(self, plan: StepPlan, chosen: Mapping[int, Tokens[int]], *, done: Collection[int]) -> None:
        """Record what the step did.

        Args:
            plan: what was run.
            chosen: per sequence id the tokens that were chosen after it, for each row that gives one: the accepted
                drafts and one more. Without the one more, its last token is read again with the next step.
            done: ids that ended with the last of those tokens; their blocks are given back.
        """
        for row in plan.rows:
            sequence, new = row.sequence, chosen.get(row.sequence.id)
            sequence.cached += row.size if new is None else row.size + len(new) - 1
            sequence.tokens.extend(new or ())
            if row.drafts and new and self._speculation is not None:
                self._speculation.observe(sequence, accepted=len(new) - 1, proposed=len(row.drafts))
            self._prefix.publish(sequence)
            if sequence.id in done:
                self._stop(sequence)
                if self._speculation is not None:
                    self._speculation.ended(sequence)

    def _grow(self) -> int:
        """Give every decoding sequence the block that its next token needs; return how many were preempted for it."""
        preempted = 0
        for sequence in tuple(self._running):
            if not sequence.is_decoding or sequence.cached < len(sequence.blocks) * self._pool.block_tokens:
                continue
            while sequence.blocks and not self._pool.available:
                self._preempt(self._running[-1])
                preempted += 1
            if sequence.blocks:
                sequence.blocks.append(self._pool.take())
        return preempted

    def _preempt(self, sequence: Sequence) -> None:
        self._stop(sequence)
        sequence.cached = 0
        insort(self._waiting, sequence, key=_rank)

    def _stop(self, sequence: Sequence) -> None:
        self._running.remove(sequence)
        self._pool.release(sequence.blocks)
        sequence.blocks, sequence.published = [], 0

    def _chunks(self, budget: Budget) -> Iterator[PlannedRow]:
        """Go on with prompts that are half read, then start waiting sequences, while the budget lasts."""
        scored = SCORED_TOKENS
        for sequence in self._running:
            if not budget.is_spent and not sequence.is_decoding:
                self._hit += 0 if sequence.scores_prompt else self._prefix.skip(sequence)
                size = self._size(sequence, sequence.cached, budget.left(sequence.unread), scored)
                budget.spend(self._chunking.cost(size, sequence.cached))
                scored -= size if sequence.scores_prompt else 0
                if size:
                    yield PlannedRow(sequence, size)
        while not budget.is_spent and self._waiting and len(self._running) < self._max_running:
            size = self._start(self._waiting[0], budget, scored)
            if not size:
                break
            sequence = self._waiting.pop(0)
            budget.spend(self._chunking.cost(size, sequence.cached))
            scored -= size if sequence.scores_prompt else 0
            yield PlannedRow(sequence, size)

    def _size(self, sequence: Sequence, cached: int, budget: float, scored: int) -> int:
        size = self._chunking.size(sequence, cached, budget) if budget > 0 else 0
        return min(size, scored) if sequence.scores_prompt else size

    def _start(self, sequence: Sequence, budget: Budget, scored: int) -> int:
        """Give a waiting sequence its blocks, if they are there; return how many tokens to read at once, else 0."""
        found = [] if sequence.scores_prompt else self._prefix.match(sequence)
        cached = len(found) * self._pool.block_tokens
        unread = len(sequence.tokens) - cached
        size = self._size(sequence, cached, budget.left(unread), scored)
        missing = self._pool.needed(len(sequence.tokens)) - len(found)
        idle = sum(map(self._pool.is_idle, found))
        if not size or self._pool.available - idle < missing + self._reserve():
            return 0
        for block in found:
            self._pool.hold(block)
        sequence.blocks = found + [self._pool.take() for _ in range(missing)]
        sequence.cached, sequence.published, sequence.unread = cached, len(found), unread
        self._queried += len(sequence.tokens)
        self._hit += cached
        insort(self._running, sequence, key=_rank)
        return size

    def _reserve(self) -> int:
        """A block for every running sequence that will need one more: starting one only to preempt it is waste."""
        return sum(1 for s in self._running if len(s.blocks) * self._pool.block_tokens < s.room)

    def _drafts(self, sequence: Sequence, rows: int, reads: int) -> Tokens[int]:
        """Guesses for one stream; what they need beyond its blocks is taken only from free ones."""
        if self._speculation is None:
            return ()
        spare = (len(sequence.blocks) + self._pool.free) * self._pool.block_tokens - sequence.cached - 1
        limit = min(sequence.room - len(sequence.tokens) - 1, spare)
        drafts = self._speculation.draft(sequence, rows=rows, reads=reads, limit=limit) if limit > 0 else ()
        while len(sequence.blocks) < self._pool.needed(len(sequence.tokens) + len(drafts)):
            sequence.blocks.append(self._pool.take())
        return drafts


def _rank(sequence: Sequence) -> tuple[int, int]:
    return sequence.rank
