"""Bins hold what they should; counts are exact integers whatever the grouping."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxzip.calibrate.histogram import BINS, CENTRES, ZERO, Histogram, bins_of

ORDER = np.r_[BINS - 1 : ZERO - 1 : -1, 0:ZERO]

FLOATS = hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-(2.0**99), 2.0**99, width=32))


def histogram(values: object) -> Histogram:
    made = Histogram()
    made.add(np.asarray(values, np.float32))
    return made


@given(FLOATS)
def test_the_centre_of_a_bin_is_within_a_64th_of_its_values(values: np.ndarray) -> None:
    for value in values:
        (place,) = np.flatnonzero(histogram([value]).by_value())
        assert abs(CENTRES[place] - value) <= abs(value) / 64 + 1e-37


def test_bins_are_in_the_order_of_values_and_zero_is_one_bin() -> None:
    finite = CENTRES[np.isfinite(CENTRES)]
    assert (np.diff(finite) >= 0).all()
    counts = histogram([0.0, -0.0, 1e-45, 2.0, -3.0]).by_value()
    assert counts[ZERO] == 3
    assert counts[:ZERO].sum() == counts[ZERO + 1 :].sum() == 1


@given(st.lists(st.tuples(FLOATS, st.integers(1, 9)), max_size=8), st.integers(0, 8))
def test_sums_are_exact(parts: list[tuple[np.ndarray, int]], cut: int) -> None:
    one, left, right = Histogram(), Histogram(), Histogram()
    for index, (values, weight) in enumerate(parts):
        one.add(values, weight)
        (left if index < cut else right).add(values, weight)
    assert one == left + right == right + left
    assert one.total() == sum(len(v) * w for v, w in parts)
    assert pickle.loads(pickle.dumps(one)) == one


def test_counting_in_portions_equals_counting_at_once() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(100_000) * 10.0 ** rng.integers(-9, 9, 100_000)).astype(np.float32)
    one, many = Histogram(), Histogram()
    one.add(values, 3)
    for start in range(0, len(values), 999):
        many.add(values[start : start + 999], 3)
    assert one == many
    assert one.by_value().tolist() == (3 * np.bincount(bins_of(values), minlength=BINS))[ORDER].tolist()
    assert one != histogram([1.0])
