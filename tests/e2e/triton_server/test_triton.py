"""Weir's model under a real Triton server: what a gateway relies on, beyond what all backends promise."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from statistics import median, quantiles

import pytest
from tests.support.triton_server import Triton

from weir.backends.grpc_node import GrpcNode
from weir.contracts.errors import OverloadedError, ValidationError, WeirError
from weir.contracts.events import Finished, GenerationEvent, TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams

pytestmark = pytest.mark.e2e


@pytest.fixture
async def node(triton: Triton) -> AsyncIterator[GrpcNode]:
    node = GrpcNode("triton", f"127.0.0.1:{triton.grpc_port}", "tiny", repository_key=triton.key)
    yield node
    await node.aclose()


def asked(number: int = 0, tokens: int = 8) -> GenerateRequest:
    sampling = SamplingParams(max_new_tokens=tokens, ignore_eos=True)
    return GenerateRequest(id=f"r{number}", model="tiny", prompt="怎么退货？", sampling=sampling)


async def answered(node: GrpcNode, request: GenerateRequest) -> list[GenerationEvent]:
    async with aclosing(node.generate(request, timeout_s=30)) as events:
        return [event async for event in events]


async def settled(triton: Triton) -> dict[str, float]:
    """Return the model's own metrics once they have come to rest: it says them when no request has anything to say."""
    found: dict[str, float] = {}
    async with asyncio.timeout(60):
        while True:
            before = found
            found = {name: value for name, value in triton.metrics().items() if name.startswith("weir_triton_")}
            if before == found:
                return found
            await asyncio.sleep(0.6)


async def test_it_streams_and_says_so_in_tritons_metrics(triton: Triton, node: GrpcNode) -> None:
    assert await node.ready()
    before = await settled(triton)
    events = await answered(node, asked(tokens=12))
    assert isinstance(events[-1], Finished)
    assert sum(event.token_count for event in events if isinstance(event, TokenChunk)) == 12
    after = await settled(triton)
    labels = '{model="tiny",version="1"}'
    for name, more in (("generated_tokens_total", 12), ("time_to_first_token_seconds_count", 1)):
        key = f"weir_triton_{name}{labels}"
        assert after[key] - before.get(key, 0) == more, name


async def test_wrong_fields_are_told_in_their_own_names(node: GrpcNode) -> None:
    wrong = asked().model_copy(update={"adapter": "nobody"})
    with pytest.raises(ValidationError, match="adapter"):
        await answered(node, wrong)


@pytest.mark.timed
async def test_a_cancelled_request_leaves_the_engine_within_200_ms(triton: Triton, node: GrpcNode) -> None:
    """Counted once the engine was told, which gives a request up within one step, or had come to its end before."""
    names = ("weir_triton_cancelled_total", "weir_triton_time_to_first_token_seconds_count")

    def ended() -> float:
        return sum(value for name, value in triton.metrics().items() if name.startswith(names))

    await settled(triton)
    waits: list[float] = []
    for number in range(40):
        before = ended()
        events = node.generate(asked(number, tokens=480), timeout_s=30)
        await anext(events)
        began = time.monotonic()
        await events.aclose()
        while ended() == before:
            assert time.monotonic() - began < 5, "it was never noticed"
            await asyncio.sleep(0.001)
        waits.append(time.monotonic() - began)
    p99 = quantiles(waits, n=100)[98]
    print(f"\ncancelled: the engine gave it up after {1000 * median(waits):.1f} ms (p50), {1000 * p99:.1f} ms (p99)")
    assert p99 < 0.2, sorted(waits)[-3:]


async def test_more_than_the_queue_holds_is_overloaded(node: GrpcNode, triton: Triton) -> None:
    """`max_running` 2 and `max_waiting` 4, of `config.pbtxt`."""

    async def outcome(number: int) -> str:
        try:
            await answered(node, asked(number, tokens=100))
        except WeirError as error:
            return type(error).__name__
        return "answered"

    outcomes = await asyncio.gather(*(outcome(number) for number in range(20)))
    assert set(outcomes) == {"answered", OverloadedError.__name__}
    assert outcomes.count("answered") >= 6
    refused = triton.metrics()['weir_triton_refused_total{model="tiny",version="1"}']
    assert refused >= outcomes.count(OverloadedError.__name__)


@pytest.mark.timed
async def test_a_dead_stub_is_seen_by_the_canary_though_triton_calls_it_ready(triton: Triton, node: GrpcNode) -> None:
    assert await node.ready()
    os.kill(triton.stub("tiny"), signal.SIGKILL)
    await asyncio.sleep(2.1)  # tokens of the last two seconds spare the canary
    assert triton.get(triton.http_port, "/v2/models/tiny/ready") in {200, 0}  # 0: it went down with its stub
    began = time.monotonic()
    assert not await node.ready()
    assert time.monotonic() - began < 2.5
    triton.kill()
    triton.start()
    async with asyncio.timeout(20):
        while not await node.ready():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_after_requests_and_cancels_it_unloads_and_ends(triton: Triton, tmp_path: Path) -> None:
    """Triton waits for requests that it believes to run: one that is not let go of keeps it for half a minute."""
    server = Triton(triton.repository, ("tiny",), tmp_path / "ending.log").start()
    node = GrpcNode("triton", f"127.0.0.1:{server.grpc_port}", "tiny")
    await asyncio.gather(*(answered(node, asked(number)) for number in range(6)))
    for number in range(5):
        events = node.generate(asked(number, tokens=400), timeout_s=30)
        await anext(events)
        await events.aclose()
    with pytest.raises(ValidationError):  # an error is a last response, too
        await answered(node, asked().model_copy(update={"adapter": "nobody"}))
    await node.aclose()
    began = time.monotonic()
    await asyncio.to_thread(server.stop)
    assert time.monotonic() - began < 15
    assert server.process is not None
    assert server.process.returncode == 0
