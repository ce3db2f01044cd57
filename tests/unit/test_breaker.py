"""When a node's breaker opens, and when it lets a canary through."""

import pytest

from weir.routing.policy.breaker import Breaker, Circuit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(threshold=2, open_s=1, longest_open_s=4, clock=clock)


def test_it_trips_after_failures_in_a_row_and_opens_when_told(breaker: Breaker) -> None:
    breaker.failed()
    breaker.succeeded()
    breaker.failed()
    assert not breaker.is_tripping
    breaker.failed()
    assert breaker.is_tripping
    assert breaker.state is Circuit.CLOSED
    breaker.open()
    assert breaker.state is Circuit.OPEN


def test_an_answer_that_ends_late_does_not_close_it(breaker: Breaker) -> None:
    breaker.open()
    breaker.succeeded()
    assert breaker.state is Circuit.OPEN


def test_each_canary_that_fails_doubles_the_wait_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    breaker.open()
    for wait in (1, 2, 4, 4):
        clock.now += wait - 0.01
        assert breaker.state is Circuit.OPEN
        clock.now += 0.01
        assert breaker.state is Circuit.HALF_OPEN
        breaker.open()


def test_a_canary_that_comes_through_closes_it_and_the_next_wait_is_short_again(breaker: Breaker, clock: Clock) -> None:
    breaker.open()
    clock.now += 1
    breaker.open()
    breaker.close()
    assert breaker.state is Circuit.CLOSED
    assert not breaker.is_tripping
    breaker.open()
    clock.now += 1
    assert breaker.state is Circuit.HALF_OPEN


def test_a_node_that_reappears_gets_its_canary_at_once(breaker: Breaker) -> None:
    breaker.open()
    breaker.hurry()
    assert breaker.state is Circuit.HALF_OPEN
