"""Admission with a clock and tasks: turns, refusals, deadlines, callers that leave, nodes that are full."""

import asyncio
import time
from contextlib import AsyncExitStack
from time import monotonic

import pytest
from prometheus_client import CollectorRegistry

from weir.contracts.errors import DeadlineExceededError
from weir.gateway.admission.door import Admission, Place
from weir.gateway.admission.flows import Work
from weir.gateway.admission.policy import Bounds
from weir.gateway.refusals import KeyBusyError, SaturatedError
from weir.telemetry.metrics import GatewayMetrics


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def queue_timeout_s() -> float:
    return 5.0


@pytest.fixture
def admission(registry: CollectorRegistry, queue_timeout_s: float) -> Admission:
    bounds = Bounds(running=1, waiting=2, tokens=10_000)
    return Admission(GatewayMetrics(registry), bounds, queue_timeout_s=queue_timeout_s)


def work(key: str = "k") -> Work:
    return Work(key, 10, 20)


async def hold(admission: Admission, seconds: float, log: list[str], name: str, deadline: float | None = None) -> None:
    async with admission.admitted(work(), deadline) as place:
        place.began()
        log.append(name)
        await asyncio.sleep(seconds)
        place.answer_tokens = 20


def refused(registry: CollectorRegistry, reason: str) -> float:
    return registry.get_sample_value("weir_gateway_admission_refused_total", {"reason": reason}) or 0.0


async def test_who_waits_longest_is_next(admission: Admission, registry: CollectorRegistry) -> None:
    log: list[str] = []
    tasks = []
    for name in "abc":
        tasks.append(asyncio.create_task(hold(admission, 0.01, log, name)))
        await asyncio.sleep(0)
    assert registry.get_sample_value("weir_gateway_queue_depth") == 2
    assert registry.get_sample_value("weir_gateway_queue_tokens") == 60
    await asyncio.gather(*tasks)

    assert log == ["a", "b", "c"]
    assert admission.in_flight == 0
    assert registry.get_sample_value("weir_gateway_queue_depth") == 0
    assert registry.get_sample_value("weir_gateway_queue_tokens") == 0


async def test_a_full_queue_says_when_to_come_back(admission: Admission, registry: CollectorRegistry) -> None:
    log: list[str] = []
    tasks = [asyncio.create_task(hold(admission, 0.02, log, name)) for name in "abc"]
    await asyncio.sleep(0)

    with pytest.raises(SaturatedError) as caught:
        await hold(admission, 0, log, "d")
    assert caught.value.status == 503
    assert 1 <= caught.value.retry_after_s <= 60
    assert refused(registry, "system") == 1
    await asyncio.gather(*tasks)
    assert log == ["a", "b", "c"]


async def test_retry_after_is_what_the_measured_speed_says(admission: Admission) -> None:
    async with admission.admitted(work()) as place:
        place.began()
        place.started = monotonic() - 12.0  # 30 tokens in 12 s
        place.wait_s = 1.0
        place.answer_tokens = 20
    running = asyncio.create_task(hold(admission, 10, [], "long"))
    await asyncio.sleep(0)

    with pytest.raises(SaturatedError) as caught:  # it would wait longer than the queue's 5 s
        await hold(admission, 0, [], "x")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert 11 <= caught.value.retry_after_s <= 13


async def test_a_queue_kept_full_by_another_key_makes_room(admission: Admission, registry: CollectorRegistry) -> None:
    tasks = [asyncio.create_task(hold(admission, 0.02, [], name)) for name in "abc"]
    await asyncio.sleep(0)

    async with admission.admitted(work("quiet")):
        pass

    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), type(None), KeyBusyError]
    assert refused(registry, "key") == 1


@pytest.mark.parametrize("queue_timeout_s", [0.01])
async def test_waiting_has_an_end(admission: Admission, registry: CollectorRegistry) -> None:
    log: list[str] = []
    first = asyncio.create_task(hold(admission, 0.2, log, "a"))
    await asyncio.sleep(0)

    with pytest.raises(SaturatedError):
        await hold(admission, 0, log, "b")
    await first
    assert refused(registry, "timeout") == 1
    assert admission.in_flight == 0


@pytest.mark.timed
async def test_a_deadline_that_passed_or_passes_while_waiting_ends_it(
    admission: Admission, registry: CollectorRegistry
) -> None:
    log: list[str] = []
    first = asyncio.create_task(hold(admission, 0.2, log, "a"))
    await asyncio.sleep(0)

    with pytest.raises(DeadlineExceededError):
        await hold(admission, 0, log, "late", monotonic() - 0.1)
    began = monotonic()
    with pytest.raises(DeadlineExceededError):
        await hold(admission, 0, log, "soon", monotonic() + 0.03)
    assert monotonic() - began < 0.1
    assert registry.get_sample_value("weir_gateway_queue_depth") == 0
    await first
    assert log == ["a"]
    assert refused(registry, "deadline") == 2


async def test_a_deadline_that_passes_between_the_turn_and_the_start_ends_it(admission: Admission) -> None:
    log: list[str] = []
    stack = AsyncExitStack()
    await stack.enter_async_context(admission.admitted(work()))
    late = asyncio.create_task(hold(admission, 0, log, "late", monotonic() + 0.02))
    next_one = asyncio.create_task(hold(admission, 0, log, "next"))
    await asyncio.sleep(0)
    await stack.aclose()
    time.sleep(0.03)  # noqa: ASYNC251 - a loop that is busy elsewhere

    with pytest.raises(DeadlineExceededError):
        await late
    await next_one
    assert log == ["next"]
    assert admission.in_flight == 0


@pytest.mark.timed
async def test_who_cannot_be_served_before_its_deadline_is_told_at_once(
    admission: Admission, registry: CollectorRegistry
) -> None:
    async with admission.admitted(work()) as place:
        place.began()
        place.started = monotonic() - 3.0  # 30 tokens: 10 per second
        place.answer_tokens = 20
    async with admission.admitted(work()):
        began = monotonic()
        with pytest.raises(SaturatedError):
            await hold(admission, 0, [], "hopeless", monotonic() + 1.0)
        assert monotonic() - began < 0.1
    assert refused(registry, "hopeless") == 1


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


async def test_who_leaves_in_the_moment_of_its_turn_gives_it_on(admission: Admission) -> None:
    log: list[str] = []
    stack = AsyncExitStack()
    await stack.enter_async_context(admission.admitted(work()))
    leaving = asyncio.create_task(hold(admission, 0, log, "leaving"))
    staying = asyncio.create_task(hold(admission, 0, log, "staying"))
    await asyncio.sleep(0)
    leaving.cancel()  # cancelled, but not yet run, when the slot is given out
    await stack.aclose()
    await asyncio.gather(leaving, staying, return_exceptions=True)

    assert log == ["staying"]
    assert admission.in_flight == 0


async def test_a_request_that_finds_the_nodes_full_waits_in_front_and_is_tried_again(admission: Admission) -> None:
    order: list[str] = []

    async def meet_full_nodes(times: int) -> None:
        async with admission.admitted(work()) as place:
            for _ in range(times):
                await place.again(1.0)
            order.append("first")

    async with asyncio.timeout(3):
        first = asyncio.create_task(meet_full_nodes(2))
        await asyncio.sleep(0)
        second = asyncio.create_task(hold(admission, 0, order, "second"))
        await asyncio.gather(first, second)

    assert order == ["first", "second"]
    assert admission.in_flight == 0


@pytest.mark.parametrize("queue_timeout_s", [0.2])
async def test_nodes_that_stay_full_are_an_overload_in_the_end(admission: Admission) -> None:
    tries = 0

    async def find_full(place: Place) -> None:
        nonlocal tries
        while True:
            tries += 1
            await place.again(0.1)

    with pytest.raises(SaturatedError):
        async with admission.admitted(work()) as place:
            await find_full(place)
    assert 2 <= tries <= 5
    assert admission.in_flight == 0


async def test_nodes_that_say_they_stay_full_are_believed(admission: Admission) -> None:
    with pytest.raises(SaturatedError) as caught:
        async with admission.admitted(work()) as place:
            await place.again(45.0)
    assert caught.value.retry_after_s == 45
    assert admission.in_flight == 0
