"""The engine on a real (tiny) exported graph."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import cache
from types import SimpleNamespace

import pytest
import pytest_asyncio
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph
from tests.support.tiny_release import PROMPTS, golden_ids

from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    OverloadedError,
    ValidationError,
)
from weir.contracts.events import Finished, FinishReason, TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.detokenizer import Detokenizer
from weir.engine.engine import Engine, EngineInfo
from weir.engine.runner import greedy_ids
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.release.tokenizer import ReleaseTokenizer
from weir.telemetry.step_report import StepReport

EOS = (3, 1)
CHUNK = 16
SLOTS = 4


@cache
def graph(precision: str = "fp32", *, pruned: bool = True) -> Graph:
    return Graph(tiny_graph(precision, pruned=pruned) / "model.onnx", threads=2)


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


@cache
def alone(prompt: str, count: int, precision: str = "fp32") -> tuple[int, ...]:
    session = GraphSession(graph(precision), slots=1, context_tokens=CONTEXT_TOKENS)
    return tuple(greedy_ids(session, tokenizer().encode(prompt), count, chunk_tokens=CHUNK))


class Observer:
    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.outcomes: list[str] = []

    def stepped(self, report: StepReport) -> None:
        self.steps.append((report.stage, report.read, report.generated))

    def ended(self, outcome: str, *, prompt_tokens: int, generated_tokens: int) -> None:
        self.outcomes.append(outcome)


Starter = Callable[..., Engine]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Starter]:
    started: list[Engine] = []

    def make(
        precision: str = "fp32",
        *,
        slots: int = SLOTS,
        waiting: int = 64,
        pruned: bool = True,
        observer=None,
        eos_ids=EOS,
    ) -> Engine:
        session = GraphSession(graph(precision, pruned=pruned), slots=slots, context_tokens=CONTEXT_TOKENS)
        settings = EngineSettings(prefill_chunk_tokens=CHUNK, max_waiting=waiting)
        info = EngineInfo("tiny", 1, f"cpu-{precision}", 2, eos_ids)
        engine = Engine(SlotModel(session), tokenizer(), info, settings=settings, observer=observer)
        engine.start()
        started.append(engine)
        return engine

    yield make
    for engine in started:
        await engine.stop()


def ask(prompt: str = PROMPTS[0], *, tokens: bool = False, **sampling) -> GenerateRequest:
    params = SamplingParams(**({"max_new_tokens": 12, "ignore_eos": True} | sampling))
    return GenerateRequest(id="r", prompt=prompt, sampling=params, return_tokens=tokens)


async def collect(engine: Engine, request: GenerateRequest) -> SimpleNamespace:
    events = [event async for event in engine.generate(request)]
    *chunks, last = events
    assert isinstance(last, Finished)
    assert all(isinstance(c, TokenChunk) for c in chunks)
    assert sum(c.token_count for c in chunks) == last.usage.completion_tokens
    return SimpleNamespace(
        text="".join(c.text for c in chunks),
        ids=tuple(t.id for c in chunks for t in c.tokens),
        tokens=[t for c in chunks for t in c.tokens],
        chunks=chunks,
        reason=last.reason,
        usage=last.usage,
    )


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        await asyncio.sleep(0.001)
    return time.monotonic() - began


# what it says


async def test_greedy_fp32_answers_are_those_of_transformers(start: Starter) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(lively_checkpoint(), dtype=torch.float32)
    engine = start()
    for prompt, golden in zip(PROMPTS, golden_ids("fp32"), strict=True):
        ids = torch.tensor([tokenizer().encode(prompt)])
        with torch.no_grad():
            row = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, eos_token_id=399
            )[0]
        expected = tuple(row[ids.shape[1] :].tolist())
        answer = await collect(engine, ask(prompt, max_new_tokens=16, tokens=True))
        assert answer.ids == expected == golden


async def test_a_graph_with_all_positions_logits_says_the_same(start: Starter) -> None:
    prompt = PROMPTS[0] * 3  # longer than a chunk
    answer = await collect(start(pruned=False), ask(prompt, tokens=True))
    assert answer.ids == alone(prompt, 12)


def random_requests(seed: int, count: int) -> list[tuple[str, int, float, bool]]:
    """Prompt, length, seconds before it comes, whether its caller leaves half-way."""
    dice = random.Random(seed)
    words = ["How", "do", "I", "return", "an", "order", "怎么", "退货", "签收", "the", "quick", "brown", "7"]
    return [
        (
            " ".join(dice.choices(words, k=dice.randint(1, 30))),
            dice.randint(1, 24),
            dice.random() * 0.02,
            dice.random() < 0.3,
        )
        for _ in range(count)
    ]


async def join(engine: Engine, prompt: str, count: int, delay: float, leaves: bool, **sampling) -> tuple[int, ...]:
    await asyncio.sleep(delay)
    ids: list[int] = []
    async with aclosing(engine.generate(ask(prompt, max_new_tokens=count, tokens=True, **sampling))) as events:
        async for event in events:
            ids += [t.id for t in getattr(event, "tokens", ())]
            if leaves and len(ids) >= count // 2:
                break
    return tuple(ids)


@pytest.mark.parametrize("precision", ["fp32", "w8a8", "int8"])
@pytest.mark.parametrize("seed", range(4))
async def test_together_each_gets_token_for_token_what_it_gets_alone(start: Starter, precision: str, seed: int) -> None:
    engine = start(precision)
    requests = random_requests(seed, 20)
    answers = await asyncio.gather(*(join(engine, *r) for r in requests))
    for (prompt, count, _, leaves), ids in zip(requests, answers, strict=True):
        expected = alone(prompt, count, precision)
        assert ids == (expected[: len(ids)] if leaves else expected)
    await until(lambda: engine.stats.running == engine.stats.queued == 0)
    assert engine.stats.kv_used_ratio == 0


async def test_a_seed_gives_the_same_answer_alone_and_in_company(start: Starter) -> None:
    engine = start()
    sampling = {"temperature": 1.0, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1, "seed": 7}
    lone = await join(engine, PROMPTS[0], 20, 0.0, False, **sampling)
    company = [join(engine, *r, temperature=1.5) for r in random_requests(9, 8)]
    together, *_ = await asyncio.gather(join(engine, PROMPTS[0], 20, 0.01, False, **sampling), *company)
    assert together == lone
    assert lone != await join(engine, PROMPTS[0], 20, 0.0, False, **(sampling | {"seed": 8}))


# how it ends


async def test_a_length_and_its_counts(start: Starter) -> None:
    answer = await collect(start(), ask(max_new_tokens=5))
    assert answer.reason is FinishReason.LENGTH
    assert answer.usage.completion_tokens == 5
    assert answer.usage.prompt_tokens == len(tokenizer().encode(PROMPTS[0]))
    assert answer.text == tokenizer().decode(list(alone(PROMPTS[0], 5)))


async def test_an_end_token_ends_it_counts_and_shows_nothing(start: Starter) -> None:
    expected = alone(PROMPTS[0], 16)
    assert expected[6] == 1  # <|endoftext|>: the checkpoint is made from a fixed seed
    answer = await collect(start(), ask(max_new_tokens=16, ignore_eos=False, tokens=True))
    assert answer.reason is FinishReason.EOS
    assert answer.ids == expected[:7]
    assert answer.tokens[-1].special
    assert answer.text == tokenizer().decode(list(expected[:6]))


async def test_without_a_length_it_may_fill_the_context(start: Starter) -> None:
    answer = await collect(start(), ask(max_new_tokens=None))
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == CONTEXT_TOKENS


async def test_an_end_token_that_is_an_ordinary_word_is_not_shown_either(start: Starter) -> None:
    *before, word = alone(PROMPTS[0], 6)
    assert tokenizer().decode([word]).isalpha()
    answer = await collect(start(eos_ids=(word,)), ask(ignore_eos=False))
    assert (answer.reason, answer.text) == (FinishReason.EOS, tokenizer().decode(before))


@pytest.mark.parametrize("tokens", [False, True])
async def test_what_was_held_back_for_a_stop_is_given_at_the_end(start: Starter, tokens: bool) -> None:
    text = tokenizer().decode(list(alone(PROMPTS[0], 9)))
    answer = await collect(start(), ask(max_new_tokens=9, stop=(text[-2:] + "never",), tokens=tokens))
    assert (answer.reason, answer.text) == (FinishReason.LENGTH, text)


@pytest.mark.parametrize("tokens", [False, True])
async def test_a_stop_across_tokens_ends_it_and_is_not_shown(start: Starter, tokens: bool) -> None:
    detokenizer = Detokenizer(tokenizer())
    pieces = [detokenizer.add(i) for i in alone(PROMPTS[0], 12)]
    at = next(k for k in range(3, 12) if pieces[k] and pieces[k + 1])
    stop, text = pieces[at][-1] + pieces[at + 1][0], "".join(pieces)
    answer = await collect(start(), ask(stop=(stop,), tokens=tokens))
    assert answer.reason is FinishReason.STOP
    assert answer.text == text[: text.index(stop)]
    assert "".join(t.text for t in answer.tokens) == (answer.text if tokens else "")


async def test_the_texts_of_a_chunks_tokens_are_its_text(start: Starter) -> None:
    answer = await collect(start(), ask(PROMPTS[1], max_new_tokens=60, tokens=True, stop=("never seen",)))
    assert len(answer.tokens) == 60
    for chunk in answer.chunks:
        assert chunk.text == "".join(t.text for t in chunk.tokens)
    assert all(t.logprob < 0 for t in answer.tokens)
    assert answer.text == tokenizer().decode(list(answer.ids))


# who gets in


async def test_a_tokenised_prompt_is_read_as_it_is(start: Starter) -> None:
    engine = start()
    letters = [tokenizer().encode(letter)[0] for letter in "order"]
    sampling = SamplingParams(max_new_tokens=1)
    asked = GenerateRequest(id="r", prompt="order", prompt_ids=letters, sampling=sampling)

    async with aclosing(engine.generate(asked)) as events:
        finished = [event async for event in events][-1]

    assert isinstance(finished, Finished)
    assert finished.usage.prompt_tokens == 5
    with pytest.raises(ValidationError) as caught:
        await anext(engine.generate(asked.model_copy(update={"prompt_ids": (2**30,)})))
    assert caught.value.field == "prompt_ids"


@pytest.mark.parametrize(
    ("prompt", "length", "field"), [("order " * 600, None, "prompt"), ("order", CONTEXT_TOKENS, "max_new_tokens")]
)
async def test_what_does_not_fit_into_the_context_is_refused(start: Starter, prompt, length, field) -> None:
    with pytest.raises(ValidationError) as refused:
        await collect(start(), ask(prompt, max_new_tokens=length))
    assert refused.value.field == field


async def test_a_full_queue_refuses_and_says_when_to_come_again(start: Starter) -> None:
    engine = start(slots=2, waiting=1)
    tasks = [asyncio.create_task(collect(engine, ask(max_new_tokens=400))) for _ in range(3)]
    await until(lambda: engine.stats.running == 2)
    assert engine.stats.queued == 1
    with pytest.raises(OverloadedError) as refused:
        await collect(engine, ask())
    assert 1 <= refused.value.retry_after_s <= 60
    assert all(answer.usage.completion_tokens == 400 for answer in await asyncio.gather(*tasks))


async def test_running_streams_go_on_while_a_long_prompt_is_read(start: Starter) -> None:
    observer = Observer()
    engine = start(observer=observer)
    first = asyncio.create_task(collect(engine, ask(max_new_tokens=300)))
    await until(lambda: engine.stats.generated_tokens_total > 3)
    await collect(engine, ask("order " * 250, max_new_tokens=2))
    await first
    chunks = [step for step in observer.steps if step[1] == CHUNK]
    assert len(chunks) > 5
    assert all(stage == "mixed" and generated >= 1 for stage, _, generated in chunks)
    assert observer.outcomes == ["length", "length"]


# leaving and stopping


@pytest.mark.timed
@pytest.mark.parametrize("after", [0, 1])
async def test_closing_the_generator_frees_the_slot_within_a_step(start: Starter, after: int) -> None:
    observer = Observer()
    engine = start(slots=1, observer=observer)
    blocker = asyncio.create_task(collect(engine, ask(max_new_tokens=200)))
    stream = engine.generate(ask(max_new_tokens=None))
    waiting = asyncio.ensure_future(anext(stream))
    if after:
        await blocker
        await waiting
        await stream.aclose()
    else:
        await until(lambda: engine.stats.queued == 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await blocker
    seconds = await until(lambda: engine.stats.running == engine.stats.queued == 0)
    assert seconds < 0.2
    assert sorted(observer.outcomes) == ["cancelled", "length"]
    assert engine.stats.kv_used_ratio == 0
    assert (await collect(engine, ask(tokens=True))).ids == alone(PROMPTS[0], 12)


async def test_chunks_join_when_the_consumer_is_behind_but_never_the_first(start: Starter) -> None:
    engine = start()
    stream = engine.generate(ask(max_new_tokens=50, tokens=True))
    first = await anext(stream)
    await until(lambda: engine.stats.generated_tokens_total >= 50)
    rest = [event async for event in stream]
    assert first.token_count == 1
    assert sum(c.token_count for c in rest[:-1]) == 49
    assert len(rest) <= 3
    assert (*first.tokens, *(t for c in rest[:-1] for t in c.tokens))[-1].id == alone(PROMPTS[0], 50)[-1]


async def test_draining_finishes_what_runs_and_lets_nobody_in(start: Starter) -> None:
    engine = start()
    running = asyncio.create_task(collect(engine, ask(max_new_tokens=200)))
    await until(lambda: engine.stats.running == 1)
    stopping = asyncio.create_task(engine.stop(drain_s=10))
    await asyncio.sleep(0)
    with pytest.raises(BackendUnavailableError):
        await collect(engine, ask())
    assert (await running).usage.completion_tokens == 200
    await stopping
    assert not engine.ready


async def test_stopping_without_drain_fails_what_runs(start: Starter) -> None:
    engine = start()
    running = asyncio.create_task(collect(engine, ask(max_new_tokens=400)))
    await until(lambda: engine.stats.running == 1)
    await engine.stop()
    with pytest.raises(BackendUnavailableError):
        await running


async def test_a_broken_graph_fails_every_request_and_the_engine_says_so(start: Starter, monkeypatch) -> None:
    engine = start()
    running = asyncio.create_task(collect(engine, ask(max_new_tokens=400)))
    await until(lambda: engine.stats.running == 1)

    def broken(*args, **kwargs):
        raise RuntimeError("the kernel met a secret prompt")

    monkeypatch.setattr(engine._model, "run", broken)
    with pytest.raises(BackendError) as failed:
        await running
    assert "secret" not in str(failed.value)
    assert engine.failed
    assert not engine.ready
    with pytest.raises(BackendError):
        await collect(engine, ask())
