"""Guessing is done while it pays."""

from collections.abc import Sequence as Tokens

import pytest

from weir.engine.chunking import StepTimes
from weir.engine.sequence import new_sequence
from weir.engine.speculation import Acceptance, Draft, Speculation, Step, worthwhile


def times(fixed: float, per_token: float) -> StepTimes:
    found = StepTimes()
    for _ in range(20):
        for tokens in (1, 8, 64):
            found.observe(tokens, tokens, fixed + per_token * tokens)
    return found


def rate(probability: float, guesses: int, rows: int, fixed: float, per_token: float) -> float:
    """Expected tokens per second of a step in which every row has so many guesses."""
    expected = sum(probability**j for j in range(guesses + 1))
    return rows * expected / (fixed + per_token * rows * (1 + guesses))


def length(probability: float, rows: int, fixed: float, per_token: float, limit: int = 8) -> int:
    return worthwhile(probability, times(fixed, per_token), Step(rows, rows), past=1, limit=limit)


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("rows", [1, 4, 16])
@pytest.mark.parametrize(("fixed", "per_token"), [(0.02, 0.001), (0.001, 0.001), (0.02, 0.00001)])
def test_the_chosen_length_is_no_worse_than_none(probability, rows, fixed, per_token) -> None:
    count = length(probability, rows, fixed, per_token)
    none = rate(probability, 0, rows, fixed, per_token)
    assert rate(probability, count, rows, fixed, per_token) >= none
    if not count:
        assert rate(probability, 1, rows, fixed, per_token) < 1.1 * none


def test_likely_guesses_on_an_idle_machine_are_many_and_unlikely_ones_on_a_full_one_none() -> None:
    assert length(0.9, 1, 0.02, 0.001) == 8
    assert length(0.3, 1, 0.02, 0.001) == 2
    assert length(0.3, 16, 0.02, 0.002) == 0
    assert length(0.9, 1, 0.02, 0.001, limit=3) == 3


def test_a_guess_late_in_a_long_sequence_costs_more() -> None:
    found = StepTimes()
    for _ in range(20):
        for tokens, reads in ((1, 100), (8, 800), (64, 100_000), (1, 20_000)):
            found.observe(tokens, reads, 0.01 + 0.0005 * tokens + 1e-6 * reads)
    early, late = (worthwhile(0.6, found, Step(1, past), past=past, limit=16) for past in (100, 20_000))
    assert late < early


def test_before_any_step_was_timed_nothing_is_guessed() -> None:
    assert worthwhile(0.99, StepTimes(), Step(1, 1), past=1, limit=8) == 0


def test_what_follows_the_first_miss_does_not_count_as_tried() -> None:
    one, other = Acceptance(), Acceptance()
    for _ in range(50):
        one.observe(1, 2)
        other.observe(1, 8)
    assert one.probability == other.probability == pytest.approx(0.5, abs=0.01)


class Stubborn:
    """Always guesses the same."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.told: list[tuple[int, int]] = []

    def propose(self, tokens: Tokens[int], limit: int) -> Draft:
        self.asked.append(limit)
        return Draft([7] * (limit + 3))

    def observe(self, accepted: int, proposed: int) -> None:
        self.told.append((accepted, proposed))

    def ended(self) -> None: ...


def test_a_drafter_that_never_hits_is_asked_only_now_and_then_and_asked_again_when_it_does() -> None:
    drafter = Stubborn()
    speculation = Speculation(lambda _: drafter, times(0.02, 0.002), limit=8)
    sequence = new_sequence(0, [1], room=10_000)

    def steps(count: int, *, hits: bool) -> int:
        guessed = 0
        for _ in range(count):
            drafts = speculation.draft(sequence, rows=4, reads=4, limit=8)
            assert len(drafts) <= 8
            guessed += len(drafts)
            if drafts:
                speculation.observe(sequence, accepted=len(drafts) if hits else 0, proposed=len(drafts))
        return guessed

    steps(100, hits=False)
    asked = len(drafter.asked)
    assert 0 < steps(320, hits=False) <= 10
    assert len(drafter.asked) - asked < 40
    steps(600, hits=True)
    assert steps(100, hits=True) > 300
    assert len(drafter.told) < len(drafter.asked)


def test_a_new_sequence_starts_from_what_others_showed() -> None:
    speculation = Speculation(lambda _: Stubborn(), times(0.02, 0.002), limit=8)
    for number in range(20):
        other = new_sequence(number, [1], room=100)
        speculation.draft(other, rows=4, reads=4, limit=8)
        speculation.observe(other, accepted=0, proposed=4)
    assert not speculation.draft(new_sequence(99, [1], room=100), rows=4, reads=4, limit=8)
