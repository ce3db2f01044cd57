"""One release behind one gateway, on a real Triton server and a real CPU node: either may go, versions may change."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from tests.support import processes
from tests.support.added_adapter import add_adapter
from tests.support.processes import ROOT, Server, eventually
from tests.support.tiny_release import make_tiny_release
from tests.support.triton_server import KEY, Triton

from weir.backends.grpc_node import GrpcNode
from weir.backends.http_node import HttpNode
from weir.contracts.events import TokenChunk
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.engine.kernels.library import operators
from weir_training.linking import link_release

pytestmark = pytest.mark.e2e
CALLERS, TOKENS = 6, 80
CPU, GPU = "cpu-0", "cpu-1"  # as `processes.gateway` names them: by their place


@pytest.fixture(scope="module")
def gateway(triton: Triton, cpu: Server, releases: Path) -> Iterator[Server]:
    settings = {"repository_key": KEY, "node_timeout_s": "30"}
    server = processes.gateway(releases / "tiny", [cpu, triton], releases.parent / "gateway.log", settings=settings)
    yield server.start()
    server.stop()


@pytest.fixture(autouse=True)
def both_well(gateway: Server) -> None:
    eventually(lambda: healthy(gateway, CPU) and healthy(gateway, GPU), within_s=60, what="both nodes are well")


def healthy(gateway: Server, node: str) -> bool:
    return f'weir_gateway_node_healthy{{node="{node}"}} 1' in gateway.metrics().body.decode()


@dataclass
class Call:
    """What became of one streamed request; times on the monotonic clock."""

    sent: float
    first: float | None = None
    last: float = 0.0
    status: int = 0
    error: str | None = None
    words: str = ""
    is_complete: bool = False


class Load:
    """Streams that never stop."""

    def __init__(self, gateway: Server, callers: int = CALLERS) -> None:
        self._url = gateway.url
        self._count = callers
        self.calls: list[Call] = []

    async def __aenter__(self) -> "Load":
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        self._goes_on = True
        self._callers = [asyncio.create_task(self._keep_calling()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._goes_on = False
        await asyncio.gather(*self._callers)
        await self._session.close()

    async def until(self, is_enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not is_enough():  # noqa: ASYNC110  (many tasks bring it about)
                await asyncio.sleep(0.01)

    def complete_since(self, moment: float) -> int:
        return sum(call.is_complete and call.sent >= moment for call in self.calls)

    async def _keep_calling(self) -> None:
        while self._goes_on:
            call = Call(time.monotonic())
            self.calls.append(call)
            await self._call(call)

    async def _call(self, call: Call) -> None:
        parameters = {"max_new_tokens": TOKENS, "ignore_eos": True}
        body = {"inputs": f"怎么退货？ {len(self.calls)}", "parameters": parameters}
        async with self._session.post(f"{self._url}/generate_stream", json=body) as response:
            call.status = response.status
            if response.status != 200:
                said = await response.json()
                call.error, call.words = said["error_type"], said["error"]
                call.last = time.monotonic()
                return
            async for line in response.content:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    call.last = time.monotonic()
                    call.first = call.first or (None if "error" in event else call.last)
                    call.error = event.get("error_type")
                    call.is_complete = event.get("generated_text") is not None


async def lose(gateway: Server, node: str, kill: Callable[[], Awaitable[object]]) -> tuple[list[Call], float, float]:
    """Kill under load; return the calls, when that was and when the gateway had ejected the node."""
    async with Load(gateway) as load:
        await load.until(lambda: load.complete_since(0) >= 3 * CALLERS)
        killed = time.monotonic()
        await kill()
        async with asyncio.timeout(20):
            while await asyncio.to_thread(healthy, gateway, node):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        ejected = time.monotonic()
        await load.until(lambda: load.complete_since(killed + 1) >= 3 * CALLERS)
    return load.calls, killed, ejected


def check(calls: list[Call], killed: float, ejected: float, what: str) -> None:
    """Nothing that had not begun is lost; what had begun says how it ended; what comes later goes elsewhere at once."""
    usual = max(call.first - call.sent for call in calls if call.first is not None and call.first < killed)
    later = [call for call in calls if call.sent >= killed + 1]
    cut = [call for call in calls if call.status == 200 and not call.is_complete]
    slowest = max((call.first or call.last) - call.sent for call in later)
    longest_cut = max((call.last - killed for call in cut), default=0)
    print(
        f"\n{what}: ejected after {ejected - killed:.2f} s; {len(cut)} of {len(calls)} streams cut, told within "
        f"{longest_cut:.2f} s; first token of later requests {slowest:.3f} s at most (before: {usual:.3f} s)"
    )
    others = [call for call in calls if call.status != 200]
    assert others == [], [(call.error, call.words, call.sent - killed, call.last - call.sent) for call in others]
    assert all(call.first is not None for call in cut), "a stream that had not begun was lost"
    assert {call.error for call in cut} <= {"generation"}
    assert all(call.sent < killed + 1 for call in cut)
    assert all(call.is_complete for call in later)
    assert slowest < 1 + usual


@pytest.fixture(autouse=True)
def nodes_as_the_gateway_saw_them(gateway: Server) -> Iterator[None]:
    """Shown when a test fails."""
    yield
    print(gateway.log, admin(gateway).ask("GET", "/admin/nodes").body.decode())
    print("\n".join([line for line in gateway.text().splitlines() if '"node_' in line][-30:]))


async def test_when_the_cpu_node_is_killed_triton_goes_on(gateway: Server, cpu: Server) -> None:
    try:
        check(*await lose(gateway, CPU, lambda: asyncio.to_thread(cpu.kill)), "CPU node killed")
    finally:
        await asyncio.to_thread(cpu.start)


async def test_when_triton_is_killed_the_cpu_node_goes_on(gateway: Server, triton: Triton) -> None:
    try:
        check(*await lose(gateway, GPU, lambda: asyncio.to_thread(triton.kill)), "Triton killed")
    finally:
        await asyncio.to_thread(triton.start)


async def test_a_dead_stub_is_ejected_though_triton_calls_it_ready(gateway: Server, triton: Triton) -> None:
    async def kill() -> None:
        os.kill(triton.stub("tiny"), signal.SIGKILL)

    try:
        calls, killed, ejected = await lose(gateway, GPU, kill)
        assert triton.get(triton.http_port, "/v2/models/tiny/ready") in {200, 0}  # 0: it went down with its stub
        check(calls, killed, ejected, "stub killed")
        assert ejected - killed < 2
    finally:
        await asyncio.to_thread(triton.kill)
        await asyncio.to_thread(triton.start)


@pytest.fixture
def second(releases: Path, triton: Triton) -> Iterator[None]:
    """A second version of the same model; afterwards the first one serves again."""
    if not (releases / "tiny" / "2").exists():
        make_tiny_release(releases, version=2, precisions=("packed8", "fp32"))
    link = link_release(releases / "tiny" / "2", triton.repository)
    yield
    link.unlink()


async def test_a_version_goes_to_all_nodes_under_load_and_back(gateway: Server, second: None) -> None:
    """`weir releases load` at the gateway's admin port; every request is answered."""
    async with Load(gateway, callers=2) as load:
        await load.until(lambda: load.complete_since(0) >= CALLERS)
        command = [
            sys.executable,
            "-m",
            "weir",
            "releases",
            "load",
            "tiny/2",
            "--gateway",
            admin(gateway).url,
            "--json",
        ]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, cwd=ROOT)
        assert states(done.stdout) == [(CPU, "done"), (GPU, "done"), ("gateway", "applied")], done.stderr
        after = time.monotonic()
        await load.until(lambda: load.complete_since(after) >= CALLERS)
        assert gateway.ask("GET", "/info").json["model_version"] == 2
        refused = await loaded(gateway, 7)
        assert states(refused) == [(CPU, "refused"), ("gateway", "unchanged")]
        assert f"{CPU} did not load tiny 7: tiny: there is no release 7" in refused
        assert "refused" not in await loaded(gateway, 1)
        assert gateway.ask("GET", "/info").json["model_version"] == 1
    assert {(call.status, call.error, call.is_complete) for call in load.calls} == {(200, None, True)}


@pytest.mark.soak
async def test_thousands_of_requests_meet_version_swaps_and_none_fails(gateway: Server, second: None) -> None:
    swaps, began = 0, time.monotonic()
    async with Load(gateway) as load:
        while load.complete_since(0) < 3000 or swaps < 6 or swaps % 2:
            said = await loaded(gateway, 2 - swaps % 2)
            assert states(said) == [(CPU, "done"), (GPU, "done"), ("gateway", "applied")]
            swaps += 1
    seconds = time.monotonic() - began
    slowest = max(call.last - call.sent for call in load.calls)
    print(f"\n{swaps} version swaps, {len(load.calls)} requests in {seconds:.0f} s, the slowest took {slowest:.2f} s")
    assert {(call.status, call.error, call.is_complete) for call in load.calls} == {(200, None, True)}


@pytest.mark.skipif(operators() is None, reason="no C compiler built the operators here")
async def test_an_adapter_goes_to_all_nodes_and_away_again(
    gateway: Server, cpu: Server, triton: Triton, releases: Path
) -> None:
    folder = add_adapter(releases / "tiny" / "1", "shop")
    added = await changed_adapter(gateway, "shop", "load")
    assert states(added) == [(CPU, "done"), (GPU, "done"), ("gateway", "applied")], added
    assert [model["id"] for model in gateway.ask("GET", "/v1/models").json["data"]] == ["tiny", "tiny:shop"]

    nodes = [HttpNode(CPU, cpu.url, "tiny"), GrpcNode(GPU, f"127.0.0.1:{triton.grpc_port}", "tiny")]
    said = [[await answer_of(node, adapter) for node in nodes] for adapter in (None, "shop")]
    for node in nodes:
        await node.aclose()
    assert [one == other for one, other in said] == [True, True], "both nodes say the same"
    assert said[0] != said[1]
    parameters = {"max_new_tokens": 8, "adapter_id": "shop"}
    assert gateway.ask("POST", "/generate", {"inputs": "When?", "parameters": parameters}).status == 200
    assert (
        gateway.ask("POST", "/v1/completions", {"model": "tiny:shop", "prompt": "When?", "max_tokens": 8}).status == 200
    )

    shutil.rmtree(folder)
    gone = await changed_adapter(gateway, "shop", "unload")
    assert states(gone) == [(CPU, "done"), (GPU, "done"), ("gateway", "applied")], gone
    assert gateway.ask("POST", "/generate", {"inputs": "When?", "parameters": parameters}).status == 422


async def changed_adapter(gateway: Server, name: str, what: str) -> str:
    path = f"/admin/models/tiny/adapters/{name}/{what}"
    return (await asyncio.to_thread(admin(gateway).ask, "POST", path, timeout_s=60)).body.decode()


async def answer_of(node: HttpNode | GrpcNode, adapter: str | None) -> str:
    sampling = SamplingParams(max_new_tokens=20, ignore_eos=True)
    asked = GenerateRequest(id="r", prompt="How do I return an order?", sampling=sampling, adapter=adapter)
    async with aclosing(node.generate(asked, timeout_s=20)) as events:
        return "".join([event.text async for event in events if isinstance(event, TokenChunk)])


def admin(gateway: Server) -> Server:
    assert gateway.admin_port is not None
    return replace(gateway, port=gateway.admin_port)


async def loaded(gateway: Server, version: int) -> str:
    """Load over the admin route; return what it said."""
    path, body = "/admin/models/tiny/load", {"version": version}
    return (await asyncio.to_thread(admin(gateway).ask, "POST", path, body, timeout_s=120)).body.decode()


def states(said: str) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    found = [(line.get("node", "gateway"), line.get("state") or line["gateway"]) for line in lines]
    return [(who, state) for who, state in found if state != "working"]
