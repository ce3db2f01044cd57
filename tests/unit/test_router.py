"""Which node takes a request, and what happens when it fails."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from weir.backends.scripted import ScriptedBackend
from weir.contracts.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    DeadlineExceededError,
    OverloadedError,
    ValidationError,
    WeirError,
)
from weir.contracts.events import Finished, FinishReason, TokenChunk, Usage
from weir.contracts.request import GenerateRequest, SamplingParams
from weir.routing.node import Node
from weir.routing.router import Routed, Router
from weir.telemetry.metrics import GatewayMetrics

OK = (TokenChunk("ok"), Finished(FinishReason.EOS, Usage(1, 1)))
ASKED = GenerateRequest(id="r", prompt="?", sampling=SamplingParams(max_new_tokens=4))


class House:
    """A router over scripted nodes `n0`, `n1`, …"""

    def __init__(self, *scripts: Sequence[Any]) -> None:
        self.registry = CollectorRegistry()
        metrics = GatewayMetrics(self.registry)
        self.backends = [ScriptedBackend(*script, name=f"n{number}") for number, script in enumerate(scripts)]
        self.nodes = [Node(backend, metrics) for backend in self.backends]
        self.router = Router(self.nodes, metrics, probe_interval_s=0.01)

    async def ask(self) -> Routed:
        return await self.router.open(ASKED, timeout_s=1)

    async def answer(self) -> str:
        """Ask and read to the end; return the name of the node that answered."""
        routed = await self.ask()
        assert [event async for event in routed.events][-1].type == "finished"
        return routed.node

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"weir_gateway_{name}", labels)


async def test_the_least_busy_node_takes_the_request() -> None:
    house = House([OK], [OK])

    first = await house.ask()
    second = await house.ask()

    assert {first.node, second.node} == {"n0", "n1"}
    await first.events.aclose()
    assert (await house.ask()).node == first.node


async def test_closing_the_events_frees_the_node() -> None:
    house = House([OK])

    routed = await house.ask()
    assert house.nodes[0].in_flight == 1
    await routed.events.aclose()

    assert house.nodes[0].in_flight == 0
    assert house.backends[0].cancelled_count == 1


async def test_a_node_that_is_not_ready_is_left_out() -> None:
    house = House([OK], [OK])
    house.backends[0].is_ready = False

    assert [await house.answer() for _ in range(3)] == ["n1"] * 3
    assert house.value("node_healthy", node="n0") == 0
    assert house.value("node_healthy", node="n1") == 1


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (BackendUnavailableError("gone"), "connect"),
        (BackendTimeoutError("late"), "timeout"),
        (BackendError("odd"), "protocol"),
        (OverloadedError(5), "overload"),
    ],
)
async def test_an_early_failure_is_tried_on_another_node(failure: WeirError, reason: str) -> None:
    house = House([(failure,)], [OK])

    assert await house.answer() == "n1"
    assert house.value("upstream_retries_total", backend="cpu") == 1
    assert house.value("upstream_errors_total", backend="cpu", reason=reason) == 1


async def test_a_refused_request_is_not_tried_again() -> None:
    house = House([(ValidationError("no"),)], [(ValidationError("no"),)])

    with pytest.raises(ValidationError):
        await house.ask()
    assert sum(len(backend.calls) for backend in house.backends) == 1


async def test_a_node_that_comes_back_gets_the_request_again() -> None:
    house = House([(BackendUnavailableError("gone"),), OK])

    assert await house.answer() == "n0"
    assert len(house.backends[0].calls) == 2


@pytest.mark.parametrize("failure", [BackendTimeoutError("late"), BackendError("odd"), OverloadedError(5)])
async def test_what_failed_otherwise_is_not_repeated_on_the_same_node(failure: WeirError) -> None:
    house = House([(failure,)])

    with pytest.raises(type(failure)):
        await house.ask()
    assert len(house.backends[0].calls) == 1


async def test_attempts_are_bounded() -> None:
    house = House(*([[(BackendUnavailableError("gone"),)]] * 5))

    with pytest.raises(BackendUnavailableError):
        await house.ask()
    assert sum(len(backend.calls) for backend in house.backends) == 3


async def test_a_failure_after_the_first_event_is_not_tried_again() -> None:
    house = House([(TokenChunk("o"), BackendUnavailableError("gone"))], [OK])

    routed = await house.ask()
    with pytest.raises(BackendUnavailableError):
        [event async for event in routed.events]

    assert len(house.backends[1].calls) == 0
    assert await house.answer() == "n1"


async def test_without_a_ready_node_it_says_so_at_once() -> None:
    house = House([OK])
    house.backends[0].is_ready = False

    with pytest.raises(BackendUnavailableError, match="no node is ready"):
        await house.ask()


async def test_probes_go_on_in_the_background() -> None:
    house = House([OK])
    house.backends[0].is_ready = False
    await house.router.start()
    assert not house.router.is_ready_for("")

    house.backends[0].is_ready = True
    async with asyncio.timeout(10):
        while not house.router.is_ready_for(""):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    await house.router.aclose()


async def test_one_probe_without_an_answer_is_forgiven_and_two_in_a_row_are_not(monkeypatch) -> None:
    monkeypatch.setattr("weir.routing.node._FRESH_PROBE_S", 0.0)
    node = House([OK]).nodes[0]
    answers = [True, None, True, None, None, True]

    async def ready() -> bool:
        answer = answers.pop(0)
        if answer is None:
            raise BackendTimeoutError("silent")
        return answer

    monkeypatch.setattr(node.backend, "ready", ready)

    assert [await node.probe() for _ in range(6)] == [True, True, True, True, False, True]


async def test_a_node_that_keeps_failing_is_ejected_and_the_other_one_is_not() -> None:
    house = House([(BackendError("odd"),)], [OK])

    assert [await house.answer() for _ in range(8)] == ["n1"] * 8

    assert len(house.backends[0].calls) == 3
    assert house.value("circuit_state", node="n0") == 2
    assert house.value("circuit_state", node="n1") == 0


async def test_a_lone_node_is_never_ejected_but_a_canary_that_fails_too_takes_it_down() -> None:
    house = House([(BackendError("odd"),)])

    for _ in range(3):
        with pytest.raises(BackendError, match="odd"):
            await house.ask()
    assert house.value("circuit_state", node="n0") == 0
    assert house.router.is_ready_for("")

    await asyncio.sleep(0.11)  # a probe just before is taken for this one
    assert not await house.nodes[0].probe()
    with pytest.raises(BackendUnavailableError, match="no node is ready"):
        await house.ask()


async def test_requests_that_fail_do_not_take_down_a_lone_node_whose_canary_comes_through() -> None:
    house = House([lambda asked: OK if asked.id == "canary" else (BackendError("odd"),)])

    for _ in range(4):
        with pytest.raises(BackendError, match="odd"):
            await house.ask()

    await asyncio.sleep(0.11)
    assert await house.nodes[0].probe()


async def test_an_ejected_node_comes_back_when_its_canary_comes_through_and_no_request_is_risked() -> None:
    is_well = False
    house = House([lambda asked: OK if is_well else (BackendError("odd"),)], [OK])
    for _ in range(6):
        await house.answer()
    assert house.value("circuit_state", node="n0") == 2
    asked = len(house.backends[0].calls)

    await house.router.start()
    is_well = True
    async with asyncio.timeout(10):
        while not house.nodes[0].is_available:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    await house.router.aclose()

    assert {call.id for call in house.backends[0].calls[asked:]} == {"canary"}
    assert house.value("circuit_state", node="n0") == 0


async def test_retries_stop_when_a_tenth_of_the_requests_has_been_tried_again() -> None:
    house = House([(BackendError("odd"),)], [(BackendError("odd"),)])

    for _ in range(100):
        for node in house.nodes:
            node.member.breaker.close()
        with pytest.raises(BackendError):
            await house.ask()

    retries = house.value("upstream_retries_total", backend="cpu")
    assert retries is not None
    assert 10 <= retries <= 20  # a reserve of ten, and a tenth of a hundred requests
    assert sum(len(backend.calls) for backend in house.backends) == 100 + retries
    assert house.value("retry_budget_exhausted_total") == 100 - retries


async def test_a_node_is_told_what_is_left_of_the_deadline_and_nothing_is_tried_after_it() -> None:
    house = House([(0.02, BackendError("odd"))], [OK])
    asked = ASKED.model_copy(update={"deadline_s": 5.0})

    await house.router.open(asked, timeout_s=1)

    first, second = [backend.calls[0].deadline_s for backend in house.backends]
    assert first is not None
    assert second is not None
    assert second < first - 0.02 < 5

    late = House([(0.05, BackendError("odd"))], [OK])
    with pytest.raises(DeadlineExceededError):
        await late.router.open(ASKED.model_copy(update={"deadline_s": 0.04}), timeout_s=1)
    assert late.backends[1].calls == []
