"""Runs a step plan on a model, and lets every row's owner choose its tokens."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from weir.engine.blocks import BlockPool
from weir.engine.chunking import FixedChunks
from weir.engine.prefix import PrefixCache
from weir.engine.scheduler import PlannedRow, Scheduler, StepPlan
from weir.engine.sequence import new_sequence
from weir.engine.session import GraphSession
from weir.engine.slot_model import SlotModel
from weir.engine.step import Detail, Model, PositionLogits, Row


class Chooser(Protocol):
    """Chooses a sequence's tokens, one position after another."""

    @property
    def detail(self) -> Detail:
        """What it must know of the next position."""
        ...

    def read_prompt(self, start: int, positions: Sequence[PositionLogits]) -> None:
        """Note how likely the prompt's own tokens after its tokens `start`, `start + 1`, ... are."""
        ...

    def accept(self, position: PositionLogits) -> int | None:
        """Choose the next token; None: it could not, and has finished or wants the position again in other detail."""
        ...

    @property
    def finished(self) -> object | None:
        """Not None once there is nothing more to choose."""
        ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a plan.

    Attributes:
        chosen: per sequence id its new tokens, for every row that was to give one.
        accepted: how many drafts came true.
        seconds: how long the model ran.
    """

    chosen: dict[int, list[int]]
    accepted: int
    seconds: float


def run_step(model: Model, plan: StepPlan, choosers: Mapping[int, Chooser]) -> StepResult:
    """Run the plan's rows at once; `choosers`, by sequence id, are asked in the order of the rows."""
    planned = plan.rows
    rows = [_row(p, Detail.FULL if p.scores_prompt else choosers[p.sequence.id].detail) for p in planned]
    began = time.perf_counter()
    logits = model.run(rows)
    seconds = time.perf_counter() - began
    chosen: dict[int, list[int]] = {}
    accepted = 0
    for p, positions in zip(planned, logits, strict=True):
        chooser = choosers[p.sequence.id]
        if p.scores_prompt:
            chooser.read_prompt(p.sequence.cached, positions)
            positions = positions[-1:]  # noqa: PLW2901
        if p.gives_token:
            tokens = chosen[p.sequence.id] = _choose(p, positions, chooser)
            accepted += max(len(tokens) - 1, 0)
    return StepResult(chosen, accepted, seconds)


def _row(planned: PlannedRow, detail: Detail) -> Row:
    sequence = planned.sequence
    return Row(sequence.blocks, planned.tokens, sequence.cached, planned.wanted, detail, sequence.adapter)


def _choose(planned: PlannedRow, positions: list[PositionLogits], chooser: Chooser) -> list[int]:
    """Accept drafts while they are what the chooser takes; the token that differs, or follows the last, is its own."""
    tokens: list[int] = []
    for index, position in enumerate(positions):
        token = chooser.accept(position)
        if token is None:
            break
        tokens.append(token)
        if chooser.finished is not None or index == len(planned.drafts) or token != planned.drafts[index]:
            break
    return tokens


class _Greedy:
    """The likeliest token each time; it never ends."""

    detail = Detail.GREEDY
    finished = None

    def read_prompt(self, start: int, positions: Sequence[PositionLogits]) -> None:
        """No prompt here is scored."""

    def accept(self, position: PositionLogits) -> int:
        return position.best


def greedy_ids(model: Model | GraphSession, prompt: list[int], count: int, *, chunk_tokens: int) -> list[int]:
    """Return the `count` likeliest next tokens, one after another, as the engine would give them alone.

    End-of-sequence tokens do not end it. What the model's blocks held is written over.
    """
    if isinstance(model, GraphSession):
        model = SlotModel(model)
    pool = BlockPool(model.blocks, block_tokens=model.block_tokens)
    scheduler = Scheduler(pool, PrefixCache(pool, enabled=False), FixedChunks(chunk_tokens), max_running=1)
    sequence = new_sequence(0, prompt, room=len(prompt) + count)
    scheduler.add(sequence)
    choosers = {sequence.id: _Greedy()}
    while len(sequence.tokens) < len(prompt) + count:
        plan = scheduler.plan()
        scheduler.commit(plan, run_step(model, plan, choosers).chosen, done=())
    return sequence.tokens[len(prompt) :]
