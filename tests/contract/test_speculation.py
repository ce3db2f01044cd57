"""Guessing ahead changes how many steps an answer takes, and nothing else: on a real packed graph."""

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.support.observer import Observer
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph

from weir.contracts.events import Finished
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.corpus import Corpus
from weir.engine.drafts import Drafters
from weir.engine.engine import Engine, EngineInfo
from weir.engine.kernels.library import operators
from weir.engine.packed_model import BLOCK_TOKENS, PackedGraph, PackedModel
from weir.engine.sequence import Sequence
from weir.engine.settings import EngineSettings
from weir.engine.speculation import Draft, Drafter
from weir.release.drafts import Drafts
from weir.release.tokenizer import ReleaseTokenizer
from weir.telemetry.node_metrics import NodeMetrics

pytestmark = pytest.mark.skipif(operators() is None, reason="the operators are not built here")

PROMPTS = ("How do I return an order?", "怎么退货", "the quick brown the quick brown the quick", "7 7 7 7 7 7")
MOST = 40
VOCABULARY = 400


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


@cache
def graph() -> PackedGraph:
    return PackedGraph(tiny_graph("packed8") / "model.onnx", threads=2)


@dataclass(frozen=True)
class Answer:
    ids: tuple[int, ...]
    text: str
    reason: str
    tokens: int


@dataclass(frozen=True)
class Call:
    """`stop_at` and `eos_at` make the answer end where its own first words or tokens are."""

    prompt: str
    count: int = MOST
    seed: int | None = None
    stop: str | None = None
    tokens: bool = True

    @property
    def request(self) -> GenerateRequest:
        sampled = {} if self.seed is None else {"temperature": 1.2, "top_p": 0.95, "seed": self.seed}
        params = SamplingParams(max_new_tokens=self.count, stop=() if self.stop is None else (self.stop,), **sampled)
        return GenerateRequest(id="r", prompt=self.prompt, sampling=params, return_tokens=self.tokens)


def engine_of(
    make_drafter: Callable[[Sequence], Drafter] | None,
    *,
    eos: tuple[int, ...] = (),
    blocks: int = 200,
    observer=None,
    most: int = 32,
) -> Engine:
    model = PackedModel(graph(), blocks=blocks, context_tokens=min(CONTEXT_TOKENS, blocks * BLOCK_TOKENS))
    info = EngineInfo("tiny", 1, "cpu-packed8", 2, eos)
    bounds = EngineSettings(max_running=8, prefill_chunk_tokens=32, max_draft_tokens=most)
    return Engine(model, tokenizer(), info, settings=bounds, observer=observer, make_drafter=make_drafter)


async def answer_of(engine: Engine, call: Call) -> Answer:
    *chunks, last = [event async for event in engine.generate(call.request)]
    assert isinstance(last, Finished)
    ids = tuple(token.id for chunk in chunks for token in chunk.tokens)
    return Answer(ids, "".join(chunk.text for chunk in chunks), str(last.reason), last.usage.completion_tokens)


async def answers_of(engine: Engine, calls: list[Call]) -> list[Answer]:
    engine.start()
    try:
        return await asyncio.gather(*(answer_of(engine, call) for call in calls))
    finally:
        await engine.stop()


@cache
def alone(call: Call, eos: tuple[int, ...] = ()) -> Answer:
    return asyncio.run(answers_of(engine_of(None, eos=eos), [call]))[0]


class Prophet:
    """Knows what each call will say; says it as it is, wrong here and there, at random, or without an end."""

    def __init__(self, calls: list[Call], eos: tuple[int, ...], quality: str, seed: int) -> None:
        self.known = [
            (tokenizer().encode(call.prompt), alone(Call(call.prompt, MOST, call.seed), ()).ids) for call in calls
        ]
        self.eos = eos
        self.quality = quality
        self.dice = random.Random(seed)

    def __call__(self, sequence: Sequence) -> "Prophet":
        return self

    def propose(self, tokens: list[int], limit: int) -> Draft:
        said = next(
            (
                ids[len(tokens) - len(prompt) :]
                for prompt, ids in self.known
                if [*prompt, *ids][: len(tokens)] == tokens
            ),
            (),
        )
        if self.quality == "random":
            return Draft([self.dice.randrange(VOCABULARY) for _ in range(self.dice.randint(0, limit))])
        if self.quality == "flawed":
            return Draft([t if self.dice.random() < 0.8 else self.dice.randrange(VOCABULARY) for t in said[:limit]])
        if self.quality == "endless":
            return Draft([*said, *(self.eos * 3), *([5] * 500)])
        return Draft(said[:limit])

    def observe(self, accepted: int, proposed: int) -> None:
        assert 0 <= accepted <= proposed <= 32

    def ended(self) -> None: ...


def some_eos(place: int | None) -> tuple[int, ...]:
    """A token that the first prompt's greedy answer has at `place`."""
    return () if place is None else (alone(Call(PROMPTS[0])).ids[place],)


calls = st.builds(
    Call,
    st.sampled_from(PROMPTS),
    st.integers(1, MOST),
    st.sampled_from([None, None, 1, 2]),
    st.sampled_from([None, None, "e", "退", " t", "o "]),
    st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    wanted=st.lists(calls, min_size=1, max_size=6),
    quality=st.sampled_from(["right", "flawed", "random", "endless", "none of ours", "real"]),
    eos_at=st.sampled_from([None, 1, 7, 20]),
    blocks=st.sampled_from([6, 9, 200]),
    seed=st.integers(0, 1 << 16),
)
def test_whatever_is_guessed_answers_are_those_without_guesses(
    wanted: list[Call], quality: str, eos_at: int | None, blocks: int, seed: int
) -> None:
    eos = some_eos(eos_at)
    expected = [alone(call, eos) for call in wanted]
    known = tuple(answer.ids for answer in expected if answer.ids)
    drafter = Drafters(Corpus(Drafts((), known))) if quality == "real" else Prophet(wanted, eos, quality, seed)
    engine = engine_of(drafter, eos=eos, blocks=blocks)
    assert asyncio.run(answers_of(engine, wanted)) == expected
    assert (engine.stats.running, engine.stats.queued, engine.stats.kv_used_bytes) == (0, 0, 0)


@pytest.mark.timed
def test_right_guesses_spare_steps_and_are_counted() -> None:
    registry = CollectorRegistry()
    observer = NodeMetrics(registry)
    call = Call(PROMPTS[0])
    engine = engine_of(Prophet([call], (), "right", 0), observer=observer)
    [answer] = asyncio.run(answers_of(engine, [call]))
    accepted = registry.get_sample_value("weir_node_draft_accepted_tokens_total")
    assert answer == alone(call)
    assert accepted == registry.get_sample_value("weir_node_draft_tokens_total")
    assert accepted is not None
    assert accepted > MOST / 2
    steps = sum(
        registry.get_sample_value("weir_node_step_seconds_count", {"stage": stage}) or 0
        for stage in ("prefill", "decode")
    )
    assert steps == MOST - accepted


def test_guesses_that_never_come_true_are_given_up() -> None:
    observer = Observer()
    engine = engine_of(Prophet([], (), "random", 3), observer=observer)
    wanted = [Call(prompt, MOST) for prompt in PROMPTS]
    assert asyncio.run(answers_of(engine, wanted)) == [alone(call) for call in wanted]
    late = observer.reports[len(observer.reports) // 2 :]
    # 16 a row were to be had. How many are tried follows the clock: in a graph this small one more costs next to
    # nothing.
    assert sum(report.drafted for report in late) <= 3 * sum(report.decoded for report in late)


def test_memory_that_does_not_suffice_for_all_changes_nothing() -> None:
    observer, wanted = Observer(), [Call(prompt, MOST) for prompt in PROMPTS]
    engine = engine_of(Prophet(wanted, (), "flawed", 1), blocks=6, observer=observer)
    assert asyncio.run(answers_of(engine, wanted)) == [alone(call) for call in wanted]
    assert observer.total("preempted") > 0
    assert 0 < observer.total("accepted") < observer.total("drafted")


async def test_leaving_in_the_middle_of_guesses_gives_everything_back() -> None:
    call = Call(PROMPTS[0])
    expected = await asyncio.to_thread(alone, call)
    engine = engine_of(await asyncio.to_thread(Prophet, [call], (), "right", 0))
    engine.start()
    try:
        for _ in range(5):
            async with aclosing(engine.generate(call.request)) as events:
                async for _ in events:
                    break
        assert await answer_of(engine, call) == expected
        assert engine.stats.kv_used_bytes == 0
    finally:
        await engine.stop()


@pytest.mark.timed
def test_asked_again_an_answer_takes_a_few_steps_but_not_for_another_tenant() -> None:
    observer = Observer()
    engine = engine_of(Drafters(), observer=observer)
    question = Call(PROMPTS[1]).request

    async def steps(salt: str | None) -> int:
        before = len(observer.reports)
        async for _ in engine.generate(question.model_copy(update={"cache_salt": salt})):
            pass
        return len(observer.reports) - before

    async def all_steps() -> list[int]:
        engine.start()
        try:
            return [await steps(salt) for salt in ("one", "one", "one", "one", "other", None)]
        finally:
            await engine.stop()

    first, *repeats, other, nobody = asyncio.run(all_steps())
    again = min(repeats)  # a machine that is busy for a moment makes guesses look dear: not three times
    assert again < first / 2
    assert min(other, nobody) > 2 * again


def test_none_are_made_when_the_settings_say_so() -> None:
    observer = Observer()
    wanted = [Call(PROMPTS[2])] * 3
    engine = engine_of(Drafters(), observer=observer, most=0)
    assert asyncio.run(answers_of(engine, wanted)) == [alone(call) for call in wanted]
    assert observer.total("drafted") == 0
