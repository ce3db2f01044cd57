"""How long a step will take, and what a running stream is made to wait for."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir.engine.chunking import FLOOR_TOKENS, SHORT_TOKENS, AdaptiveChunks, StepTimes, positions_read
from weir.engine.sequence import Sequence, new_sequence

FIXED, PER_TOKEN, PER_READ = 0.040, 0.001, 2e-7
STEPS = ((1, 100), (4, 2000), (16, 8000), (20, 30_000), (60, 100_000), (300, 45_000))  # tokens, positions read


def measured(
    fixed: float = FIXED, per_token: float = PER_TOKEN, per_read: float = PER_READ, noise: float = 0.0
) -> StepTimes:
    times, dice = StepTimes(), random.Random(1)
    for _ in range(60):
        for tokens, reads in STEPS:
            exact = fixed + per_token * tokens + per_read * reads
            times.observe(tokens, reads, exact * (1 + noise * dice.uniform(-1, 1)))
    return times


@given(st.floats(1e-4, 0.5), st.floats(1e-5, 1e-2), st.floats(1e-9, 1e-5))
@settings(max_examples=60)
def test_predictions_follow_the_steps(fixed: float, per_token: float, per_read: float) -> None:
    times = measured(fixed, per_token, per_read)
    for tokens, reads in (*STEPS, (30, 50_000)):
        assert times.seconds(tokens, reads) == pytest.approx(fixed + per_token * tokens + per_read * reads, rel=0.05)
    assert min(times.fixed, times.per_token, times.per_read) >= 0


def test_a_long_stretch_of_equal_steps_does_not_wash_out_the_others() -> None:
    times = measured()
    for _ in range(10_000):
        times.observe(4, 2000, FIXED + 4 * PER_TOKEN + 2000 * PER_READ)
    assert times.per_token == pytest.approx(PER_TOKEN, rel=0.05)
    assert times.per_read == pytest.approx(PER_READ, rel=0.2)


def test_one_step_that_hung_does_not_decide() -> None:
    times = measured()
    before = times.seconds(4, 2000)
    times.observe(4, 2000, 100 * before)
    for _ in range(20):
        times.observe(20, 30_000, FIXED + 20 * PER_TOKEN + 30_000 * PER_READ)
    assert times.seconds(4, 2000) < 1.4 * before


def test_a_machine_that_became_slower_is_noticed() -> None:
    times = measured()
    for _ in range(60):
        for tokens, reads in STEPS:
            times.observe(tokens, reads, 2 * (FIXED + PER_TOKEN * tokens + PER_READ * reads))
    assert times.seconds(20, 30_000) == pytest.approx(2 * (FIXED + 20 * PER_TOKEN + 30_000 * PER_READ), rel=0.05)


def prompt(tokens: int) -> Sequence:
    return new_sequence(0, [1] * tokens, room=tokens + 1)


@pytest.mark.parametrize("cached", [0, 500, 4000])
@pytest.mark.parametrize("decoding", [4, 16, 60])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_step_with_a_prompt_stays_within_the_stretch(decoding: int, noise: float, cached: int) -> None:
    chunks = AdaptiveChunks(measured(noise=noise), ceiling=512)
    reads = 300 * decoding
    budget = chunks.budget(decoding, reads, 1).left(10**6)
    size = chunks.size(prompt(8000), cached, budget)
    alone = FIXED + PER_TOKEN * decoding + PER_READ * reads
    together = alone + PER_TOKEN * size + PER_READ * positions_read(size, cached)
    assert size > FLOOR_TOKENS
    assert 1.5 * alone < together < 2.0 * alone
    assert chunks.cost(size, cached) == pytest.approx(budget, abs=2.5)


def test_bounds_of_a_chunk() -> None:
    steep, flat = measured(0.001, 0.01), measured(0.1, 0.00001, 1e-10)
    far = prompt(100_000)

    def size(times: StepTimes, decoding: int, cached: int = 0, ceiling: int = 512) -> int:
        chunks = AdaptiveChunks(times, ceiling=ceiling)
        return chunks.size(far, cached, chunks.budget(decoding, 100 * decoding, 1).left(10**6))

    assert size(steep, 1) == size(steep, 1, 90_000) == FLOOR_TOKENS
    assert size(flat, 1) > 480
    assert size(steep, 1, ceiling=2) == 2
    assert size(StepTimes(), 4) == 16
    assert size(StepTimes(), 0) == 512
    assert 450 < size(steep, 0) <= 512


def test_with_nothing_decoding_a_chunk_late_in_a_prompt_takes_no_longer_than_an_early_one() -> None:
    times = measured()
    chunks = AdaptiveChunks(times, ceiling=512)
    budget = chunks.budget(0, 0, 1).left(10**6)
    early, late = (chunks.size(prompt(20_000), cached, budget) for cached in (0, 16_000))
    assert late < early / 2
    assert times.seconds(late, positions_read(late, 16_000)) < 1.1 * times.seconds(early, positions_read(early, 0))


def test_a_prompts_end_is_read_whole() -> None:
    chunks = AdaptiveChunks(measured(), ceiling=512)
    assert chunks.size(prompt(100), 97, chunks.budget(4, 400, 1).left(10**6)) == 3


@pytest.mark.parametrize(("size", "past", "reads"), [(1, 0, 1), (1, 9, 10), (3, 2, 3 + 4 + 5)])
def test_every_token_looks_at_itself_and_all_before_it(size: int, past: int, reads: int) -> None:
    assert positions_read(size, past) == reads


def test_prompts_that_wait_get_a_share_each_up_to_four() -> None:
    chunks = AdaptiveChunks(measured(), ceiling=4096)
    one, *more = (chunks.budget(8, 2400, prompts).left(10**6) for prompts in (1, 2, 4, 9))

    assert more == pytest.approx([2 * one, 4 * one, 4 * one])


@pytest.mark.parametrize("decoding", [1, 8, 16])
def test_a_short_prompt_is_read_at_once_whatever_streams_run(decoding: int) -> None:
    chunks = AdaptiveChunks(measured(0.001, 0.01), ceiling=512)
    budget = chunks.budget(decoding, 100 * decoding, 1)

    assert chunks.size(prompt(SHORT_TOKENS), 0, budget.left(SHORT_TOKENS)) > 0.9 * SHORT_TOKENS
    assert chunks.size(prompt(SHORT_TOKENS + 1), 0, budget.left(SHORT_TOKENS + 1)) < 0.2 * SHORT_TOKENS


def test_short_prompts_share_what_one_may_use() -> None:
    budget = AdaptiveChunks(measured(), ceiling=512).budget(8, 2400, 3)
    budget.spend(SHORT_TOKENS - 6)

    assert budget.left(100) == 6
    assert budget.left(1000) < 0
    assert budget.is_full
    assert not budget.is_spent
