"""Exact extremes, exact merging, constant memory, and a distribution good enough to choose a clip from.

Tolerances: quantiles of the magnitude from 99 % on within 8 % on independent data; the error of the clip chosen from the estimate
within 3 % of the best clip's (no clip costs 25 % and more there).
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxzip.calibrate.tensor_statistics import SMALL, TensorStatistics
from onnxzip.errors import DataError


def of(*arrays: np.ndarray) -> TensorStatistics:
    made = TensorStatistics()
    for array in arrays:
        made.update(array)
    return made


def error(values: np.ndarray, weights: np.ndarray, low: float, high: float) -> float:
    """Expected squared error of 8 bits from low to high: overshoot outside, step^2/12 inside, nothing at zero."""
    step = (high - low) / 255
    over = np.maximum(values - high, 0) ** 2 + np.maximum(low - values, 0) ** 2
    return float((weights * np.where(over > 0, over, (values != 0) * step**2 / 12)).sum())


def best_ratio(values: np.ndarray, weights: np.ndarray, low: float, high: float) -> float:
    return min((error(values, weights, low * r, high * r), r) for r in np.linspace(0.04, 1, 33))[1]


SHAPE = (2, 12, 56, 56)
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda r: r.standard_normal(SHAPE),
    "relu": lambda r: np.maximum(r.standard_normal(SHAPE), 0),
    "heavy": lambda r: r.standard_t(3, SHAPE),
    "one-sided heavy": lambda r: r.lognormal(0, 1.5, SHAPE),
    "mostly zero": lambda r: np.where(r.random(SHAPE) < 0.01, r.lognormal(3, 1, SHAPE), 0),
    "negative": lambda r: -r.lognormal(0, 1, SHAPE),
    "skewed": lambda r: np.where(r.random(SHAPE) < 0.2, -r.lognormal(0, 1, SHAPE), r.random(SHAPE)),
    "channels differ": lambda r: r.standard_normal(SHAPE) * np.geomspace(0.1, 30, 12)[:, None, None],
    "offset": lambda r: 100 + r.standard_normal(SHAPE),
}


def drawn(name: str) -> tuple[TensorStatistics, np.ndarray]:
    """Statistics of four arrays, and all of their elements."""
    rng = np.random.default_rng(7)
    arrays = [DISTRIBUTIONS[name](rng).astype(np.float32) for _ in range(4)]
    return of(*arrays), np.concatenate([a.ravel() for a in arrays]).astype(np.float64)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_distribution_is_close_to_the_exact_one(name: str) -> None:
    found, everything = drawn(name)
    values, weights = found.distribution()
    assert (np.diff(values) >= 0).all()
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(everything.size)
    assert found.low == everything.min()
    assert found.high == everything.max()
    assert found.low <= values[0] <= values[-1] <= found.high
    order = np.argsort(np.abs(values))
    cumulated, magnitudes = np.cumsum(weights[order]) / everything.size, np.abs(values)[order]
    for share in (0.99, 0.999, 0.9999):
        exact = np.quantile(np.abs(everything), share)
        estimate = magnitudes[min(np.searchsorted(cumulated, share), len(order) - 1)]
        assert estimate == pytest.approx(exact, rel=0.08, abs=1e-6), share


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_the_clip_chosen_from_it_is_nearly_the_best(name: str) -> None:
    found, everything = drawn(name)
    low, high, ones = min(everything.min(), 0.0), max(everything.max(), 0.0), np.ones(everything.size)
    chosen, best = best_ratio(*found.distribution(), low, high), best_ratio(everything, ones, low, high)
    limit = error(everything, ones, low * best, high * best) * 1.03
    assert error(everything, ones, low * chosen, high * chosen) <= limit
    if name in ("heavy", "one-sided heavy", "negative"):
        assert error(everything, ones, low, high) > 1.25 * limit  # so that the test can fail


def test_a_single_outlier_among_millions_is_not_missed() -> None:
    array = np.random.default_rng(0).standard_normal(2_000_000).astype(np.float32)
    array[1_234_567] = 500.0
    values, weights = of(array).distribution()
    assert values[-1] == pytest.approx(500, rel=1 / 64)
    assert weights[-1] == pytest.approx(1, rel=0.01)


def test_small_arrays_are_counted_exactly() -> None:
    array = np.array([0.0, -0.0, 1.5, 1.5, -4.0, 2.0**-140], np.float32)
    values, weights = of(array, array).distribution()
    assert weights.tolist() == [2, 6, 4]
    np.testing.assert_allclose(values, [-4, 0, 1.5], rtol=1 / 64)


def test_small_and_large_arrays_together() -> None:
    small, large = np.full(SMALL, 9.0, np.float32), np.ones(100_000, np.float32)
    large[::2] = 0
    values, weights = of(small, large).distribution()
    shares = dict(zip(np.round(values).tolist(), weights.tolist(), strict=True))
    assert shares[9.0] == SMALL
    assert shares[1.0] == pytest.approx(50_000, rel=0.15)
    assert weights.sum() == pytest.approx(SMALL + 100_000)


def test_arrays_count_by_their_size() -> None:
    large = np.random.default_rng(0).integers(1, 3, 64 * 512).astype(np.float32)
    values, weights = of(large, np.full(5000, 0.5, np.float32)).distribution()
    assert weights[np.argmin(values)] == pytest.approx(5000, rel=0.1)


def test_other_places_are_sampled_in_other_arrays() -> None:
    """Zeros where a sample that always starts at 0 would look: 1.3 % of the elements, not all of them."""
    rng, trap = np.random.default_rng(0), np.arange(40_000) % 77 == 0
    values, weights = of(*(np.where(trap, 0, rng.uniform(1, 2, 40_000)) for _ in range(40))).distribution()
    assert weights[values < 0.5].sum() < 0.2 * weights.sum()


@pytest.mark.parametrize("value", [-3.0, 0.0, 5.0])
def test_constants(value: float) -> None:
    values, weights = of(np.full(50_000, value, np.float32)).distribution()
    assert values.tolist() == [value]
    assert weights.tolist() == pytest.approx([50_000])


def test_nothing_seen() -> None:
    empty = of(np.zeros((0, 3), np.float32))
    assert (empty.count, empty.low, empty.high) == (0, math.inf, -math.inf)
    assert [a.tolist() for a in empty.distribution()] == [[], []]
    assert empty == TensorStatistics()


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64", "bool"])
def test_other_types_are_cast(dtype: str) -> None:
    array = np.array([0, 1, 1, 0, 1]).astype(dtype)
    values, weights = of(array).distribution()
    assert (values.tolist(), weights.tolist()) == ([0, 1], [2, 3])


def test_doubles_beyond_float32_stay_finite() -> None:
    assert of(np.array([1e300, -1e300])).high == float(np.finfo(np.float32).max)


@pytest.mark.parametrize("size", [5, SMALL, SMALL + 1, 100_000])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_peer_18_nan_and_inf_are_refused_by_name(size: int, value: float, dtype: type) -> None:
    array = np.ones(size, dtype)
    array[size // 2] = value
    word = "NaN" if np.isnan(value) else "infinity"
    with pytest.raises(DataError, match=f"tensor 'act' takes the value {word}"):
        TensorStatistics().update(array, "act")


def test_strings_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="tensor 'words' holds object, not numbers"):
        TensorStatistics().update(np.array(["a"], object), "words")


@st.composite
def shards(draw: st.DrawFn) -> tuple[list[np.ndarray], list[int]]:
    """Arrays of sizes around the borders between the cases, and to which of three shards each belongs."""
    seed = draw(st.integers(0, 2**32 - 1))
    sizes = draw(st.lists(st.sampled_from([0, 1, 17, SMALL, SMALL + 1, 5040, 20_011]), min_size=1, max_size=7))
    rng = np.random.default_rng(seed)
    arrays = [(rng.standard_normal(n) * 10.0 ** rng.integers(-3, 4)).astype(np.float32) for n in sizes]
    arrays = [np.maximum(a, 0) if rng.random() < 0.5 else a for a in arrays]
    return arrays, [draw(st.integers(0, 2)) for _ in sizes]


@settings(max_examples=40, deadline=None)
@given(shards())
def test_shards_merge_to_one_run_in_any_order(case: tuple[list[np.ndarray], list[int]]) -> None:
    arrays, owners = case
    one, other_way = of(*arrays), of(*reversed(arrays))
    parts = [of(*(a for a, o in zip(arrays, owners, strict=True) if o == k)) for k in range(3)]
    merged = parts[2].merge(parts[0]).merge(parts[1])
    assert one == merged == other_way
    for left, right in zip(one.distribution(), merged.distribution(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert pickle.loads(pickle.dumps(one)) == one


def test_merging_changes_neither_part() -> None:
    one, other = of(np.ones(5000, np.float32)), of(np.zeros(3, np.float32))
    one.merge(other)
    assert one == of(np.ones(5000, np.float32))
    assert other == of(np.zeros(3, np.float32))
    assert one != other


def test_peer_16_memory_does_not_depend_on_the_number_of_batches() -> None:
    def size(batches: int) -> int:
        rng = np.random.default_rng(0)
        return len(pickle.dumps(of(*(rng.standard_normal(20_000).astype(np.float32) for _ in range(batches)))))

    assert size(320) < 1.25 * size(80)  # 16384 bins at most, ever rarer ones are left
    assert size(320) < 20_000
