"""Extremes by whole-number comparison against numpy's own, block by block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxzip.calibrate.blocks import BLOCK, extremes_of, stride

FLOATS = hnp.arrays(np.float32, st.integers(BLOCK, 5 * BLOCK), elements=st.floats(-(2.0**99), 2.0**99, width=32))


def blocks(flat: np.ndarray) -> np.ndarray:
    """Every column is a block."""
    step = stride(flat.size // BLOCK, flat.size)
    return np.stack([flat[k * step : flat.size - (BLOCK - 1 - k) * step] for k in range(BLOCK)])


def check(flat: np.ndarray) -> None:
    found = extremes_of(flat)
    assert (found.low, found.high) == (flat.min(), flat.max())
    np.testing.assert_array_equal(found.sides[0], np.maximum(blocks(flat).max(0), 0))
    if flat.min() < 0:
        np.testing.assert_array_equal(found.sides[1], np.minimum(blocks(flat).min(0), 0))
    else:
        assert all((side == 0).all() for side in found.sides[1:])  # there may be a -0


@given(FLOATS, st.sampled_from(["as it is", "absolute", "negative", "one-sided"]))
def test_extremes_are_those_of_float_comparison(flat: np.ndarray, how: str) -> None:
    check({"as it is": flat, "absolute": abs(flat), "negative": -abs(flat), "one-sided": np.maximum(flat, 0)}[how])


@pytest.mark.parametrize("size", [4097, 5040, 65_536, 65_537])
def test_arrays_of_usual_sizes(size: int) -> None:
    signed = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    for flat in (signed, np.maximum(signed, 0), np.minimum(signed, 0), signed + 100, signed - 100, signed * 0):
        check(flat)


def test_every_element_is_in_a_block() -> None:
    for size in (4097, 5040, 8192):
        assert set(blocks(np.arange(size)).ravel().tolist()) == set(range(size))


@pytest.mark.parametrize("around", [-1.0, 1.0])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_the_extremes(value: float, around: float) -> None:
    flat = np.full(5000, around, np.float32)
    flat[::3] = 1
    flat[1234] = value
    found = extremes_of(flat)
    np.testing.assert_array_equal([found.low, found.high], [flat.min(), flat.max()])
    assert not found.sides


def test_the_array_is_left_alone() -> None:
    flat = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    before = flat.copy()
    extremes_of(flat)
    np.testing.assert_array_equal(flat, before)
