"""The scheduler on a model that reads its own blocks, so that wrong bookkeeping changes what it says."""

from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.toy_model import ToyModel

from weir.engine.blocks import BlockPool
from weir.engine.chunking import AdaptiveChunks, FixedChunks, StepTimes
from weir.engine.prefix import PrefixCache
from weir.engine.runner import greedy_ids, run_step
from weir.engine.scheduler import Scheduler, StepPlan
from weir.engine.sequence import Sequence, new_sequence
from weir.engine.speculation import Draft, Speculation
from weir.engine.step import Detail, PositionLogits

BLOCK, CONTEXT, CHUNK = 4, 64, 8


@dataclass
class Until:
    """Takes the likeliest token until there are `left`."""

    left: int
    detail: Detail = Detail.GREEDY

    @property
    def finished(self) -> object | None:
        return "length" if self.left == 0 else None

    def accept(self, position: PositionLogits) -> int:
        self.left -= 1
        return position.best


def alone(prompt: Tokens[int], count: int) -> list[int]:
    return greedy_ids(ToyModel(blocks=CONTEXT // BLOCK), list(prompt), count, chunk_tokens=CONTEXT)


class Oracle:
    """Guesses right, save every `wrong`th token."""

    def __init__(self, wrong: int = 0) -> None:
        self.wrong = wrong
        self.seen: list[tuple[int, int]] = []  # accepted, proposed

    def propose(self, tokens: Tokens[int], limit: int) -> Draft:
        said = alone(tokens, limit)
        wrong = self.wrong
        return Draft([t if not wrong or (len(tokens) + i) % wrong else (t + 1) % 400 for i, t in enumerate(said)])

    def observe(self, accepted: int, proposed: int) -> None:
        self.seen.append((accepted, proposed))

    def ended(self) -> None: ...


@dataclass
class Machine:
    """A scheduler, its model, and who chooses the tokens."""

    blocks: int = 40
    max_running: int = 4
    fixed: bool = False
    drafter: Oracle | None = None
    prefix: bool = True
    plans: list[StepPlan] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model = ToyModel(blocks=self.blocks, block_tokens=BLOCK, context_tokens=CONTEXT)
        self.pool = BlockPool(self.blocks, block_tokens=BLOCK)
        times = StepTimes()
        times.observe(1, 1, 1.0)
        times.observe(100, 100, 1.1)  # so cheap is a token that every guess pays
        chunking = FixedChunks(CHUNK) if self.fixed else AdaptiveChunks(StepTimes(), ceiling=CHUNK)
        speculation = Speculation(lambda _: self.drafter, times, limit=4) if self.drafter else None
        self.scheduler = Scheduler(
            self.pool,
            PrefixCache(self.pool, enabled=self.prefix),
            chunking,
            max_running=self.max_running,
            speculation=speculation,
        )
        self.choosers: dict[int, Until] = {}
        self.sequences: dict[int, Sequence] = {}
        self.ended: list[int] = []

    def add(self, prompt: Tokens[int], count: int = 5, **changes) -> Sequence:
        number = len(self.sequences)
        sequence = self.sequences[number] = new_sequence(number, list(prompt), room=len(prompt) + count)
        for name, value in changes.items():
            setattr(sequence, name, value)
        self.choosers[number] = Until(count)
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> StepPlan:
        plan = self.scheduler.plan()
        self.plans.append(plan)
        assert not plan.is_empty, "there is work, and nothing is done"
        assert len(plan.rows) == len({row.sequence.id for row in plan.rows})
        result = run_step(self.model, plan, self.choosers)
        done = [i for i in result.chosen if self.choosers[i].finished]
        self.ended += done
        self.scheduler.commit(plan, result.chosen, done=done)
        assert self.scheduler.running <= self.max_running
        held = {block for s in self.sequences.values() for block in s.blocks}
        assert self.pool.held == len(held)
        return plan

    def finish(self) -> None:
        while not self.scheduler.is_idle:
            self.step()
        assert self.pool.held == 0

    def said(self, sequence: Sequence) -> list[int]:
        return sequence.tokens[sequence.prompt_len :]


@dataclass(frozen=True)
class Request:
    start: int  # prompts of equal start begin alike
    size: int
    count: int
    arrives: int
    leaves: int | None
    priority: int
    adapter: int
    salt: str | None

    @property
    def prompt(self) -> list[int]:
        return [self.start * 50 + k for k in range(self.size)]


REQUESTS = st.builds(
    Request,
    start=st.integers(0, 2),
    size=st.integers(1, 30),
    count=st.integers(1, 14),
    arrives=st.integers(0, 15),
    leaves=st.none() | st.integers(1, 40),
    priority=st.integers(-1, 1),
    adapter=st.integers(-1, 0),
    salt=st.sampled_from([None, "tenant"]),
)


@given(
    st.lists(REQUESTS, min_size=1, max_size=14),
    st.integers(11, 24),
    st.booleans(),
    st.sampled_from([None, 1000, 3]),
)
@settings(max_examples=200, deadline=None)
def test_whoever_joins_leaves_or_is_preempted_each_says_what_it_says_alone(
    requests: list[Request], blocks: int, fixed: bool, wrong: int | None
) -> None:
    machine = Machine(blocks=blocks, fixed=fixed, drafter=None if wrong is None else Oracle(wrong))
    joined: dict[int, Request] = {}
    for now in range(700):
        for request in requests:
            if request.arrives == now:
                changes = {"priority": request.priority, "adapter": request.adapter, "salt": request.salt}
                joined[machine.add(request.prompt, request.count, **changes).id] = request
        for number, request in joined.items():
            if request.leaves is not None and request.arrives + request.leaves == now:
                machine.scheduler.cancel(number)
        if not machine.scheduler.is_idle:
            machine.step()
    assert machine.scheduler.is_idle
    assert machine.pool.held == 0
    assert machine.pool.free + machine.pool.idle == blocks
    for number, request in joined.items():
        said, expected = machine.said(machine.sequences[number]), alone_with(request)
        assert said == expected[: len(said)]
        assert len(said) == len(expected) or (request.leaves is not None and number not in machine.ended)


def alone_with(request: Request) -> list[int]:
    machine = Machine(blocks=CONTEXT // BLOCK, max_running=1, prefix=False)
    sequence = machine.add(request.prompt, request.count, adapter=request.adapter)
    machine.finish()
    return machine.said(sequence)


# reading prompts


def test_a_long_prompt_is_read_in_chunks_while_others_decode() -> None:
    machine = Machine()
    machine.add([1], 50)
    machine.step()
    machine.add(list(range(20)))
    plans = [machine.step() for _ in range(3)]
    assert [row.size for plan in plans for row in plan.prefill] == [8, 8, 4]
    assert all(len(plan.decode) == 1 for plan in plans)


def test_several_prompts_share_the_budget_of_a_step() -> None:
    machine = Machine()
    for start in (0, 100, 200):
        machine.add([start, start + 1, start + 2])
    assert [row.size for row in machine.step().prefill] == [3, 3, 2]
    assert [row.size for row in machine.step().prefill] == [1]


def test_fixed_borders_do_not_depend_on_who_else_waits() -> None:
    machine = Machine(fixed=True)
    first, second = machine.add(list(range(11))), machine.add(list(range(50, 69)))
    machine.finish()
    borders = {
        s.id: [row.size for p in machine.plans for row in p.prefill if row.sequence is s] for s in (first, second)
    }
    assert borders == {0: [8, 3], 1: [8, 8, 3]}


def test_with_fixed_borders_short_prompts_start_together_within_one_chunk_length() -> None:
    machine = Machine(fixed=True)
    for start in (0, 100, 200):
        machine.add([start] * 3)
    assert [row.sequence.id for row in machine.step().prefill] == [0, 1]


# who goes first


def test_a_full_machine_admits_nobody_until_somebody_ends() -> None:
    machine = Machine(max_running=2)
    machine.add([1], 3), machine.add([2], 50)
    third = machine.add([3])
    for _ in range(3):
        machine.step()
        assert not third.cached
    assert [row.sequence for row in machine.step().prefill] == [third]


def test_a_higher_priority_starts_first_and_equals_in_order_of_arrival() -> None:
    machine = Machine(max_running=1)
    for priority in (0, 0, 5, -5, 5):
        machine.add([7, 8], 2, priority=priority)
    machine.finish()
    assert machine.ended == [2, 4, 0, 1, 3]


def test_nobody_overtakes_the_one_that_waits_for_blocks() -> None:
    machine = Machine(blocks=6)
    machine.add([1] * 12, 9)
    machine.step(), machine.step()
    machine.add([2] * 16, 2), machine.add([3], 2)
    assert not machine.step().prefill
    machine.finish()
    assert machine.ended == [0, 1, 2]


def test_the_least_important_is_preempted_and_says_the_same_in_the_end() -> None:
    machine = Machine(blocks=6, prefix=False)
    first, low, last = machine.add([1] * 3, 18), machine.add([2] * 3, 14, priority=-1), machine.add([3] * 3, 14)
    preempted = []
    while not machine.scheduler.is_idle:
        before = {s.id for s in (first, low, last) if s.blocks}
        plan = machine.step()
        if plan.preempted:
            preempted += sorted(i for i in before if machine.sequences[i].cached == 0)
    assert preempted[0] == low.id
    assert first.id not in preempted
    assert machine.ended == [first.id, last.id, low.id]
    for sequence in (first, low, last):
        count = sequence.room - sequence.prompt_len
        assert machine.said(sequence) == alone(sequence.tokens[: sequence.prompt_len], count)


def test_one_that_fills_the_whole_memory_still_ends() -> None:
    machine = Machine(blocks=5)
    big = machine.add([1] * 10, 10)
    for start in range(2, 5):
        machine.add([start] * 6, 6)
    machine.finish()
    assert machine.said(big) == alone([1] * 10, 10)
    assert sorted(machine.ended) == [0, 1, 2, 3]


# the prefix cache


def test_a_prompt_that_was_read_is_not_read_again_but_for_its_end() -> None:
    machine = Machine()
    prompt = list(range(18))
    machine.add(prompt)
    machine.finish()
    machine.add(prompt)
    plan = machine.step()
    assert (plan.prefix_queried, plan.prefix_hit, [row.size for row in plan.prefill]) == (18, 16, [2])
    machine.finish()
    assert machine.said(machine.sequences[0]) == machine.said(machine.sequences[1])


def test_the_last_token_of_a_prompt_is_always_read() -> None:
    machine = Machine()
    for _ in range(2):
        machine.add(list(range(16)))
        machine.finish()
    assert [row.size for plan in machine.plans for row in plan.prefill] == [8, 8, 4]


def test_a_next_turn_finds_the_answer_of_the_last_one() -> None:
    machine = Machine()
    first = machine.add(list(range(9)), 8)
    machine.finish()
    machine.add([*first.tokens, 1, 2, 3])
    assert machine.step().prefix_hit == 16


@pytest.mark.parametrize("change", [{"salt": "other"}, {"salt": ""}, {"adapter": 0}])
def test_what_another_tenant_or_adapter_read_is_not_found(change) -> None:
    machine = Machine()
    machine.add(list(range(18)))
    machine.finish()
    machine.add(list(range(18)), **change)
    assert machine.step().prefix_hit == 0


def test_prompts_that_begin_alike_and_come_together_are_read_once() -> None:
    machine = Machine()
    for tail in range(3):
        machine.add([*range(24), 100 + tail], 2)
    machine.finish()
    assert sum(row.size for plan in machine.plans for row in plan.prefill) == 24 + 3
    assert sum(plan.prefix_hit for plan in machine.plans) == 48


def test_a_preempted_sequence_finds_its_own_blocks_again() -> None:
    machine = Machine(blocks=8)
    machine.add([1] * 8, 17), machine.add([2] * 8, 9)
    machine.finish()
    again = [plan for plan in machine.plans[1:] if plan.prefix_hit]
    assert sum(plan.preempted for plan in machine.plans) >= 1
    assert again


# guessing ahead


@pytest.mark.parametrize("wrong", [0, 2, 3, 7])
def test_guesses_change_the_number_of_steps_and_nothing_else(wrong: int) -> None:
    drafter = Oracle(wrong)
    machine = Machine(drafter=drafter)
    sequence = machine.add([1, 2, 3], 40)
    machine.finish()
    assert machine.said(sequence) == alone([1, 2, 3], 40)
    accepted = sum(a for a, _ in drafter.seen)
    assert len(machine.plans) == 40 - accepted
    assert accepted > 10


def test_guesses_take_free_blocks_only() -> None:
    machine = Machine(blocks=4, drafter=Oracle())
    machine.add([2] * 9, 1)
    machine.finish()
    assert (machine.pool.free, machine.pool.idle) == (2, 2)  # two full blocks stay in the prefix cache
    machine.add([3] * 3, 10)
    machine.step(), machine.step()
    assert (machine.pool.free, machine.pool.idle, machine.pool.held) == (0, 2, 2)
    machine.finish()
    assert any(row.drafts for plan in machine.plans for row in plan.decode)
    assert sum(plan.preempted for plan in machine.plans) == 0


def test_no_guesses_in_a_step_whose_prompt_is_cut() -> None:
    machine = Machine(drafter=Oracle())
    machine.add([1], 30)
    machine.step()
    machine.add(list(range(20)), 30)
    assert [bool(row.drafts) for _ in range(2) for row in machine.step().decode] == [False] * 2
    assert all(row.drafts for row in machine.step().decode)


# leaving


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_cancelling_gives_everything_back(steps: int) -> None:
    machine = Machine()
    machine.add(list(range(20)), 30)
    for _ in range(steps):
        machine.step()
    machine.scheduler.cancel(0)
    assert machine.scheduler.is_idle
    assert machine.pool.held == 0


def test_cancelling_an_unknown_sequence_does_nothing() -> None:
    machine = Machine()
    machine.scheduler.cancel(99)
    assert machine.scheduler.plan().is_empty
