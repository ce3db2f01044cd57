"""When a refused caller should come again."""

import pytest

from weir.engine.speed import SpeedMeter


def measured(tokens_per_second: float, tokens_per_request: int) -> SpeedMeter:
    meter = SpeedMeter()
    meter.stepped(100, 100 / tokens_per_second)
    meter.ended(tokens_per_request)
    return meter


@pytest.mark.parametrize(
    ("tokens_per_second", "tokens_per_request", "seconds"), [(50, 200, 4), (10_000, 10, 1), (0.1, 500, 60)]
)
def test_the_wait_is_what_one_request_takes_at_the_measured_speed(
    tokens_per_second: float, tokens_per_request: int, seconds: float
) -> None:
    assert measured(tokens_per_second, tokens_per_request).retry_after_s() == pytest.approx(seconds)


def test_before_anything_was_measured_it_is_a_second() -> None:
    assert SpeedMeter().retry_after_s() == 1
    assert SpeedMeter().tokens_per_second == 0


def test_one_slow_step_does_not_decide() -> None:
    meter = measured(100, 100)
    meter.stepped(1, 1.0)
    assert 85 < meter.tokens_per_second < 100
