"""Versions come and go on a real Triton server and a real CPU node while they answer."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from tests.support.processes import Server
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import KEY, Triton, set_parameters

from weir.backends.grpc_node import GrpcNode
from weir.backends.http_node import HttpNode
from weir.contracts.errors import ReleaseError, WeirError
from weir.contracts.events import Finished, GenerationEvent
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.routing.rollout import Rollout, State, Step, of_absence, of_version
from weir_training.linking import link_release

pytestmark = pytest.mark.e2e
CALLERS = 2


@pytest.fixture(scope="module", autouse=True)
def swap(triton: Triton, releases: Path) -> None:
    """A second model, `swap`, with versions 1 and 2, and 3, whose graph is not what its manifest says."""
    for version in (1, 2, 3):
        root = make_tiny_release(releases, model="swap", version=version, precisions=("fp32",))
        if version == 3:
            (root / "onnx" / "cpu-fp32" / "model.onnx").write_bytes(b"broken")
        else:
            link_release(root, triton.repository)
    set_parameters(triton.repository / "swap", threads=1)


@pytest.fixture
async def nodes(triton: Triton, cpu: Server) -> AsyncIterator[list[GrpcNode | HttpNode]]:
    """Both serve version 1 at first."""
    nodes = [
        HttpNode("cpu-0", cpu.url, "swap", repository_key=KEY),
        GrpcNode("gpu-0", f"127.0.0.1:{triton.grpc_port}", "swap", repository_key=KEY),
    ]
    for node in nodes:
        await node.load("swap", 1)
    yield nodes
    for node in nodes:
        await node.aclose()


class Load:
    """Streams that never stop; what became of them."""

    def __init__(self, nodes: list[GrpcNode | HttpNode]) -> None:
        self._nodes = nodes
        self.outcomes: Counter[str] = Counter()

    async def __aenter__(self) -> "Load":
        self._callers = [asyncio.create_task(self._call(node)) for node in self._nodes for _ in range(CALLERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for caller in self._callers:
            caller.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)

    async def answers(self, count: int) -> None:
        """Wait for so many more."""
        wanted = self.outcomes["answered"] + count
        async with asyncio.timeout(120):
            while self.outcomes["answered"] < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def _call(self, node: GrpcNode | HttpNode) -> None:
        while True:
            self.outcomes[await outcome(node)] += 1
            await asyncio.sleep(0)


async def outcome(node: GrpcNode | HttpNode, tokens: int = 12) -> str:
    sampling = SamplingParams(max_new_tokens=tokens, ignore_eos=True)
    asked = GenerateRequest(id="r", prompt="怎么退货？", sampling=sampling)
    last: GenerationEvent | None = None
    try:
        async with aclosing(node.generate(asked, timeout_s=30)) as events:
            async for event in events:
                last = event
    except WeirError as error:
        return f"{node.name}: {type(error).__name__}: {error}"
    return "answered" if isinstance(last, Finished) else f"{node.name}: no end"


async def rolled(rollout: Rollout, nodes: list[GrpcNode | HttpNode]) -> list[Step]:
    return [step async for step in rollout(nodes) if step.state is not State.WORKING]


async def test_a_new_version_takes_over_without_one_failure(nodes: list[GrpcNode | HttpNode]) -> None:
    async with Load(nodes) as load:
        await load.answers(20)
        steps = await rolled(of_version("swap", 2), nodes)
        await load.answers(20)

    assert [(step.node, step.state) for step in steps] == [("cpu-0", State.DONE), ("gpu-0", State.DONE)]
    assert [await node.serving("swap") for node in nodes] == [2, 2]
    assert set(load.outcomes) == {"answered"}


async def test_a_broken_version_is_refused_by_name_and_the_old_one_serves_on(
    nodes: list[GrpcNode | HttpNode], releases: Path, triton: Triton
) -> None:
    link = link_release(releases / "swap" / "3", triton.repository)
    async with Load(nodes) as load:
        for node in nodes:
            (step,) = await rolled(of_version("swap", 3), [node])
            assert step.state is State.REFUSED
            assert step.words.startswith(f"{node.name} did not load swap 3: ")
            assert "model.onnx is not the file its manifest names" in step.words
        await load.answers(20)
    link.unlink()

    assert [await node.serving("swap") for node in nodes] == [1, 1]
    assert set(load.outcomes) == {"answered"}


async def test_nodes_that_took_a_version_are_put_back_when_a_later_one_refuses(
    nodes: list[GrpcNode | HttpNode], triton: Triton
) -> None:
    stranger = GrpcNode("stranger", f"127.0.0.1:{triton.grpc_port}", "swap")  # without the key

    steps = await rolled(of_version("swap", 2), [*nodes, stranger])
    await stranger.aclose()

    assert [(step.node, step.state) for step in steps if step.node == "stranger"] == [("stranger", State.REFUSED)]
    assert {step.node for step in steps if step.state is State.PUT_BACK} == {"cpu-0", "gpu-0"}
    assert [await node.serving("swap") for node in nodes] == [1, 1]


async def test_unloading_lets_answers_end(nodes: list[GrpcNode | HttpNode]) -> None:
    running = [asyncio.create_task(outcome(node, tokens=300)) for node in nodes]
    await asyncio.sleep(0.05)

    steps = await rolled(of_absence("swap"), nodes)

    assert {step.state for step in steps} == {State.DONE}
    assert await asyncio.gather(*running) == ["answered", "answered"]
    assert [await node.serving("swap") for node in nodes] == [None, None]
    assert all("answered" not in found for found in [await outcome(node) for node in nodes])


@pytest.mark.parametrize("at", [0, 1])
async def test_without_the_key_nobody_changes_anything(
    nodes: list[GrpcNode | HttpNode], cpu: Server, triton: Triton, at: int
) -> None:
    stranger = [HttpNode("cpu-0", cpu.url, "swap"), GrpcNode("gpu-0", f"127.0.0.1:{triton.grpc_port}", "swap")][at]
    for change in (stranger.load("swap", 2), stranger.unload("swap")):
        with pytest.raises(ReleaseError, match=stranger.name):
            await change
    await stranger.aclose()
    assert await outcome(nodes[at]) == "answered"
