"""What admission learns of nodes must not hold back what they would take at once: a clock, tasks and changing work."""

import asyncio
from pathlib import Path
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry
from tests.support.gateway import Stage, answer, gateway
from tests.support.prompt_release import make_prompt_release

from weir.backends.base import NodeReport
from weir.backends.scripted import ScriptedBackend
from weir.gateway.admission.door import Admission
from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import Bounds
from weir.gateway.admission.sizing import Sizing
from weir.telemetry.metrics import GatewayMetrics

pytestmark = pytest.mark.timed

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


async def test_it_begins_with_what_the_nodes_in_use_say() -> None:
    metrics = GatewayMetrics(CollectorRegistry())
    admission = Admission(metrics, Bounds(running=1_000, waiting=4_000, tokens=10_000_000), queue_timeout_s=10.0)
    told: list[int | None] = [None]
    sizing = Sizing(lambda: told[0], admission, interval_s=0.01)
    sizing.look()
    assert limit(metrics) == 64

    told[0] = 3
    sizing.look()
    assert limit(metrics) == 3
    running = [asyncio.create_task(answered(admission, 60, 60)) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert admission.in_flight == 3

    following = asyncio.create_task(sizing.follow())
    told[0] = 5  # a node more: those who wait are let in
    await asyncio.sleep(0.1)
    assert (admission.in_flight, limit(metrics)) == (5, 5)
    told[0] = None  # while none is up, what was said last holds
    await asyncio.sleep(0.05)
    assert limit(metrics) == 5

    for task in (following, *running):
        task.cancel()
    await asyncio.gather(following, *running, return_exceptions=True)


def test_a_gateway_begins_with_what_its_nodes_say(tmp_path: Path) -> None:
    stages = [Stage(), Stage()]
    for number, stage in enumerate(stages):
        stage.backend = ScriptedBackend(answer("ok"), name=f"node-{number}")
        stage.backend.report = NodeReport(slots=3 + number)
    with gateway(make_prompt_release(tmp_path), *(stage.backend for stage in stages), probe_interval_s=0.05) as weir:
        assert weir.metric("admission_limit") == 7
        stages[1].backend.is_ready = False
        weir.eventually(lambda: weir.metric("admission_limit") == 3)
        stages[1].backend.is_ready = True
        weir.eventually(lambda: weir.metric("admission_limit") == 7)
        assert weir.post("/generate", {"inputs": "?"}).status == 200


def limit(metrics: GatewayMetrics) -> float:
    return metrics.registry.get_sample_value("weir_gateway_admission_limit") or 0.0
