"""A Triton node whose model dies although Triton calls it ready, beside a CPU node."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.support.grpc_node import GrpcNode as TritonStandIn
from tests.support.grpc_node import serving

from weir.backends.grpc_node import GrpcNode
from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import BackendError
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.gateway.settings import GatewaySettings
from weir.routing.node import Node
from weir.routing.release import Offer
from weir.routing.router import Router
from weir.telemetry.metrics import GatewayMetrics

pytestmark = pytest.mark.timed

OK = (TokenChunk("ok"), Finished(FinishReason.EOS, Usage(1, 1)))
STREAM = (*[step for _ in range(200) for step in (TokenChunk("a "), 0.02)], OK[-1])
ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))
INTERVAL_S = GatewaySettings.model_fields["probe_interval_s"].default


class House:
    """A router over a stand-in for Triton and a scripted CPU node, with the gateway's own probe interval."""

    def __init__(self, address: str, triton: TritonStandIn) -> None:
        self.triton = triton
        metrics = GatewayMetrics(CollectorRegistry())
        self.gpu = Node(GrpcNode("gpu", address, "tiny"), metrics, pool="gpu", flavour="cuda-int4")
        self.cpu = Node(ScriptedBackend([0.2, *OK], name="cpu"), metrics, flavour="cpu-fp32")
        offer = Offer("tiny", 2, "cpu-fp32", frozenset({"cpu-fp32", "cuda-int4"}))
        self.router = Router([self.gpu, self.cpu], metrics, probe_interval_s=INTERVAL_S, offer=offer)

    def kill(self, *, says_s: float = 0.1) -> None:
        """Triton 2.51 with a dead stub says so a second after it was asked; `model_ready` goes on saying yes."""
        self.triton.script = (says_s, StubError("Stub process 'tiny_0_0' is not healthy."))

    async def gone_after(self) -> float:
        began = monotonic()
        async with asyncio.timeout(20):
            while self.gpu.is_available:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        return monotonic() - began


class StubError(BackendError):
    """The stand-in sends code and words; these words are Triton's own, without a code of ours."""

    code = "in ensemble"


@pytest.fixture
async def house() -> AsyncIterator[House]:
    triton = TritonStandIn(OK)
    async with serving(triton) as address:
        made = House(address, triton)
        await made.router.start()
        assert made.gpu.is_available
        yield made
        await made.router.aclose()


async def test_an_idle_node_whose_model_died_is_out_within_two_seconds_by_its_canary(house: House) -> None:
    await asyncio.sleep(1.5 * INTERVAL_S)
    house.kill(says_s=1.0)

    assert await house.gone_after() < 2.0


async def test_a_call_that_fails_decides_at_once_and_goes_to_the_cpu(house: House) -> None:
    await _learn(house)
    house.kill()

    routed = await asyncio.gather(*(house.router.open(ASKED, timeout_s=5) for _ in range(4)))

    assert {one.node for one in routed} == {"cpu"}
    assert not house.gpu.is_available
    began = monotonic()
    assert (await house.router.open(ASKED, timeout_s=5)).node == "cpu"
    assert monotonic() - began < 1.0


async def test_a_node_that_answers_needs_no_canary(house: House) -> None:
    house.triton.script = STREAM
    await asyncio.sleep(2 * INTERVAL_S)  # a canary that was on its way has ended
    routed = await house.router.open(ASKED, timeout_s=5)
    while routed.node != "gpu":
        routed = await house.router.open(ASKED, timeout_s=5)
    asked = len(house.triton.requests)

    for _ in range(35):
        assert (await anext(routed.events)).type == "token"

    assert len(house.triton.requests) == asked
    await routed.events.aclose()


async def test_it_comes_back_by_itself_and_slowly(house: House) -> None:
    house.kill()
    await house.gone_after()
    house.triton.script = OK

    async with asyncio.timeout(20):
        while not house.gpu.is_available:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)

    assert house.gpu.member.most <= 4


async def _learn(house: House) -> None:
    """Have the GPU known for the faster one."""
    for _ in range(12):
        routed: Any = await house.router.open(ASKED, timeout_s=5)
        async for _ in routed.events:
            pass
    first = await house.router.open(ASKED, timeout_s=5)
    await first.events.aclose()
    assert first.node == "gpu"
