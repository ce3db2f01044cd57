"""What a flavour's distance from the checkpoint is, also where it cannot say every token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weir_training.parity import Tally

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


def told(reference: np.ndarray, got: np.ndarray) -> Tally:
    tally = Tally()
    tally.add(reference, got)
    return tally


@given(st.integers(0, 1000))
def test_without_a_cut_it_is_the_divergence_and_nothing_is_lost(seed: int) -> None:
    reference, got = logits(seed), logits(seed + 5000)
    p, q = softmax(reference), softmax(got)
    tally = told(reference, got)

    assert tally.kl_sum == pytest.approx((p * np.log(p / q)).sum())
    assert tally.lost_sum == 0.0


@given(st.integers(0, 1000))
def test_cutting_alone_costs_the_logarithm_of_what_is_left(seed: int) -> None:
    reference, cut = logits(seed), cut_of(seed)
    lost = softmax(reference)[:, cut].sum(axis=-1)
    tally = told(reference, np.where(cut, -np.inf, reference).astype(np.float32))

    assert tally.lost_sum == pytest.approx(lost.sum())
    assert tally.kl_sum == pytest.approx(-np.log1p(-lost).sum(), abs=1e-9)
    assert tally.max_abs == 0.0


@given(st.integers(0, 1000))
def test_rounding_what_is_left_costs_its_own_divergence_beside(seed: int) -> None:
    reference, cut = logits(seed), cut_of(seed)
    got = np.where(cut, -np.inf, logits(seed + 5000)).astype(np.float32)
    p, q = softmax(reference)[:, ~cut], softmax(got)[:, ~cut]
    kept = p.sum(axis=-1, keepdims=True)
    expected = ((p / kept) * np.log(p / kept / q)).sum() - np.log(kept).sum()

    assert told(reference, got).kl_sum == pytest.approx(expected, abs=1e-9)


def test_a_graph_that_can_say_nothing_of_what_is_likely_is_infinitely_far() -> None:
    reference = np.full((1, 4), -200.0, np.float32)
    reference[0, 0] = 200.0
    got = np.array([[-np.inf, 0.0, 0.0, 0.0]], np.float32)
    tally = told(reference, got)

    assert tally.kl_sum == np.inf
    assert tally.lost_sum == pytest.approx(1.0)
    assert tally.agreed == 0


def test_a_not_a_number_beside_a_cut_is_not_hidden_by_it() -> None:
    reference = logits(1)
    got = reference.copy()
    got[:, 0], got[:, 1] = -np.inf, np.nan
    tally = told(reference, got)

    assert tally.max_abs == np.inf
    assert not np.isfinite(tally.kl_sum)


def test_an_answer_with_a_token_that_was_cut_is_infinitely_unlikely() -> None:
    reference = logits(2, positions=2)
    got = reference.copy()
    got[1, 7] = -np.inf
    tally = Tally()
    tally.add_answer(reference, got, [3, 7])

    assert tally.nll_sum == np.inf
    assert np.isfinite(tally.nll_reference_sum)
    assert tally.exact == 0
