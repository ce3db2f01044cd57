"""What admission learns of nodes must not hold back what they would take at once: a clock, tasks and changing work."""

import asyncio
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry

from weir.gateway.admission.door import Admission
from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import Bounds
from weir.telemetry.metrics import GatewayMetrics

ROUNDS = 200


@pytest.fixture
def admission() -> Admission:
    bounds = Bounds(running=1_000, waiting=4_000, tokens=10_000_000)
    return Admission(GatewayMetrics(CollectorRegistry()), bounds, queue_timeout_s=10.0)


async def answered(admission: Admission, first_token_s: float, answer_s: float) -> float:
    """Ask a node that takes whatever comes; return how long the request waited for its turn."""
    async with admission.admitted(Work("k", 10, 20)) as place:
        await asyncio.sleep(first_token_s)
        place.began()
        await asyncio.sleep(answer_s)
        place.answer_tokens = 20
    return place.queue_s


async def test_long_streams_after_a_run_of_short_answers_all_start_soon(admission: Admission) -> None:
    for _ in range(ROUNDS):
        await asyncio.gather(*(answered(admission, 0.0005, 0.0005) for _ in range(4)))

    began = monotonic()
    streams = [asyncio.create_task(answered(admission, 0.3, 60)) for _ in range(200)]
    while admission.in_flight < len(streams):
        assert monotonic() - began < 3, f"{admission.in_flight} of {len(streams)} run"
        await asyncio.sleep(0.01)

    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    assert admission.in_flight == 0


async def test_short_answers_that_become_slow_are_not_held_back(admission: Admission) -> None:
    """First token and end come together here: there is no time in between to tell a queue from slow work."""
    for _ in range(ROUNDS):
        await asyncio.gather(*(answered(admission, 0.0005, 0.0) for _ in range(4)))

    async def client() -> None:
        for _ in range(20):
            await answered(admission, 0.1, 0.0)

    began = monotonic()
    await asyncio.gather(*(client() for _ in range(100)))
    assert monotonic() - began < 20 * 0.1 * 2  # sixteen at a time would take 12.5 s
