"""Bounds of what is kept: answers by bytes and age, attempts by bytes per caller and age."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from weir.contracts.events import Finished, FinishReason, GenerationEvent, Token, TokenChunk, Usage
from weir.gateway.idempotency import AttemptName, Attempts
from weir.gateway.refusals import KeyReusedError
from weir.gateway.response_cache import ResponseCache
from weir.gateway.surfaces.base import Reply
from weir.telemetry.metrics import GatewayMetrics

END = Finished(FinishReason.EOS, Usage(1, 1))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def cache(size_bytes: int, clock: Clock) -> tuple[ResponseCache, CollectorRegistry]:
    registry = CollectorRegistry()
    return ResponseCache(size_bytes, GatewayMetrics(registry), clock), registry


def said(text: str) -> tuple[GenerationEvent, ...]:
    return (TokenChunk(text, 1, (Token(1, text, -0.1),)), END)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 9_000), max_size=60))
def test_the_cache_never_holds_more_than_it_may(sizes: list[int]) -> None:
    kept, registry = cache(40_000, Clock())
    for number, size in enumerate(sizes):
        kept.keep(b"%d" % (number % 40), said("x" * size))
        assert 0 <= (registry.get_sample_value("weir_gateway_cache_bytes") or 0) <= 40_000
    if sizes and sizes[-1] < 3_000:
        assert kept.found(b"%d" % ((len(sizes) - 1) % 40)) == said("x" * sizes[-1])


def test_the_answer_least_recently_used_goes_first(clock: Clock) -> None:
    kept, _ = cache(16_000, clock)
    for key in (b"a", b"b"):
        kept.keep(key, said("x"))
    kept.found(b"a")
    for number in range(11):
        kept.keep(b"%d" % number, said("x"))

    assert kept.found(b"a") is not None
    assert kept.found(b"b") is None


def test_an_answer_is_kept_for_an_hour(clock: Clock) -> None:
    kept, registry = cache(16_000, clock)
    kept.keep(b"a", said("x"))
    clock.now = 3_599
    assert kept.found(b"a") is not None
    clock.now = 3_601
    assert kept.found(b"a") is None
    assert registry.get_sample_value("weir_gateway_cache_bytes") == 0


async def attempted(attempts: Attempts, caller: str, key: str, size: int) -> bool:
    """Whether the answer was a replay."""
    is_new = False

    async def run() -> Reply:
        nonlocal is_new
        is_new = True
        return Reply(200, [], b"x" * size)

    await attempts.whole(AttemptName(caller, key, b"same"), run)
    return not is_new


async def test_attempts_are_remembered_for_ten_minutes(clock: Clock) -> None:
    attempts = Attempts(GatewayMetrics(CollectorRegistry()), clock)
    assert not await attempted(attempts, "a", "k", 10)
    clock.now = 599
    assert await attempted(attempts, "a", "k", 10)
    assert not await attempted(attempts, "b", "k", 10)
    with pytest.raises(KeyReusedError):
        attempts.known(AttemptName("a", "k", b"other"))
    clock.now = 601
    assert not await attempted(attempts, "a", "k", 10)


async def test_a_callers_own_oldest_answers_make_room_for_its_new_ones(clock: Clock) -> None:
    attempts = Attempts(GatewayMetrics(CollectorRegistry()), clock)
    await attempted(attempts, "quiet", "k", 10)
    for number in range(40):
        await attempted(attempts, "greedy", f"k{number}", 1 << 19)

    assert await attempted(attempts, "quiet", "k", 10)
    assert await attempted(attempts, "greedy", "k39", 1)
    assert not await attempted(attempts, "greedy", "k0", 1)


async def test_a_huge_answer_is_not_kept(clock: Clock) -> None:
    attempts = Attempts(GatewayMetrics(CollectorRegistry()), clock)
    await attempted(attempts, "a", "k", 2 << 20)
    assert not await attempted(attempts, "a", "k", 10)
