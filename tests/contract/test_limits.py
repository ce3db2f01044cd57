"""Limits per window: in memory, and in a real Redis that several gateways share."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.servers import Redis, redis

from weir.contracts.caller import Caller
from weir.store.database import StoreError
from weir.store.limits import LimitStore, MemoryLimits, Refusal, Taken
from weir.store.redis_limits import RedisLimits

AMPLE = 1_000_000
Make = Callable[[int], LimitStore]


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with redis() as running:
        yield running


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Return a maker of stores with a window of so many seconds; all of one test count together in Redis."""
    made: list[LimitStore] = []

    def build(window_s: int = 60) -> LimitStore:
        if request.param == "memory":
            store: LimitStore = MemoryLimits(window_s=window_s)
        else:
            store = RedisLimits(request.getfixturevalue("server").url, prefix=request.node.name, window_s=window_s)
        made.append(store)
        return store

    yield build
    for store in made:
        await store.aclose()


async def test_a_caller_gets_his_limit_and_then_a_time_to_come_back(make: Make) -> None:
    limits, caller = make(60), Caller("k_1", "t", requests_per_min=3)

    taken = [await limits.take(caller, requests=1, tokens=0) for _ in range(4)]

    assert [isinstance(one, Taken) for one in taken] == [True, True, True, False]
    refusal = taken[-1]
    assert isinstance(refusal, Refusal)
    assert refusal.limit == "requests"
    assert refusal.retry_after_s is not None
    assert 50 < refusal.retry_after_s <= 61
    level = limits.levels(caller)["requests"]
    assert (level.limit, level.remaining) == (3, 0)
    assert 50 < level.reset_s <= 61


async def test_what_is_refused_takes_nothing(make: Make) -> None:
    limits, caller = make(60), Caller("k_1", "t", requests_per_min=5, tokens_per_min=100)
    await limits.take(caller, requests=1, tokens=60)

    refused = await limits.take(caller, requests=1, tokens=60)

    assert isinstance(refused, Refusal)
    assert refused.limit == "tokens"
    assert isinstance(await limits.take(caller, requests=1, tokens=40), Taken)
    assert limits.levels(caller)["requests"].remaining == 3
    assert limits.levels(caller)["tokens"].remaining == 0


async def test_more_than_the_limit_itself_never_fits(make: Make) -> None:
    refused = await make(60).take(Caller("k_1", "t", tokens_per_min=100), requests=0, tokens=101)
    assert refused == Refusal("tokens", None)


@pytest.mark.timed
async def test_unused_tokens_come_back_and_used_ones_count(make: Make) -> None:
    limits, caller = make(60), Caller("k_1", "t", tokens_per_min=100)
    taken = await limits.take(caller, requests=0, tokens=80)
    assert isinstance(taken, Taken)

    limits.settle(caller, taken, 30)
    await asyncio.sleep(0.05)

    assert isinstance(await limits.take(caller, requests=0, tokens=71), Refusal)
    assert isinstance(await limits.take(caller, requests=0, tokens=70), Taken)


async def test_the_window_moves_on(make: Make) -> None:
    limits, caller = make(1), Caller("k_1", "t", requests_per_min=2)
    assert [isinstance(await limits.take(caller, requests=1, tokens=0), Taken) for _ in range(3)] == [True, True, False]
    refused = await limits.take(caller, requests=1, tokens=0)
    assert isinstance(refused, Refusal)
    await asyncio.sleep((refused.retry_after_s or 0) + 0.02)
    assert isinstance(await limits.take(caller, requests=1, tokens=0), Taken)


async def test_callers_do_not_share_and_those_without_limits_are_not_counted(make: Make) -> None:
    limits = make(60)
    for name in ("k_1", "k_2"):
        assert isinstance(await limits.take(Caller(name, "t", requests_per_min=1), requests=1, tokens=0), Taken)
    free = Caller("k_3", "t")
    assert all([isinstance(await limits.take(free, requests=1, tokens=AMPLE), Taken) for _ in range(50)])
    assert limits.levels(free) == {}


async def test_no_window_of_real_time_holds_more_than_the_limit(make: Make) -> None:
    """Many ask at once, over several windows; several gateways when Redis counts."""
    limit, seconds = 20, 1
    first = make(seconds)
    stores = [first, first if isinstance(first, MemoryLimits) else make(seconds)]
    caller, passed = Caller("k_1", "t", requests_per_min=limit), list[tuple[float, float]]()

    async def ask(store: LimitStore) -> None:
        while time.monotonic() < end:
            began = time.monotonic()
            if isinstance(await store.take(caller, requests=1, tokens=0), Taken):
                passed.append((began, time.monotonic()))
            await asyncio.sleep(0.005)

    end = time.monotonic() + 3.5
    await asyncio.gather(*(ask(stores[number % 2]) for number in range(8)))

    # Each was counted at some moment between its two times: only pairs that are surely within one window are judged.
    for number, (began, _) in enumerate(passed):
        surely_within = sum(other[1] < began + seconds for other in passed[number:])
        assert surely_within <= limit
    assert len(passed) >= limit + 1, "the window never moved on"


@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 40), st.integers(1, 20), st.integers(0, 20)), max_size=60),
)
def test_no_60_seconds_hold_more_than_the_limit_whatever_happens(
    limit: int, steps: list[tuple[float, int, int]]
) -> None:
    now = 1000.0
    limits, caller = MemoryLimits(lambda: now), Caller("k_1", "t", tokens_per_min=limit)
    used: list[tuple[float, int]] = []
    for pause, wanted, spent in steps:
        now += pause
        taken = limits.take_now(caller, requests=0, tokens=wanted)
        if isinstance(taken, Taken):
            limits.settle(caller, taken, min(spent, wanted))
            used.append((now, min(spent, wanted)))
        elif taken.retry_after_s is not None:
            now += taken.retry_after_s  # and the promise is kept
            again = limits.take_now(caller, requests=0, tokens=wanted)
            assert isinstance(again, Taken)
            used.append((now, wanted))
        else:
            assert wanted > limit
    for end, _ in used:
        assert sum(amount for at, amount in used if end - 60 < at <= end) <= limit


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 30)), max_size=40))
def test_reservations_never_leak(pairs: list[tuple[int, int]]) -> None:
    limits, caller = MemoryLimits(lambda: 1000.0), Caller("k_1", "t", tokens_per_min=AMPLE)
    taken = [limits.take_now(caller, requests=0, tokens=wanted) for wanted, _ in pairs]
    for one, (_, spent) in zip(taken, pairs, strict=True):
        assert isinstance(one, Taken)
        limits.settle(caller, one, spent)
    assert limits.levels(caller)["tokens"].remaining == AMPLE - sum(spent for _, spent in pairs)


@pytest.mark.timed
async def test_a_redis_that_is_away_says_so_at_once_and_is_found_again() -> None:
    with redis() as server:
        now = 0.0
        limits, caller = RedisLimits(server.url, clock=lambda: now), Caller("k_1", "t", requests_per_min=9)
        assert isinstance(await limits.take(caller, requests=1, tokens=0), Taken)
        server.stop()
        with pytest.raises(StoreError):
            await limits.take(caller, requests=1, tokens=0)
        began = time.monotonic()
        with pytest.raises(StoreError):
            await limits.take(caller, requests=1, tokens=0)
        assert time.monotonic() - began < 0.1
        server.start()
        now += 2
        assert isinstance(await limits.take(caller, requests=1, tokens=0), Taken)
        await limits.aclose()
