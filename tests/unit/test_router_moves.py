"""A request that no node has begun to answer is not lost while any node is well, or comes back in time."""

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import (
    BackendError,
    BackendUnavailableError,
    DeadlineExceededError,
    NodeUnreachableError,
    OverloadedError,
)
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.routing.node import Node
from weir.routing.router import Routed, Router
from weir.telemetry.metrics import GatewayMetrics

pytestmark = pytest.mark.timed

OK = (TokenChunk("ok"), Finished(FinishReason.EOS, Usage(1, 1)))
GONE = (BackendUnavailableError("it went away"),)
UNREACHABLE = (NodeUnreachableError("it cannot be reached"),)
ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))
PATIENCE_S = 0.4


class Fleet:
    """A router over scripted nodes `n0`, `n1`, …, all of them well at first."""

    def __init__(self, *scripts: Sequence[Any], probe_interval_s: float = 60.0) -> None:
        self.registry = CollectorRegistry()
        metrics = GatewayMetrics(self.registry)
        self.backends = [ScriptedBackend(*script, name=f"n{number}") for number, script in enumerate(scripts)]
        self.nodes = [Node(backend, metrics) for backend in self.backends]
        self.router = Router(self.nodes, metrics, probe_interval_s=probe_interval_s, patience_s=PATIENCE_S)

    async def begin(self) -> None:
        await asyncio.gather(*(node.probe() for node in self.nodes))

    async def ask(self, **changes: Any) -> Routed:
        return await self.router.open(ASKED.changed(**changes), timeout_s=5)

    def kill(self, number: int) -> None:
        """What is there now fails, and so does what comes; a probe says no."""
        self.backends[number].is_ready = False

    def eject(self, number: int) -> None:
        self.nodes[number].member.breaker.open()
        self.nodes[number].member.set_open()

    def retries(self) -> float:
        return self.registry.get_sample_value("weir_gateway_upstream_retries_total", {"backend": "cpu"}) or 0.0


async def test_the_survivor_that_missed_a_probe_just_now_is_waited_for() -> None:
    """Its probe came too late or was refused a moment before the other node was killed."""
    fleet = Fleet([GONE], [OK])
    await fleet.begin()
    fleet.kill(0)
    fleet.kill(1)
    await asyncio.sleep(0.11)
    await fleet.nodes[1].probe()
    assert not fleet.nodes[1].is_available
    fleet.backends[1].is_ready = True  # the next probe, which is not due yet, would say so

    assert (await fleet.ask()).node == "n1"
    assert fleet.retries() == 1


async def test_a_survivor_that_was_ejected_for_slowness_is_let_in_by_a_canary_at_once() -> None:
    fleet = Fleet([GONE], [OK])
    await fleet.begin()
    fleet.eject(1)
    fleet.kill(0)
    began = monotonic()

    assert (await fleet.ask()).node == "n1"
    assert monotonic() - began < PATIENCE_S
    assert [call.id for call in fleet.backends[1].calls] == ["canary", "r"]


async def test_a_survivor_whose_canary_fails_gets_no_request() -> None:
    fleet = Fleet([GONE], [(BackendError("odd"),)])
    await fleet.begin()
    fleet.eject(1)
    fleet.kill(0)

    with pytest.raises(BackendUnavailableError, match=r"it went away, and no other node .*: 1 not ready, 1 ejected$"):
        await fleet.ask()
    assert {call.id for call in fleet.backends[1].calls} == {"canary"}


async def test_a_survivor_that_is_full_sends_the_request_back_to_the_queue_and_not_away() -> None:
    for scripts in ([GONE], [(OverloadedError(1),)]), ([(OverloadedError(1),)], [GONE]):
        fleet = Fleet(*scripts)
        await fleet.begin()

        with pytest.raises(OverloadedError):
            await fleet.ask()


async def test_all_that_waited_at_a_node_that_dies_move_whatever_the_budget_for_retries() -> None:
    many = 300
    fleet = Fleet([[0.05, *GONE]], [OK])
    await fleet.begin()
    fleet.eject(1)
    asked = [asyncio.create_task(fleet.ask()) for _ in range(many)]
    await asyncio.sleep(0)
    assert fleet.nodes[0].in_flight == many
    fleet.kill(0)

    routed = await asyncio.gather(*asked)

    assert {one.node for one in routed} == {"n1"}
    assert fleet.retries() == many
    assert fleet.registry.get_sample_value("weir_gateway_retry_budget_exhausted_total") == 0


async def test_nodes_that_never_had_it_do_not_count_as_attempts() -> None:
    fleet = Fleet(*([[UNREACHABLE]] * 5), [OK])
    await fleet.begin()
    for number in range(5):
        fleet.kill(number)

    for _ in range(6):
        assert (await fleet.ask()).node == "n5"


async def test_a_request_that_breaks_three_nodes_is_given_to_no_fourth() -> None:
    fleet = Fleet(*([[GONE]] * 5))
    await fleet.begin()

    with pytest.raises(BackendUnavailableError, match=r"it went away, and no other node .*: 3 failed"):
        await fleet.ask()
    assert sum(len(backend.calls) for backend in fleet.backends) == 3


@pytest.mark.parametrize("failure", [GONE, UNREACHABLE])
async def test_a_lone_node_that_comes_back_in_time_gets_it(failure: Sequence[Any]) -> None:
    fleet = Fleet([failure, OK])
    await fleet.begin()
    fleet.kill(0)
    asked = asyncio.create_task(fleet.ask())
    await asyncio.sleep(PATIENCE_S / 2)
    later = asyncio.create_task(fleet.ask())  # comes while nobody is there
    await asyncio.sleep(0)
    fleet.backends[0].is_ready = True

    assert (await asked).node == (await later).node == "n0"


async def test_patience_ends_and_who_comes_later_is_told_at_once() -> None:
    fleet = Fleet([UNREACHABLE])
    await fleet.begin()
    fleet.kill(0)
    began = monotonic()

    with pytest.raises(BackendUnavailableError, match=r"it cannot be reached, and no other node .*: 1 not ready"):
        await fleet.ask()
    assert PATIENCE_S <= monotonic() - began < PATIENCE_S + 0.5

    began = monotonic()
    with pytest.raises(BackendUnavailableError, match=r"no node is ready: 1 not ready"):
        await fleet.ask()
    assert monotonic() - began < PATIENCE_S / 2


async def test_a_deadline_ends_the_wait() -> None:
    fleet = Fleet([UNREACHABLE])
    await fleet.begin()
    fleet.kill(0)
    began = monotonic()

    with pytest.raises(DeadlineExceededError):
        await fleet.ask(deadline_s=0.2)
    assert monotonic() - began < PATIENCE_S


async def test_a_node_that_does_not_say_how_it_is_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet([GONE], [OK], [OK])
    await fleet.begin()

    async def never() -> bool:
        await asyncio.sleep(2)
        return False

    monkeypatch.setattr(fleet.backends[2], "ready", never)
    for number in (1, 2):
        fleet.router.fleet.up(fleet.nodes[number].member, is_up=False)
    fleet.kill(0)
    await asyncio.sleep(0.11)
    began = monotonic()

    assert (await fleet.ask()).node == "n1"
    assert monotonic() - began < PATIENCE_S


async def test_those_who_wait_share_their_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet([UNREACHABLE])
    await fleet.begin()
    fleet.kill(0)
    probes = 0

    async def ready() -> bool:
        nonlocal probes
        probes += 1
        return False

    monkeypatch.setattr(fleet.backends[0], "ready", ready)
    said = await asyncio.gather(*(fleet.ask() for _ in range(100)), return_exceptions=True)

    assert {type(one) for one in said} == {BackendUnavailableError}
    assert 2 <= probes <= 10 * PATIENCE_S + 3
