"""How long a step will take, and what a running stream is made to wait for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.engine.chunking import FLOOR_TOKENS, AdaptiveChunks, StepTimes

FIXED, PER_TOKEN = 0.040, 0.001


def measured(
    fixed: float = FIXED, per_token: float = PER_TOKEN, sizes=(1, 4, 20, 300), noise: float = 0.0
) -> StepTimes:
    times, dice = StepTimes(), random.Random(1)
    for _ in range(60):
        for size in sizes:
            times.observe(size, (fixed + per_token * size) * (1 + noise * dice.uniform(-1, 1)))
    return times


@given(st.floats(1e-4, 0.5), st.floats(1e-6, 1e-2))
@settings(max_examples=60)
def test_a_line_is_found_again(fixed: float, per_token: float) -> None:
    times = measured(fixed, per_token)
    for tokens in (1, 16, 100, 500):
        assert times.seconds(tokens) == pytest.approx(fixed + per_token * tokens, rel=1e-3)


def test_a_long_stretch_of_equal_steps_does_not_wash_out_the_others() -> None:
    times = measured()
    for _ in range(10_000):
        times.observe(4, FIXED + 4 * PER_TOKEN)
    assert times.per_token == pytest.approx(PER_TOKEN, rel=0.01)


def test_one_step_that_hung_does_not_decide() -> None:
    times = measured()
    before = times.seconds(4)
    times.observe(4, 100 * before)
    for _ in range(8):
        times.observe(20, FIXED + 20 * PER_TOKEN)
    assert times.seconds(4) < 1.4 * before


def test_a_machine_that_became_slower_is_noticed() -> None:
    times = measured()
    for _ in range(60):
        for size in (1, 4, 20, 300):
            times.observe(size, 2 * (FIXED + PER_TOKEN * size))
    assert times.seconds(20) == pytest.approx(2 * (FIXED + 20 * PER_TOKEN), rel=0.02)


@pytest.mark.parametrize("decoding", [1, 4, 16, 60])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_step_with_a_prompt_stays_within_the_stretch(decoding: int, noise: float) -> None:
    chunks = AdaptiveChunks(measured(noise=noise), ceiling=512)
    budget = chunks.budget(decoding)
    alone, together = (FIXED + PER_TOKEN * n for n in (decoding, decoding + budget))
    assert budget > FLOOR_TOKENS
    assert 1.5 * alone < together < 2.0 * alone


def test_bounds_of_the_budget() -> None:
    steep, flat = measured(0.001, 0.01), measured(0.1, 0.00001)
    assert AdaptiveChunks(steep, ceiling=512).budget(1) == FLOOR_TOKENS
    assert AdaptiveChunks(flat, ceiling=512).budget(1) == 512
    assert AdaptiveChunks(steep, ceiling=8).budget(1) == 8
    assert AdaptiveChunks(steep, ceiling=512).budget(0) == 512
    assert AdaptiveChunks(StepTimes(), ceiling=512).budget(4) == FLOOR_TOKENS
