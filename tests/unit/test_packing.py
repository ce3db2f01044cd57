"""Rounding to 4 bits: what is known of the inputs makes the product better and never worse than not to know."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weir_training.packing import pack4

COLUMNS, INNER, GROUP = 64, 96, 32


def weight(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (COLUMNS, INNER)).astype(np.float32)


def read(seed: int, rank: int = 12) -> np.ndarray:
    """Inputs that go together, as a layer's do: few directions, some far larger than others, and a little noise."""
    dice = np.random.default_rng(seed)
    mixed = dice.normal(0, 1, (400, rank)) @ (dice.normal(0, 1, (rank, INNER)) * dice.lognormal(0, 1, (rank, 1)))
    return (mixed + dice.normal(0, 0.1, mixed.shape)).astype(np.float32)


def moment(x: np.ndarray) -> np.ndarray:
    return (x.T @ x / len(x)).astype(np.float32)


def unpacked(packed: object) -> np.ndarray:
    """The weights that a packed matrix stands for, by the layout of kernels.h."""
    tiles = packed.weights.reshape(packed.columns // 16, INNER // 32, 4, 16, 4)
    halves = np.stack([tiles & 15, tiles >> 4], axis=2)  # tile, 32 inners, half, 4 inners, column, inner
    values = halves.transpose(0, 4, 1, 2, 3, 5).reshape(packed.columns, INNER).astype(np.float32) - 8
    scales = packed.scales.reshape(packed.columns // 16, INNER // packed.group, 16).transpose(0, 2, 1)
    return values * np.repeat(scales.reshape(packed.columns, -1).astype(np.float32), packed.group, axis=1)


def error(found: np.ndarray, exact: np.ndarray, x: np.ndarray) -> float:
    return float(np.square(x @ (found - exact).T).mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_the_product_is_closer_on_inputs_like_those_that_were_read(seed: int) -> None:
    w, seen, alike = weight(seed), read(seed)[:300], read(seed)[300:]
    nearest, fed_back = unpacked(pack4(w, GROUP)), unpacked(pack4(w, GROUP, moment(seen)))

    assert error(fed_back, w, seen) < 0.5 * error(nearest, w, seen)
    assert error(fed_back, w, alike) < 0.7 * error(nearest, w, alike)


def test_inputs_that_have_nothing_to_do_with_each_other_leave_each_weight_to_itself() -> None:
    w = weight(1)
    alone, told = pack4(w, GROUP), pack4(w, GROUP, np.eye(INNER, dtype=np.float32))

    np.testing.assert_array_equal(told.weights, alone.weights)
    np.testing.assert_array_equal(told.scales, alone.scales)


@pytest.mark.parametrize("inputs", ["none", "one", "half of them never"])
def test_inputs_that_say_little_do_no_harm(inputs: str) -> None:
    x = {"none": np.zeros((4, INNER), np.float32), "one": read(3)[:1], "half of them never": read(3)}[inputs]
    x[:, ::2] *= inputs != "half of them never"
    w = weight(2)
    found = unpacked(pack4(w, GROUP, moment(x)))

    assert np.isfinite(found).all()
    assert np.abs(found - w).max() < 2.0
    assert error(found, w, x) <= error(unpacked(pack4(w, GROUP)), w, x)


def test_columns_that_pad_stay_zero() -> None:
    found = unpacked(pack4(weight(1)[:40], GROUP, moment(read(1))))

    assert found.shape == (64, INNER)
    assert not found[40:].any()
