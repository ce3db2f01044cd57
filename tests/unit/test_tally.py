"""What a flavour's distance from the checkpoint is, also where it cannot say every token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_training.cut_cost import CutCost, cut_cost
from weir_training.parity import Tally, TaskRow

WIDE = 40


def logits(seed: int, positions: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (positions, WIDE)).astype(np.float32)


def cut_of(seed: int) -> np.ndarray:
    """Which tokens are cut: some, never all."""
    dice = np.random.default_rng(seed + 1)
    cut = dice.random(WIDE) < dice.random()
    cut[dice.integers(WIDE)] = False
    return cut


def softmax(values: np.ndarray) -> np.ndarray:
    wide = np.exp(values.astype(np.float64))
    return wide / wide.sum(axis=-1, keepdims=True)


def told(reference: np.ndarray, got: np.ndarray, cut: np.ndarray | None = None) -> Tally:
    tally = Tally(None if cut is None else np.flatnonzero(~cut).astype(np.int32))
    tally.add(reference, got)
    return tally


@given(st.integers(0, 1000))
def test_with_every_token_it_is_the_divergence(seed: int) -> None:
    reference, got = logits(seed), logits(seed + 5000)
    p, q = softmax(reference), softmax(got)

    assert told(reference, got).kl_sum == pytest.approx((p * np.log(p / q)).sum())


@given(st.integers(0, 1000))
def test_with_some_it_is_the_divergence_of_what_is_left_of_both(seed: int) -> None:
    reference, cut = logits(seed), cut_of(seed)
    got = np.where(cut, -np.inf, logits(seed + 5000)).astype(np.float32)
    p, q = softmax(reference)[:, ~cut], softmax(got)[:, ~cut]
    p /= p.sum(axis=-1, keepdims=True)
    tally = told(reference, got, cut)

    assert tally.kl_sum == pytest.approx((p * np.log(p / q)).sum(), abs=1e-9)
    assert tally.agreed == int((p.argmax(-1) == q.argmax(-1)).sum())
    assert tally.max_abs == pytest.approx(np.abs(reference - got)[:, ~cut].max())


def test_cutting_alone_is_no_distance() -> None:
    reference, cut = logits(1), cut_of(1)
    tally = told(reference, np.where(cut, -np.inf, reference).astype(np.float32), cut)

    assert (tally.kl_sum, tally.max_abs, tally.agreed) == (0.0, 0.0, tally.positions)


def test_minus_infinity_for_a_token_that_should_be_sayable_is_infinitely_far() -> None:
    reference, cut = logits(1), np.zeros(WIDE, np.bool_)
    cut[:3] = True
    tally = told(reference, np.where(np.arange(WIDE) < 4, -np.inf, reference).astype(np.float32), cut)

    assert (tally.kl_sum, tally.max_abs) == (np.inf, np.inf)


def test_an_answer_with_a_token_that_was_cut_is_infinitely_unlikely() -> None:
    reference = logits(2, positions=2)
    got = reference.copy()
    got[1, 7] = -np.inf
    tally = Tally()
    tally.add_answer(reference, got, [3, 7])

    assert tally.nll_sum == np.inf
    assert np.isfinite(tally.nll_reference_sum)
    assert tally.exact == 0


class Fixed:
    """A checkpoint that gives these logits for every sequence, cut to its length."""

    vocab_size = WIDE

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def logits(self, sequences: list[tuple[int, ...]]) -> list[np.ndarray]:
        return [self.values[: len(sequence)] for sequence in sequences]


@given(st.integers(0, 1000))
def test_cutting_costs_what_answers_lose_and_questions_count_for_nothing(seed: int) -> None:
    values, cut = logits(seed, positions=9), cut_of(seed)
    rows = [TaskRow("", (1, 2, 3), (4, 5)), TaskRow("", (1, 2, 3, 4, 5), (6, 7, 8, 9))]
    lost = softmax(values)[[2, 3, 4, 5, 6, 7]][:, cut].sum(axis=-1)
    found = cut_cost(Fixed(values), rows, np.flatnonzero(~cut))

    assert found.mass == pytest.approx(lost.mean())
    assert found.nats == pytest.approx(-np.log1p(-lost).mean(), abs=1e-9)


def test_it_is_the_divergence_between_what_is_left_and_the_whole() -> None:
    values, cut = logits(1, positions=2), cut_of(1)
    whole = softmax(values)[:1]
    left = whole[:, ~cut] / whole[:, ~cut].sum()
    found = cut_cost(Fixed(values), [TaskRow("", (1,), (2,))], np.flatnonzero(~cut))

    assert found.nats == pytest.approx(float((left * np.log(left / whole[:, ~cut])).sum()))


def test_without_rows_nothing_is_lost_and_with_everything_lost_it_is_infinite() -> None:
    values = np.full((2, WIDE), -800.0, np.float32)
    values[:, 0] = 800.0

    assert cut_cost(Fixed(values), [], np.array([1])) == CutCost(0.0, 0.0)
    assert cut_cost(Fixed(values), [TaskRow("", (1,), (2,))], np.array([1])) == CutCost(1.0, np.inf)
