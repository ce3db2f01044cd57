"""The scheduler against a toy memory: a slot is a list of tokens, and a row reads what its slot holds."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.engine.scheduler import Scheduler, StepPlan
from weir.engine.sequence import Sequence, new_sequence

SLOTS, CHUNK = 4, 8


@dataclass
class ToyMachine:
    """Does with lists what the session does with tensors; the next token is a function of everything before it."""

    scheduler: Scheduler
    memory: list[list[int]] = field(default_factory=lambda: [[] for _ in range(SLOTS)])

    def run(self, plan: StepPlan) -> dict[int, int]:
        for move in plan.moves:
            self.memory[move.target] = self.memory[move.source][: move.length]
        tokens = {s.id: self._decode(row, s) for row, s in enumerate(plan.decode)}
        for chunk in plan.prefill:
            slot = self.memory[chunk.sequence.slot]
            slot[chunk.start :] = chunk.sequence.tokens[chunk.start : chunk.stop]
            if chunk.is_last:
                tokens[chunk.sequence.id] = next_token(slot)
        return tokens

    def _decode(self, row: int, sequence: Sequence) -> int:
        assert sequence.slot == row, "row r of a decode step must lie in slot r"
        self.memory[row][sequence.cached :] = [sequence.tokens[-1]]
        return next_token(self.memory[row])


def next_token(context: list[int]) -> int:
    return hash(tuple(context)) % 1000


def alone(prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens


def step(machine: ToyMachine, lengths: dict[int, int]) -> StepPlan:
    plan = machine.scheduler.plan()
    tokens = machine.run(plan)
    planned = {s.id: s for s in (*plan.decode, *(c.sequence for c in plan.prefill))}
    done = {i for i in tokens if len(planned[i].tokens) + 1 >= planned[i].prompt_len + lengths[i]}
    machine.scheduler.commit(plan, tokens, done=done)
    return plan


Request = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(0, 15), st.integers(1, 40))


@given(st.lists(Request, min_size=1, max_size=14))
@settings(max_examples=150, deadline=None)
def test_every_sequence_reads_its_own_past_whoever_joins_leaves_or_is_cancelled(
    requests: list[tuple[int, int, int, int]],
) -> None:
    machine = ToyMachine(Scheduler(slots=SLOTS, chunk_tokens=CHUNK))
    sequences = {i: new_sequence(i, [i * 100 + k for k in range(r[0])]) for i, r in enumerate(requests)}
    lengths = {i: r[1] for i, r in enumerate(requests)}
    cancelled = set()
    for now in range(400):
        for i, (_, _, arrives, leaves_after) in enumerate(requests):
            if arrives == now:
                machine.scheduler.add(sequences[i])
            if arrives + leaves_after == now and i % 3 == 0:
                machine.scheduler.cancel(i)
                cancelled.add(i)
        if machine.scheduler.is_idle and now > 15:
            break
        plan = step(machine, lengths)
        assert machine.scheduler.running <= SLOTS
        assert sum(c.size for c in plan.prefill) <= CHUNK
    assert machine.scheduler.is_idle
    for i, sequence in sequences.items():
        expected = alone(sequence.tokens[: sequence.prompt_len], lengths[i])
        assert sequence.tokens == (expected[: len(sequence.tokens)] if i in cancelled else expected)


def test_a_long_prompt_is_read_in_chunks_while_others_decode() -> None:
    machine = ToyMachine(Scheduler(slots=SLOTS, chunk_tokens=CHUNK))
    machine.scheduler.add(new_sequence(0, [1]))
    step(machine, {0: 50})
    machine.scheduler.add(new_sequence(1, list(range(20))))
    plans = [step(machine, {0: 50, 1: 5}) for _ in range(3)]
    assert [(c.start, c.stop) for p in plans for c in p.prefill] == [(0, 8), (8, 16), (16, 20)]
    assert all(len(p.decode) == 1 for p in plans)


def test_chunk_borders_do_not_depend_on_who_else_waits() -> None:
    scheduler = Scheduler(slots=SLOTS, chunk_tokens=CHUNK)
    scheduler.add(new_sequence(0, list(range(11))))
    scheduler.add(new_sequence(1, list(range(19))))
    seen: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(6):
        plan = scheduler.plan()
        for chunk in plan.prefill:
            seen[chunk.sequence.id].append(chunk.stop)
        scheduler.commit(plan, dict.fromkeys((0, 1), 7), done=())
    assert seen == {0: [8, 11], 1: [8, 16, 19]}


def test_short_prompts_start_together_within_one_chunk_length() -> None:
    scheduler = Scheduler(slots=SLOTS, chunk_tokens=CHUNK)
    for i, size in enumerate((3, 3, 3)):
        scheduler.add(new_sequence(i, [0] * size))
    assert [c.sequence.id for c in scheduler.plan().prefill] == [0, 1]


def test_a_full_machine_admits_nobody_until_a_slot_is_free() -> None:
    machine = ToyMachine(Scheduler(slots=SLOTS, chunk_tokens=CHUNK))
    lengths = {i: 3 if i == 0 else 50 for i in range(SLOTS + 1)}
    for i in range(SLOTS + 1):
        machine.scheduler.add(new_sequence(i, [i]))
    step(machine, lengths)
    assert (machine.scheduler.running, machine.scheduler.waiting) == (SLOTS, 1)
    step(machine, lengths)
    step(machine, lengths)
    assert (machine.scheduler.running, machine.scheduler.waiting) == (SLOTS - 1, 1)
    assert [c.sequence.id for c in step(machine, lengths).prefill] == [SLOTS]


def test_one_move_fills_the_hole_that_a_finished_sequence_leaves() -> None:
    machine = ToyMachine(Scheduler(slots=SLOTS, chunk_tokens=CHUNK))
    for i in range(3):
        machine.scheduler.add(new_sequence(i, [i, i]))
    step(machine, dict.fromkeys(range(3), 9))
    machine.scheduler.cancel(0)
    plan = step(machine, dict.fromkeys(range(3), 9))
    assert [(m.source, m.target, m.length) for m in plan.moves] == [(2, 0, 2)]
    assert [s.id for s in plan.decode] == [2, 1]


def test_used_positions_are_counted_and_given_back() -> None:
    machine = ToyMachine(Scheduler(slots=SLOTS, chunk_tokens=CHUNK))
    machine.scheduler.add(new_sequence(0, [1, 2, 3]))
    step(machine, {0: 2})
    assert machine.scheduler.cached_tokens == 3
    step(machine, {0: 2})
    assert machine.scheduler.cached_tokens == 0


@pytest.mark.parametrize("unknown", [0, 99])
def test_cancelling_an_unknown_sequence_does_nothing(unknown: int) -> None:
    scheduler = Scheduler(slots=SLOTS, chunk_tokens=CHUNK)
    scheduler.cancel(unknown)
    assert scheduler.plan().is_empty
