"""What the engine promises of scheduling, on a model that reads its own blocks and on a real graph."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache

import pytest
import pytest_asyncio
from tests.support.observer import Observer
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph
from tests.support.toy_model import ToyModel

from weir.contracts.errors import DeadlineExceededError, ValidationError
from weir.contracts.events import Finished
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.engine import Engine, EngineInfo
from weir.engine.kernels.library import operators
from weir.engine.packed_model import BLOCK_TOKENS, PackedGraph, PackedModel
from weir.engine.runner import greedy_ids
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.speculation import Draft
from weir.engine.step import Model, PositionLogits, Row
from weir.release.tokenizer import ReleaseTokenizer

CONTEXT = 96
WORDS = ("How", "do", "I", "return", "an", "order", "怎么", "退货", "the", "quick", "brown", "7")


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


def toy(blocks: int = 60, **changes) -> ToyModel:
    return ToyModel(blocks=blocks, context_tokens=CONTEXT, **changes)


def slots() -> SlotModel:
    graph = Graph(tiny_graph("fp32") / "model.onnx", threads=2)
    return SlotModel(GraphSession(graph, slots=4, context_tokens=CONTEXT_TOKENS))


def packed(precision: str, tokens: int) -> PackedModel:
    """A model with memory for so many tokens."""
    return PackedModel(packed_graph(precision), blocks=-(-tokens // BLOCK_TOKENS), context_tokens=CONTEXT_TOKENS)


@cache
def packed_graph(precision: str) -> PackedGraph:
    return PackedGraph(tiny_graph(precision) / "model.onnx", threads=2)


class Guesser:
    """Guesses what the model says, save every fourth token."""

    def propose(self, tokens: Sequence[int], limit: int) -> Draft:
        said = greedy_ids(toy(), list(tokens), limit, chunk_tokens=CONTEXT)
        return Draft([t if (len(tokens) + i) % 4 else 0 for i, t in enumerate(said)])

    def observe(self, accepted: int, proposed: int) -> None:
        assert 0 <= accepted <= proposed

    def ended(self) -> None: ...


class Echo:
    """Guesses that what came a few tokens ago comes again."""

    def propose(self, tokens: Sequence[int], limit: int) -> Draft:
        return Draft(list(tokens[-3:])[:limit])

    def observe(self, accepted: int, proposed: int) -> None:
        assert 0 <= accepted <= proposed

    def ended(self) -> None: ...


Starter = Callable[..., Engine]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Starter]:
    started: list[Engine] = []

    def make(model: Model, *, observer=None, make_drafter=None, **settings) -> Engine:
        bounds = EngineSettings(**({"prefill_chunk_tokens": 16, "max_running": 8, "max_waiting": 20_000} | settings))
        info = EngineInfo("tiny", 1, "cpu-toy", 1, (1,))
        engine = Engine(model, tokenizer(), info, settings=bounds, observer=observer, make_drafter=make_drafter)
        engine.start()
        started.append(engine)
        return engine

    yield make
    for engine in started:
        await engine.stop()


@dataclass(frozen=True)
class Call:
    prompt: str
    count: int
    delay: float
    leaves: bool
    priority: int = 0
    seed: int | None = None
    salt: str | None = None

    @property
    def request(self) -> GenerateRequest:
        sampling = {"temperature": 1.0, "seed": self.seed} if self.seed is not None else {}
        params = SamplingParams(max_new_tokens=self.count, ignore_eos=True, **sampling)
        return GenerateRequest(
            id="r",
            prompt=self.prompt,
            sampling=params,
            return_tokens=True,
            priority=self.priority,
            cache_salt=self.salt,
        )


def calls(seed: int, count: int, *, most_words: int = 14, most_tokens: int = 20) -> list[Call]:
    dice = random.Random(seed)
    beginnings = [" ".join(dice.choices(WORDS, k=dice.randint(4, most_words))) for _ in range(3)]
    return [
        Call(
            prompt=f"{dice.choice(beginnings)} {' '.join(dice.choices(WORDS, k=dice.randint(1, 6)))}",
            count=dice.randint(1, most_tokens),
            delay=dice.random() * 0.02,
            leaves=dice.random() < 0.25,
            priority=dice.randint(-1, 1),
            seed=dice.choice([None, None, 1, 2]),
            salt=dice.choice([None, None, "tenant"]),
        )
        for _ in range(count)
    ]


def most_tokens(wanted: list[Call]) -> int:
    return max(len(tokenizer().encode(call.prompt)) + call.count for call in wanted)


def tight(wanted: list[Call]) -> ToyModel:
    """Just enough memory for the largest of them."""
    return toy(blocks=-(-most_tokens(wanted) // 4))


async def ids_of(engine: Engine, call: Call) -> tuple[int, ...]:
    await asyncio.sleep(call.delay)
    ids: list[int] = []
    async with aclosing(engine.generate(call.request)) as events:
        async for event in events:
            ids += [token.id for token in getattr(event, "tokens", ())]
            if call.leaves and len(ids) >= call.count // 2:
                break
    return tuple(ids)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        await asyncio.sleep(0.001)


async def check_together(engine: Engine, alone: Engine, wanted: list[Call]) -> None:
    answers = await asyncio.gather(*(ids_of(engine, call) for call in wanted))
    for call, ids in zip(wanted, answers, strict=True):
        expected = await ids_of(alone, Call(call.prompt, call.count, 0, False, seed=call.seed))
        assert ids == (expected[: len(ids)] if call.leaves else expected)
    await until(lambda: engine.stats.running == engine.stats.queued == 0)
    assert engine.stats.kv_used_bytes == engine.stats.kv_used_ratio == 0


@pytest.mark.parametrize("guessing", [False, True])
@pytest.mark.parametrize("seed", range(6))
async def test_with_little_memory_each_still_gets_what_it_gets_alone(start: Starter, seed: int, guessing: bool) -> None:
    observer, wanted = Observer(), calls(seed, 40)
    engine = start(tight(wanted), observer=observer, make_drafter=(lambda _: Guesser()) if guessing else None)
    await check_together(engine, start(toy(), prefix_cache=False), wanted)
    assert observer.total("preempted") > 0
    assert 0 < observer.total("prefix_hit") < observer.total("prefix_queried")
    assert bool(observer.total("accepted")) == guessing
    assert observer.total("accepted") < observer.total("drafted") or not guessing


@pytest.mark.parametrize("seed", range(2))
async def test_on_a_real_graph_each_gets_what_it_gets_alone(start: Starter, seed: int) -> None:
    observer = Observer()
    engine = start(slots(), observer=observer)
    await check_together(engine, start(slots(), max_running=1), calls(seed, 14))
    assert observer.total("preempted") == observer.total("prefix_hit") == 0


@pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
@pytest.mark.parametrize("precision", ["packed8", "packed4"])
@pytest.mark.parametrize("seed", range(2))
async def test_on_a_packed_graph_memory_guesses_and_company_change_no_answer(
    start: Starter, precision: str, seed: int
) -> None:
    wanted = calls(seed, 14, most_tokens=40)
    observer = Observer()
    engine = start(packed(precision, most_tokens(wanted)), observer=observer, make_drafter=lambda _: Echo())
    await check_together(engine, start(packed(precision, CONTEXT_TOKENS), prefix_cache=False, max_running=1), wanted)
    assert observer.total("preempted") > 0
    assert observer.total("prefix_hit") > 0
    assert observer.total("drafted") > 0


async def test_ten_thousand_requests_leave_nothing_behind(start: Starter) -> None:
    observer, wanted = Observer(), calls(7, 10_000, most_words=5, most_tokens=16)
    model = tight(wanted)
    engine = start(model, observer=observer)
    for first in range(0, len(wanted), 500):
        await asyncio.gather(*(ids_of(engine, call) for call in wanted[first : first + 500]))
    await until(lambda: engine.stats.running == engine.stats.queued == 0)
    assert engine.stats.kv_used_bytes == 0
    assert engine._pool.free + engine._pool.idle == model.blocks
    assert not engine._live
    assert len(observer.outcomes) == 10_000
    assert observer.outcomes.count("cancelled") > 500
    assert observer.total("preempted") > 0


# who goes first, and until when


class Slow(ToyModel):
    def run(self, rows: Sequence[Row]) -> list[list[PositionLogits]]:
        time.sleep(0.004)
        return super().run(rows)


def ask(prompt: str = "order", count: int = 10, **fields) -> GenerateRequest:
    sampling = SamplingParams(max_new_tokens=count, ignore_eos=True)
    return GenerateRequest(id="r", prompt=prompt, sampling=sampling, **fields)


async def whole(engine: Engine, request: GenerateRequest) -> Finished:
    *_, last = [event async for event in engine.generate(request)]
    assert isinstance(last, Finished)
    return last


async def test_a_higher_priority_overtakes_those_that_wait(start: Starter) -> None:
    engine = start(Slow(blocks=60, context_tokens=CONTEXT), max_running=1)
    running = asyncio.create_task(whole(engine, ask(count=30)))
    await until(lambda: engine.stats.running == 1)
    order: list[int] = []

    async def queue(priority: int) -> None:
        await whole(engine, ask(count=2, priority=priority))
        order.append(priority)

    waiting = [asyncio.create_task(queue(priority)) for priority in (0, -10, 10, 1)]
    await asyncio.gather(running, *waiting)
    assert order == [10, 1, 0, -10]


@pytest.mark.timed
async def test_a_deadline_that_passes_in_the_queue_costs_no_work(start: Starter) -> None:
    observer = Observer()
    engine = start(Slow(blocks=60, context_tokens=CONTEXT), max_running=1, observer=observer)
    running = asyncio.create_task(whole(engine, ask(count=60)))
    await until(lambda: engine.stats.running == 1)
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError, match="deadline"):
        await whole(engine, ask("the quick brown fox", deadline_s=0.05))
    assert 0.04 < time.monotonic() - began < 0.2
    assert (await running).usage.completion_tokens == 60
    assert observer.total("read") == len(tokenizer().encode("order"))
    assert observer.outcomes == ["expired", "length"]


@pytest.mark.timed
async def test_a_deadline_that_passes_while_it_runs_gives_the_blocks_back(start: Starter) -> None:
    observer = Observer()
    engine = start(Slow(blocks=60, context_tokens=CONTEXT), observer=observer)
    with pytest.raises(DeadlineExceededError):
        await whole(engine, ask(count=90, deadline_s=0.08))
    assert observer.outcomes == ["expired"]
    assert 2 < observer.total("generated") < 40
    assert engine.stats.kv_used_bytes == engine.stats.running == 0


async def test_a_deadline_that_does_not_pass_changes_nothing(start: Starter) -> None:
    engine = start(toy())
    assert (await whole(engine, ask(deadline_s=0.5))).usage.completion_tokens == 10
    await asyncio.sleep(0.6)
    assert (await whole(engine, ask())).usage.completion_tokens == 10


# memory


async def test_what_the_memory_could_never_hold_is_refused_at_once(start: Starter) -> None:
    engine = start(toy(blocks=5))
    with pytest.raises(ValidationError, match="key/value memory, in tokens, 20") as refused:
        await whole(engine, ask(count=20))
    assert refused.value.field == "max_new_tokens"
    with pytest.raises(ValidationError, match="no room") as refused:
        await whole(engine, ask("order " * 20))
    assert refused.value.field == "prompt"
    last = await whole(engine, ask().model_copy(update={"sampling": SamplingParams(ignore_eos=True)}))
    assert last.usage.prompt_tokens + last.usage.completion_tokens == engine.context_tokens == 20


async def test_the_prefix_cache_counts_what_it_spares(start: Starter) -> None:
    observer = Observer()
    engine = start(toy(), observer=observer)
    prompt = " ".join(WORDS)
    size = len(tokenizer().encode(prompt))
    for _ in range(3):
        await whole(engine, ask(prompt))
    await whole(engine, ask(prompt, cache_salt="tenant"))
    spared = (size - 1) // 4 * 4
    assert observer.total("prefix_queried") == 4 * size
    assert observer.total("prefix_hit") == 2 * spared
    assert observer.total("read") == engine.stats.prompt_tokens_total == 4 * size - 2 * spared
    assert engine.stats.cached_blocks == 2 * ((size + 9) // 4)
    assert engine.stats.kv_budget_bytes == 60 * 4 * 8


async def test_two_streams_that_decode_and_a_prompt_share_one_run(start: Starter) -> None:
    observer = Observer()
    engine = start(Slow(blocks=60, context_tokens=CONTEXT), observer=observer)
    first, second = (asyncio.create_task(whole(engine, ask(word, count=40))) for word in WORDS[:2])
    await until(lambda: engine.stats.generated_tokens_total > 10)
    await whole(engine, ask(" ".join(WORDS), count=1))
    await asyncio.gather(first, second)
    mixed = [report for report in observer.reports if report.stage == "mixed" and report.decoded == 2]
    assert mixed
    assert all(report.generated >= 2 and report.read <= 16 for report in mixed)
