"""Runs a step plan on a session."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from weir.engine.scheduler import PrefillChunk, Scheduler, StepPlan
from weir.engine.sequence import Sequence, new_sequence
from weir.engine.session import GraphSession, Logits

Stage = Literal["prefill", "decode"]


@dataclass(frozen=True, slots=True)
class StepPart:
    """One run of the graph: `rows` need a token now; `tokens` were read by it.

    The logits (shape (vocabulary,), float32) are valid until the next part is asked for.
    """

    stage: Stage
    rows: tuple[tuple[Sequence, Logits], ...]
    tokens: int
    seconds: float


def run_step(session: GraphSession, plan: StepPlan) -> Iterator[StepPart]:
    """Yield the plan's runs one by one, decode first: running streams get their token before new prompts are read."""
    for move in plan.moves:
        session.move(move)
    if plan.decode:
        yield _decode(session, plan.decode)
    for chunk in plan.prefill:
        yield _prefill(session, chunk)


def _decode(session: GraphSession, sequences: tuple[Sequence, ...]) -> StepPart:
    began = time.perf_counter()
    ids = np.array([[s.tokens[-1]] for s in sequences], np.int64)
    logits = session.run(ids, [s.cached for s in sequences], first_slot=0)
    rows = tuple(zip(sequences, logits, strict=True))
    return StepPart("decode", rows, len(sequences), time.perf_counter() - began)


def _prefill(session: GraphSession, chunk: PrefillChunk) -> StepPart:
    began = time.perf_counter()
    sequence = chunk.sequence
    ids = np.array([sequence.tokens[chunk.start : chunk.stop]], np.int64)
    logits = session.run(ids, [chunk.start], first_slot=sequence.slot)
    rows = ((sequence, logits[0]),) if chunk.is_last else ()
    return StepPart("prefill", rows, chunk.size, time.perf_counter() - began)


def greedy_ids(session: GraphSession, prompt: list[int], count: int, *, chunk_tokens: int) -> list[int]:
    """Return the `count` likeliest next tokens, one after another, as the engine would give them alone.

    End-of-sequence tokens do not end it. The session's slot 0 is written over.
    """
    scheduler = Scheduler(slots=1, chunk_tokens=chunk_tokens)
    sequence = new_sequence(0, prompt)
    scheduler.add(sequence)
    while len(sequence.tokens) < len(prompt) + count:
        plan = scheduler.plan()
        chosen = {s.id: int(row.argmax()) for part in run_step(session, plan) for s, row in part.rows}
        scheduler.commit(plan, chosen, done=())
    return sequence.tokens[len(prompt) :]
