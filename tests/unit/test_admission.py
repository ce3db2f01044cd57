"""Admission: bounded, fair, and no slot is ever lost."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from weir.contracts.errors import OverloadedError
from weir.gateway.admission import Admission
from weir.telemetry.metrics import GatewayMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def queue_timeout_s() -> float:
    return 5.0


@pytest.fixture
def admission(registry: CollectorRegistry, queue_timeout_s: float) -> Admission:
    return Admission(GatewayMetrics(registry), max_in_flight=1, max_queue=2, queue_timeout_s=queue_timeout_s)


async def hold(admission: Admission, seconds: float, log: list[str], name: str) -> None:
    async with admission.slot():
        log.append(name)
        await asyncio.sleep(seconds)


async def test_who_waits_longest_is_next(admission: Admission, registry: CollectorRegistry) -> None:
    log: list[str] = []
    tasks = []
    for name in "abc":
        tasks.append(asyncio.create_task(hold(admission, 0.01, log, name)))
        await asyncio.sleep(0)
    assert registry.get_sample_value("weir_gateway_queue_depth") == 2
    await asyncio.gather(*tasks)

    assert log == ["a", "b", "c"]
    assert admission.in_flight == 0
    assert registry.get_sample_value("weir_gateway_queue_depth") == 0


async def test_a_full_queue_says_when_to_come_back(admission: Admission) -> None:
    log: list[str] = []
    tasks = [asyncio.create_task(hold(admission, 0.02, log, name)) for name in "abc"]
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError) as caught:
        await hold(admission, 0, log, "d")
    assert 1 <= caught.value.retry_after_s <= 60
    await asyncio.gather(*tasks)
    assert log == ["a", "b", "c"]


@pytest.mark.parametrize("queue_timeout_s", [0.01])
async def test_waiting_has_an_end(admission: Admission) -> None:
    log: list[str] = []
    first = asyncio.create_task(hold(admission, 0.2, log, "a"))
    await asyncio.sleep(0)

    with pytest.raises(OverloadedError):
        await hold(admission, 0, log, "b")
    await first
    assert admission.in_flight == 0


async def test_no_slot_is_lost_when_waiters_are_cancelled(admission: Admission) -> None:
    log: list[str] = []
    for _ in range(20):
        first = asyncio.create_task(hold(admission, 0.001, log, "a"))
        await asyncio.sleep(0)
        second = asyncio.create_task(hold(admission, 0, log, "b"))
        await asyncio.sleep(0.001)  # about when the slot is handed over
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    assert admission.in_flight == 0
    await hold(admission, 0, log, "last")
    assert log[-1] == "last"
