"""Entries for vLLM and TensorRT-LLM under a real Triton server, each with a model of the same inputs and outputs."""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.tiny_adapter import make_adapter
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import Triton

from weir.backends.grpc_node import GrpcNode
from weir.backends.tensorrt_llm import TensorRtLlmNode
from weir.contracts.errors import BackendError, ValidationError
from weir.contracts.events import Finished, FinishReason, GenerationEvent, TokenChunk
from weir.contracts.manifest import AdapterEntry
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.release.reader import read_manifest
from weir_training.triton_tensorrt_llm import write_tensorrt_llm_entry
from weir_training.triton_vllm import write_vllm_entry

pytestmark = pytest.mark.e2e
SCRIPTED = Path(__file__).parent / "scripted"


@dataclass
class Served:
    triton: Triton
    vllm: Path
    tensorrt: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for both: their models are called by the same name as their release, so one gets another here."""
    folder = tmp_path_factory.mktemp("entries")
    root = make_tiny_release(folder / "releases", precisions=("fp32",))
    make_adapter(root / "model", root / "adapters" / "tone", rank=12, targets="all-linear")
    adapter = AdapterEntry(name="tone", rank=12, mean_kl=0.0, argmax_agreement=1.0)
    manifest = read_manifest(root).model_copy(update={"adapters": (adapter,)})
    repository = folder / "repository"
    tensorrt = manifest.model_copy(update={"model": "cumulative"})
    entries = Served(
        Triton(repository, ("tiny", "cumulative"), folder / "triton.log"),
        write_vllm_entry(manifest, str(root), repository),
        write_tensorrt_llm_entry(tensorrt, str(root), repository),
    )
    shutil.copyfile(SCRIPTED / "vllm_model.py", entries.vllm / "model.py")
    shutil.copyfile(SCRIPTED / "tensorrt_llm_model.py", entries.tensorrt / "model.py")
    config = repository / "tiny" / "config.pbtxt"
    on_cpu = config.read_text().replace('backend: "vllm"', 'backend: "python"').replace("KIND_MODEL", "KIND_CPU")
    config.write_text(on_cpu)
    entries.triton.start()
    yield entries
    entries.triton.stop()


@pytest.fixture(params=["vllm", "tensorrt-llm"])
async def node(request: pytest.FixtureRequest, served: Served) -> AsyncIterator[GrpcNode]:
    address = f"127.0.0.1:{served.triton.grpc_port}"
    kind, model = (GrpcNode, "tiny") if request.param == "vllm" else (TensorRtLlmNode, "cumulative")
    node = kind(request.param, address, model)
    yield node
    await node.aclose()


@pytest.fixture
async def cumulative(served: Served) -> AsyncIterator[TensorRtLlmNode]:
    node = TensorRtLlmNode("trt", f"127.0.0.1:{served.triton.grpc_port}", "cumulative")
    yield node
    await node.aclose()


def asked(tokens: int = 5, prompt: str = "怎么 退货？", **sampling: object) -> GenerateRequest:
    params = SamplingParams.model_validate({"max_new_tokens": tokens, **sampling})
    return GenerateRequest(id="r1", prompt=prompt, sampling=params)


async def events_of(node: GrpcNode, request: GenerateRequest) -> list[GenerationEvent]:
    async with aclosing(node.generate(request, timeout_s=20)) as events:
        return [event async for event in events]


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TokenChunk))


async def until_seen(served: Served, holds) -> dict:
    """What the scripted model wrote of its last request, once that `holds`."""
    began = time.monotonic()
    while True:
        path = served.tensorrt / "seen.json"
        seen = json.loads(path.read_text()) if path.is_file() else {}
        if seen and holds(seen):
            return seen
        assert time.monotonic() - began < 10, seen
        await asyncio.sleep(0.01)


async def test_the_gateway_reads_deltas_and_cumulative_text_alike(node: GrpcNode) -> None:
    assert await node.ready()
    events = await events_of(node, asked())
    *chunks, last = events
    assert text_of(chunks) == "字0 字1 字2 字3 字4 "  # what arrives together is one chunk
    assert isinstance(last, Finished)
    assert (last.reason, last.usage.completion_tokens) == (FinishReason.LENGTH, 5)
    assert sum(chunk.token_count for chunk in chunks if isinstance(chunk, TokenChunk)) == 5


async def test_closing_a_stream_reaches_the_model(cumulative: TensorRtLlmNode, served: Served) -> None:
    events = cumulative.generate(asked(400), timeout_s=20)
    await anext(events)
    await events.aclose()
    seen = await until_seen(served, lambda seen: seen["max_tokens"] == 400)
    assert seen["cancelled_after"] < 200


async def test_a_stop_string_is_found_here_and_ends_the_work_there(cumulative: TensorRtLlmNode, served: Served) -> None:
    events = await events_of(cumulative, asked(401, stop=["3 字4"]))
    assert text_of(events) == "字0 字1 字2 字"
    assert isinstance(events[-1], Finished)
    assert events[-1].reason is FinishReason.STOP
    seen = await until_seen(served, lambda seen: seen["max_tokens"] == 401)
    assert seen["cancelled_after"] < 200
    assert seen["stop"] is None


async def test_a_character_that_is_half_there_waits(cumulative: TensorRtLlmNode) -> None:
    events = await events_of(cumulative, asked(4, prompt="half a character"))
    assert text_of(events) == "字0 字1 字2 字3 "


async def test_what_is_asked_arrives_in_its_own_names(cumulative: TensorRtLlmNode, served: Served) -> None:
    await events_of(cumulative, asked(6, temperature=0.5, top_p=0.75, top_k=7, seed=2**63, presence_penalty=0.5))
    drawn = await until_seen(served, lambda seen: seen["max_tokens"] == 6)
    assert (drawn["temperature"], drawn["top_p"], drawn["top_k"], drawn["seed"]) == (0.5, 0.75, 7, 2**63)
    assert (drawn["presence_penalty"], drawn["frequency_penalty"]) == (0.5, None)
    await events_of(cumulative, asked(7))
    greedy = await until_seen(served, lambda seen: seen["max_tokens"] == 7)
    assert (greedy["top_k"], greedy["temperature"], greedy["seed"]) == (1, None, None)


async def test_what_it_has_no_input_for_is_refused_by_name(cumulative: TensorRtLlmNode) -> None:
    for name, value in (("repetition_penalty", 1.5), ("min_p", 0.1), ("logprobs", 2), ("ignore_eos", True)):
        with pytest.raises(ValidationError) as caught:
            await events_of(cumulative, asked(**{name: value}))
        assert caught.value.field == name


async def test_an_adapter_is_chosen_by_name_and_an_unknown_one_is_an_error(served: Served) -> None:
    node = GrpcNode("vllm", f"127.0.0.1:{served.triton.grpc_port}", "tiny")
    assert text_of(await events_of(node, asked(2).model_copy(update={"adapter": "tone"}))) == "tone0 tone1 "
    with pytest.raises(BackendError):
        await events_of(node, asked(2).model_copy(update={"adapter": "nobody"}))
    await node.aclose()
    assert json.loads((served.vllm / "model.json").read_text())["max_lora_rank"] == 16
