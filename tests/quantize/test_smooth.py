"""Forms of activations: exact before rounding, and chosen by error."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.quantize.smooth import STRENGTHS, best_form, factors_of


def problem(outlier: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows, weights = rng.standard_normal((64, 16)), rng.standard_normal((16, 24))
    rows[:, 5] *= outlier
    return rows, weights


def rounded(rows: np.ndarray, weights: np.ndarray, factors: np.ndarray | None) -> np.ndarray:
    """The product with int8 weights a column and 8 bits a row between its smallest and largest value."""
    scale = np.ones(rows.shape[1]) if factors is None else factors.astype(np.float64)
    x, w = rows / scale, weights * scale[:, None]
    size, step = np.abs(x).max(axis=1, keepdims=True), np.abs(w).max(axis=0) / 127
    unit = x / size
    grid = (unit.max() - unit.min()) / 255
    return (np.rint(unit / grid) * grid * size) @ (np.rint(w / step) * step)


@pytest.mark.parametrize("strength", [s for s in STRENGTHS if s is not None])
def test_nothing_changes_before_rounding(strength: float) -> None:
    rows, weights = problem(100)
    factors = factors_of(rows, weights, strength).astype(np.float64)
    np.testing.assert_allclose((rows / factors) @ (weights * factors[:, None]), rows @ weights, rtol=1e-12, atol=1e-9)
    assert np.log(factors).mean() == pytest.approx(0, abs=1e-6)


def test_the_factors_are_those_of_the_formula() -> None:
    rows, weights = problem(7)
    raw = np.abs(rows).max(axis=0) ** 0.4 / np.abs(weights).max(axis=1) ** 0.6
    np.testing.assert_allclose(factors_of(rows, weights, 0.4), raw / np.exp(np.log(raw).mean()), rtol=1e-6)


def test_an_outlying_channel_is_divided_by_more_than_the_others() -> None:
    factors = best_form(*problem(100)).factors
    assert factors is not None
    assert factors.dtype == np.float32
    assert factors[5] > 3 * np.delete(factors, 5).max()


@pytest.mark.parametrize("outlier", [30, 300])
def test_the_error_that_is_estimated_is_the_error_of_the_product(outlier: float) -> None:
    rows, weights = problem(outlier)
    form = best_form(rows, weights)
    assert form.factors is not None
    exact = rows @ weights
    smooth, plain = (((rounded(rows, weights, f) - exact) ** 2).sum(axis=1).mean() for f in (form.factors, None))
    assert smooth < 0.7 * plain
    assert form.error == pytest.approx(smooth, rel=0.5)


def test_even_channels_are_left_alone_where_factors_gain_nothing() -> None:
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (64, 16))
    form = best_form(signs, np.ones((16, 8)))
    assert form.factors is None
    assert form.error == pytest.approx(best_form(signs, np.ones((16, 8))).error)


def test_the_range_is_that_of_rows_divided_by_their_size() -> None:
    rows = np.abs(problem(1)[0])
    form = best_form(rows, problem(1)[1])
    assert form.qparams.zero_point == 0
    assert form.qparams.high == pytest.approx(1, abs=1e-6)
    both = best_form(np.concatenate([rows, -rows]), problem(1)[1]).qparams
    assert (both.low, both.high) == (pytest.approx(-1, abs=0.01), pytest.approx(1, abs=0.01))


def test_rows_of_zeros_and_channels_that_are_always_zero() -> None:
    rows, weights = problem(50)
    rows[3], rows[:, 2], weights[7] = 0, 0, 0
    factors = factors_of(rows, weights, 0.5)
    assert (factors[[2, 7]] == 1).all()
    form = best_form(rows, weights)
    assert np.isfinite(form.error)
    assert np.isfinite(form.qparams.scale)
    silent = best_form(np.zeros((4, 16)), weights)
    assert (silent.error, silent.qparams.scale) == (0, 1)
    assert np.isfinite(best_form(rows, np.zeros((16, 4))).error)
