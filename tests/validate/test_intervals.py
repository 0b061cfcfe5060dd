"""Intervals against what they promise, and the number of samples against the interval that it is the inverse of."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxzip.validate.intervals import (
    paired_drop,
    quantile,
    resampled,
    samples_for,
    samples_for_drop,
    samples_for_share,
    spread,
    wilson,
)

Z = quantile(0.95)


@pytest.mark.parametrize(("share", "limit"), [(0.95, 0.9), (1.0, 0.99), (0.8, 0.9), (0.5, 0.9), (1.0, 0.5)])
def test_the_number_of_samples_for_a_share_is_the_first_that_settles_it(share, limit):
    needed = samples_for_share(share, limit, Z)

    def settled(count):
        low, high = wilson(share * count, count, Z)
        return low >= limit - 1e-12 or high <= limit + 1e-12

    assert settled(needed)
    assert needed == 1 or not settled(needed - 1)


def test_a_share_at_its_limit_is_never_settled():
    assert samples_for_share(0.9, 0.9, Z) is None
    assert samples_for_share(1.0, 1.0, Z) is None


def test_the_interval_of_a_paired_drop_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    truth = 0.05 - 0.03
    draws = rng.multinomial(200, (0.05, 0.03, 0.92), size=2000)
    covered = [low <= truth <= high for low, high in (paired_drop(b, c, 200, Z) for b, c, _ in draws)]
    assert 0.93 < np.mean(covered) < 0.985


def test_models_that_never_differ_may_still_differ_elsewhere():
    low, high = paired_drop(0, 0, 50, Z)
    assert low == -high
    assert 0.03 < high < 0.08


@pytest.mark.parametrize(
    ("lost", "won", "limit"), [(0, 0, 0.01), (4, 2, 0.03), (1, 1, 0.02), (6, 0, 0.05), (0, 3, 0.0)]
)
def test_the_number_of_samples_for_a_drop_is_the_first_that_settles_it(lost, won, limit):
    def settled(count):
        low, high = paired_drop(lost * count / 60, won * count / 60, count, Z)
        return high <= limit or low > limit

    assert not settled(60)
    needed = samples_for_drop(lost, won, 60, limit, Z)
    assert settled(needed)
    assert not settled(needed - 1)


def test_a_drop_at_its_limit_is_never_settled():
    assert samples_for_drop(3, 0, 60, 0.05, Z) is None
    assert samples_for_drop(0, 0, 60, 0.0, Z) is None
    assert samples_for_drop(0, 0, 0, 0.1, Z) is None


def test_the_bootstrap_of_a_mean_is_that_of_theory_and_always_the_same():
    values = np.random.default_rng(1).standard_normal(400)
    sums = np.stack([values, np.ones(400)], axis=1)
    low, high = spread([total / count for total, count in resampled(sums)], 0.95)
    assert high - low == pytest.approx(2 * Z * values.std() / math.sqrt(400), rel=0.15)
    assert (resampled(sums) == resampled(sums)).all()


def test_infinite_values_stay_at_their_end():
    assert spread([1.0] * 99 + [math.inf], 0.95) == (1.0, 1.0)
    assert spread([1.0] * 50 + [math.inf] * 50, 0.95) == (1.0, math.inf)


def test_an_interval_that_reaches_twice_too_far_needs_four_times_the_samples():
    assert samples_for(31.0, 29.0, 33.0, 30.0, 100) == 400
    assert samples_for(29.0, 27.0, 31.0, 30.0, 100) == 400
    assert samples_for(30.0, 29.0, 31.0, 30.0, 100) is None
    assert samples_for(31.0, -math.inf, 33.0, 30.0, 100) is None
