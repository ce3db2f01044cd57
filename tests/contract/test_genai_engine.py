"""The engine `genai-paged`, run by onnxruntime-genai itself, on a graph for the CPU: PagedAttention needs a GPU."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, nullcontext
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from tests.support.tiny_graph import CONTEXT_TOKENS, lively_checkpoint, tiny_graph

from weir.contracts.errors import (
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ReleaseError,
    ValidationError,
)
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk
from weir.contracts.grammar import OneOf
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.engine import EngineInfo
from weir.engine.genai import GenaiEngine, GenaiModel
from weir.engine.genai_loading import check_paged, greedy
from weir.engine.golden import GoldenMismatchError
from weir.engine.runner import greedy_ids
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.step import Detail, Row
from weir.release.tokenizer import ReleaseTokenizer

PROMPTS = ("怎么退货？", "How do I return an order?", "When will it arrive?", "快递几天能到？")
ENDS = (3, 1)  # of genai_config.json
SETTINGS = EngineSettings(max_running=3, max_waiting=2)


@cache
def tokenizer() -> ReleaseTokenizer:
    return ReleaseTokenizer(lively_checkpoint() / "tokenizer.json")


def genai_model() -> GenaiModel:
    import onnxruntime_genai as og

    og.disable_telemetry_events()
    return GenaiModel(og, tiny_graph("fp32", pruned=False), max_batch_size=3, batching="static_batching")


@pytest.fixture
async def engine() -> AsyncIterator[GenaiEngine]:
    info = EngineInfo("tiny", 1, "cuda-int4-paged", 0, eos_ids=ENDS)
    made = GenaiEngine(genai_model, tokenizer(), info, settings=SETTINGS)
    made.start()
    yield made
    await made.stop()


@cache
def expected(prompt: str, count: int) -> tuple[int, ...]:
    """What our own graph session says to it when end tokens may not be chosen."""
    graph = Graph(tiny_graph("fp32", pruned=False) / "model.onnx", threads=1)
    model = SlotModel(GraphSession(graph, slots=1, context_tokens=256))
    row, said = Row([0], tokenizer().encode(prompt), 0, 1, Detail.FULL), []
    while len(said) < count:
        [[position]] = model.run([row])
        logits = position.full.copy()
        logits[list(ENDS)] = -np.inf
        said.append(int(logits.argmax()))
        row = Row([0], said[-1:], row.past + len(row.tokens), 1, Detail.FULL)
    return tuple(said)


def asked(prompt: str = PROMPTS[0], tokens: int = 8, **sampling: object) -> GenerateRequest:
    params = SamplingParams.model_validate({"max_new_tokens": tokens, "ignore_eos": True, **sampling})
    return GenerateRequest(id="r", prompt=prompt, sampling=params)


async def events_of(engine: GenaiEngine, request: GenerateRequest) -> list[GenerationEvent]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenChunk))


async def until(holds, within_s: float = 20.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s
        await asyncio.sleep(0.005)


async def test_many_at_once_are_each_answered_as_by_our_own_engine(engine: GenaiEngine) -> None:
    answers = await asyncio.gather(*(events_of(engine, asked(prompt, 12)) for prompt in PROMPTS))
    for prompt, events in zip(PROMPTS, answers, strict=True):
        assert text_of(events) == tokenizer().decode(list(expected(prompt, 12)))
        assert events[-1] == Finished(FinishReason.LENGTH, events[-1].usage)
        assert events[-1].usage.completion_tokens == 12
        assert events[-1].usage.prompt_tokens == len(tokenizer().encode(prompt))
        assert sum(event.token_count for event in events if isinstance(event, TokenChunk)) == 12
    await until(lambda: engine.stats.running == 0)
    assert engine.stats.generated_tokens_total == 48
    assert engine.ready


async def test_a_stop_string_ends_it_and_is_not_said(engine: GenaiEngine) -> None:
    whole = tokenizer().decode(list(expected(PROMPTS[1], 20)))
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    events = await events_of(engine, asked(PROMPTS[1], 200, stop=[stop]))
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1].reason is FinishReason.STOP
    await until(lambda: engine.stats.running == 0)


async def test_an_end_token_ends_it_unless_it_is_to_be_ignored(engine: GenaiEngine) -> None:
    ids = expected(PROMPTS[2], 20)
    last = next(at for at, token in enumerate(ids) if at > 3 and token not in ids[:at])
    events = await events_of(engine, asked(PROMPTS[2], 20, stop_token_ids=[ids[last]]))
    assert text_of(events) == tokenizer().decode(list(ids[:last]))
    assert (events[-1].reason, events[-1].usage.completion_tokens) == (FinishReason.STOP, last + 1)


async def test_sampling_says_something_else_each_time(engine: GenaiEngine) -> None:
    said = {text_of(await events_of(engine, asked(tokens=16, temperature=1.5, top_k=50, top_p=0.9))) for _ in range(4)}
    assert len(said) > 1


async def test_an_end_of_sequence_token_ends_an_answer(engine: GenaiEngine) -> None:
    """At this temperature one comes within some tens of tokens, among 400."""
    asked_ = asked(tokens=480, temperature=50.0, ignore_eos=False)
    events = await events_of(engine, asked_)
    assert events[-1].reason is FinishReason.EOS
    assert sum(e.token_count for e in events if isinstance(e, TokenChunk)) == events[-1].usage.completion_tokens < 480


async def test_closing_a_stream_ends_its_work(engine: GenaiEngine) -> None:
    events = engine.generate(asked(tokens=400))
    await anext(events)
    assert engine.stats.running == 1
    await events.aclose()
    await until(lambda: engine.stats.running + engine.stats.queued == 0, within_s=5)
    assert text_of(await events_of(engine, asked(tokens=4)))


async def test_who_waits_is_served_in_turn_and_who_finds_no_place_is_told(engine: GenaiEngine) -> None:
    outcomes = await asyncio.gather(*(events_of(engine, asked(tokens=40)) for _ in range(8)), return_exceptions=True)
    refused = [found for found in outcomes if isinstance(found, OverloadedError)]
    answered = [found for found in outcomes if isinstance(found, list)]
    assert (len(answered), len(refused)) == (5, 3)
    assert all(isinstance(events[-1], Finished) for events in answered)


async def test_a_deadline_ends_what_runs_and_what_waits(engine: GenaiEngine) -> None:
    def late(number: int) -> GenerateRequest:
        return asked(tokens=400).model_copy(update={"deadline_s": 0.05, "id": str(number)})

    outcomes = await asyncio.gather(*(events_of(engine, late(n)) for n in range(5)), return_exceptions=True)
    assert {type(found) for found in outcomes} == {DeadlineExceededError}
    await until(lambda: engine.stats.running + engine.stats.queued == 0)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (asked(grammar=OneOf(choices=("a", "b"))), "grammar"),
        (asked(logprobs=2), "logprobs"),
        (asked(presence_penalty=0.5), "presence_penalty"),
        (asked(logit_bias={7: 1.0}), "logit_bias"),
        (asked().model_copy(update={"adapter": "tone"}), "adapter"),
        (asked(tokens=CONTEXT_TOKENS), "max_new_tokens"),
        (asked().model_copy(update={"prompt_ids": (9999,)}), "prompt_ids"),
    ],
)
async def test_what_it_does_not_know_is_refused_by_name(
    engine: GenaiEngine, request_: GenerateRequest, field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        await events_of(engine, request_)
    assert caught.value.field == field


async def test_stopping_lets_nobody_in_and_fails_who_is_inside(engine: GenaiEngine) -> None:
    events = engine.generate(asked(tokens=400))
    await anext(events)
    await engine.stop()
    with pytest.raises(BackendUnavailableError):
        async for _ in events:
            pass
    with pytest.raises(BackendUnavailableError):
        await events_of(engine, asked())


def test_an_engine_that_cannot_be_opened_says_why() -> None:
    def broken() -> GenaiModel:
        raise ReleaseError("golden prompt 0 is not answered as it was when released")

    info = EngineInfo("tiny", 1, "cuda-int4-paged", 0, eos_ids=())
    with pytest.raises(ReleaseError, match="golden prompt 0"):
        GenaiEngine(broken, tokenizer(), info, settings=SETTINGS)


def test_the_golden_prompts_are_asked_without_an_event_loop() -> None:
    model = genai_model()
    graph = Graph(tiny_graph("fp32", pruned=False) / "model.onnx", threads=1)
    prompt = tokenizer().encode(PROMPTS[1])
    wanted = greedy_ids(GraphSession(graph, slots=1, context_tokens=256), prompt, 10, chunk_tokens=64)
    end = next(at for at, token in enumerate(wanted) if token in ENDS)
    assert greedy(model, prompt, 10) == wanted[:end]


def test_a_model_that_answers_golden_prompts_otherwise_is_refused() -> None:
    model, ids = genai_model(), tokenizer().encode(PROMPTS[0])
    right = tuple(greedy(model, ids, 8))
    manifest = SimpleNamespace(golden=[SimpleNamespace(prompt_ids=tuple(ids))], eos_ids=ENDS)
    for said, is_right in ((right, True), ((*right[:5], 7, 7, 7), True), ((7, *right[1:]), False)):
        chosen = SimpleNamespace(flavour="cuda-int4-paged", golden_greedy_ids=(said,))
        with nullcontext() if is_right else pytest.raises(GoldenMismatchError, match="golden prompt 0"):
            check_paged(model, manifest, chosen)
