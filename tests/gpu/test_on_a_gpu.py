"""Flavours for GPUs on a GPU: proven there, and served there by both engines."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest

from tests.support.exported import opened, released, verified_for_gpus
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.device import Device
from weir.engine.loading import load_engine
from weir.engine.serving import ServingEngine
from weir.engine.session import Graph, GraphSession
from weir.engine.settings import EngineSettings
from weir.engine.slot_model import SlotModel
from weir.engine.step import Detail, Row
from weir.release.reader import open_release
from weir_training.verify import verified

pytestmark = pytest.mark.gpu
FLAVOURS = ("cuda-fp16", "cuda-int4", "cuda-int4-paged")
SETTINGS = EngineSettings(max_running=16, max_waiting=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    verified_for_gpus(folder)
    return folder


@pytest.fixture(scope="module")
def release(folder: Path) -> Path:
    return released(folder)


@pytest.fixture(params=FLAVOURS)
async def engine(request: pytest.FixtureRequest, release: Path) -> AsyncIterator[ServingEngine]:
    engine = load_engine(release, request.param, SETTINGS)
    engine.start()
    yield engine
    await engine.stop()


def asked(prompt: str, tokens: int, **sampling: object) -> GenerateRequest:
    params = SamplingParams.model_validate({"max_new_tokens": tokens, **sampling})
    return GenerateRequest(id="r", prompt=prompt, sampling=params)


async def events_of(engine: ServingEngine, request: GenerateRequest) -> list[GenerationEvent]:
    async with aclosing(engine.generate(request)) as events:
        return [event async for event in events]


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenChunk))


def test_sixteen_bits_on_a_gpu_are_the_checkpoint(folder: Path) -> None:
    recipe, run = opened(folder)
    found = verified(recipe, run).flavours
    assert found["cuda-fp16"].parity.device == found["cuda-int4"].parity.device == "cuda"
    assert found["cuda-fp16"].parity.mean_kl < 1e-3
    assert found["cuda-fp16"].parity.argmax_agreement > 0.98
    assert found["cuda-fp16"].at_once.mean_kl < 1e-3


@pytest.mark.parametrize("flavour", FLAVOURS[:2])
def test_the_gpu_says_what_the_cpu_says_of_the_same_graph(folder: Path, flavour: str) -> None:
    _, run = opened(folder)
    tokens = [5 + (7 * k) % 390 for k in range(40)]
    logits = []
    for device in Device:
        graph = Graph(run.onnx(flavour) / "model.onnx", threads=2, device=device)
        model = SlotModel(GraphSession(graph, slots=4, context_tokens=64))
        model.run([Row([2], tokens[:30], 0, 0)])
        [[position]] = model.run([Row([2], tokens[30:], 30, 1, Detail.FULL)])
        logits.append(position.full.copy())
    assert np.abs(logits[0] - logits[1]).max() < 0.3


async def test_each_of_many_is_answered_as_alone(engine: ServingEngine, release: Path) -> None:
    """But for rounding: near-equal tokens may change places, so beginnings are compared."""
    golden = open_release(release).manifest.golden
    prompts = [golden[n % len(golden)].prompt for n in range(12)]
    together = await asyncio.gather(*(events_of(engine, asked(p, 16, ignore_eos=True)) for p in prompts))
    for prompt, events in zip(prompts, together, strict=True):
        assert isinstance(events[-1], Finished)
        assert events[-1].usage.completion_tokens == 16
        alone = text_of(await events_of(engine, asked(prompt, 16, ignore_eos=True)))
        assert text_of(events)[:4] == alone[:4]


async def test_a_seed_gives_the_same_answer_again(engine: ServingEngine) -> None:
    async def said(seed: int) -> str:
        return text_of(await events_of(engine, asked("怎么退货？", 24, temperature=1.2, seed=seed, ignore_eos=True)))

    assert await said(7) == await said(7)
    assert len({await said(seed) for seed in range(4)}) > 1


async def test_a_closed_stream_leaves_the_engine(engine: ServingEngine) -> None:
    events = engine.generate(asked("怎么退货？", 400, ignore_eos=True))
    await anext(events)
    await events.aclose()
    began = time.monotonic()
    while engine.stats.running + engine.stats.queued:
        assert time.monotonic() - began < 2
        await asyncio.sleep(0.005)


async def test_a_stop_string_ends_an_answer(engine: ServingEngine) -> None:
    whole = text_of(await events_of(engine, asked("When?", 60, ignore_eos=True)))
    stop = whole[10:13]
    events = await events_of(engine, asked("When?", 60, ignore_eos=True, stop=[stop]))
    assert text_of(events) == whole[: whole.index(stop)]
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.STOP
