"""KL divergence against the loop of the method, and the clips that come of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxzip.calibrate import TensorStatistics
from onnxzip.quantize.entropy import BINS, candidates, divergences, entropy_range


def divergence(masses: np.ndarray, end: int, levels: int) -> float:
    """The method, step by step, for one candidate."""
    kept = masses[:end]
    p, q = kept.copy(), np.zeros(end)
    p[-1] += masses[end:].sum()
    for level in range(levels):
        part = slice(end * level // levels, end * (level + 1) // levels)
        used = kept[part] > 0
        q[part][used] = kept[part].sum() / max(used.sum(), 1)
    p, q = p / p.sum(), q / q.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.3, 1.0]), st.integers(1, 16))
def test_divergences_are_those_of_the_loop(seed: int, filled: float, levels: int) -> None:
    rng = np.random.default_rng(seed)
    masses = rng.pareto(1, 160) * (rng.random(160) < filled)
    masses[rng.integers(160)] = 1
    ends = np.flatnonzero(masses) + 1
    ends = ends[ends >= levels]
    if not len(ends):
        return
    counts = rng.integers(1, levels + 1, len(ends))
    expected = [divergence(masses, int(end), int(n)) for end, n in zip(ends, counts, strict=True)]
    np.testing.assert_allclose(divergences(masses, ends, counts) / masses.sum(), expected, atol=1e-9)


def test_candidates_end_with_a_bin_in_use_and_the_last_keeps_all() -> None:
    masses = np.zeros(BINS)
    masses[[3, 300, 900, 4000]] = 1e5, 1, 1, 1
    assert candidates(masses).tolist() == [301, 901, 4001]
    masses[[900, 4000]] = 1e5, 10  # at 301 bins half of the values would be cut
    assert candidates(masses).tolist() == [901, 4001]
    masses[:] = 1
    assert candidates(masses)[-1] == BINS
    masses[:] = 0
    masses[5] = 1
    assert candidates(masses).tolist() == [6]


def clip(x: np.ndarray) -> tuple[float, float]:
    """From what calibration streams of an array."""
    statistics = TensorStatistics()
    statistics.update(x)
    return entropy_range(*statistics.distribution(), statistics.low, statistics.high)


def test_a_lone_outlier_is_cut_and_a_uniform_tensor_is_not() -> None:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(200_000)
    low, high = clip(np.append(normal, 60.0))
    assert 2.5 < high < 6
    assert low >= normal.min() - 1e-3
    assert clip(rng.random(50_000))[1] > 0.97


def test_values_of_one_sign_use_all_levels() -> None:
    x = np.arange(1, 20_001) / 1000
    weights = np.exp(-x)
    low, high = entropy_range(x, weights, x[0], x[-1])
    assert low == 0
    assert entropy_range(-x[::-1], weights[::-1], -x[-1], -x[0]) == (-high, 0)
    both = entropy_range(np.r_[-x[::-1], x], np.r_[weights[::-1], weights], -x[-1], x[-1])
    assert both[0] == -both[1]
    assert 5 < both[1] < high < 20  # half the levels a side: a tighter clip


def test_values_away_from_zero_are_not_cut_down_to_nothing() -> None:
    x = np.abs(np.random.default_rng(0).standard_normal(20_000)) + 0.5
    assert (x > clip(x)[1]).mean() < 0.011


def test_the_short_side_is_left_whole() -> None:
    x = np.random.default_rng(0).laplace(size=100_000)
    low, high = clip(np.maximum(x, -0.17))
    assert low == pytest.approx(-0.17)
    assert 2 < high < x.max()


def test_exact_zeros_do_not_count() -> None:
    x = np.random.default_rng(0).standard_normal(4000)
    assert clip(x) == clip(np.r_[x, np.zeros(96)])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_the_clip_scales_with_the_values(scale: float) -> None:
    x = np.random.default_rng(0).standard_normal(4000)
    values, weights = np.sort(x), np.ones(4000)
    low, high = entropy_range(values, weights, x.min(), x.max())
    assert entropy_range(values * scale, weights, x.min() * scale, x.max() * scale) == pytest.approx(
        (low * scale, high * scale)
    )


@pytest.mark.parametrize(
    ("values", "low", "high"), [([], 0, 0), ([0.0], 0, 0), ([2.0], 2, 2), ([-1.0], -1, -1), ([], -1, 2)]
)
def test_little_is_known(values: list[float], low: float, high: float) -> None:
    found = entropy_range(np.array(values), np.ones(len(values)), low, high)
    assert found == (min(low, 0), max(high, 0))


def test_a_tensor_takes_milliseconds() -> None:
    x = np.random.default_rng(0).standard_t(2, 1_000_000)
    statistics = TensorStatistics()
    statistics.update(x)
    values, weights = statistics.distribution()
    times = []
    for _ in range(5):
        began = time.process_time()
        entropy_range(values, weights, statistics.low, statistics.high)
        times.append(time.process_time() - began)
    assert min(times) < 0.02
