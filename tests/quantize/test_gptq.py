"""Rounding that makes up for itself, against a plain version that works column by column on whole matrices."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxzip.quantize import gptq
from onnxzip.quantize.gptq import drawn_in, round_rows
from onnxzip.quantize.pairs import PAIR_MAX, draw_in, overflows, safe_scales

GROUPS, ROWS, COLUMNS = 2, 6, 70


def problem(columns: int = COLUMNS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [G, R, K], second moments [G, K, K] of correlated inputs, scales [G, R]."""
    rng = np.random.default_rng(seed)
    weights = rng.standard_normal((GROUPS, ROWS, columns))
    mixing = rng.standard_normal((GROUPS, columns, columns // 3)) * rng.uniform(0.2, 2, (GROUPS, columns, 1))
    noise = 0.1 * rng.standard_normal((GROUPS, columns, 600))
    x = mixing @ rng.standard_normal((GROUPS, columns // 3, 600)) + noise
    scales = (np.abs(weights).max(axis=2) / 15).astype(np.float32)  # coarse, so that rounding matters
    return weights, x @ x.swapaxes(1, 2) / 600, scales


def nearest(weights: np.ndarray, scales: np.ndarray, largest: int = 15) -> np.ndarray:
    return np.clip(np.rint(weights / scales.astype(np.float64)[:, :, None]), -largest, largest)


def errors(weights: np.ndarray, codes: np.ndarray, moments: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """(w - s q)ᵀ C (w - s q) of each row."""
    off = weights - codes * scales.astype(np.float64)[:, :, None]
    return np.asarray(np.einsum("grk,gkl,grl->gr", off, moments, off))


def plain(
    weights: np.ndarray, moments: np.ndarray, scales: np.ndarray, largest: int, partner: np.ndarray | None = None
) -> np.ndarray:
    """The same by the definition: after each column the inverse of what is left, from scratch."""
    codes = np.zeros(weights.shape)
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2).sum(axis=0), kind="stable")
    for g in range(len(weights)):
        matrix = moments[g] + np.eye(len(order)) * gptq.DAMPING * np.trace(moments[g]) / len(order)
        rows = weights[g].copy()
        for n, k in enumerate(order):
            low, high = np.full(len(rows), -largest), np.full(len(rows), largest)
            if partner is not None and partner[k] in order[:n]:
                low = np.maximum(low, -PAIR_MAX - codes[g][:, partner[k]])
                high = np.minimum(high, PAIR_MAX - codes[g][:, partner[k]])
            step = scales[g].astype(np.float64)
            codes[g][:, k] = np.clip(np.rint(rows[:, k] / step), low, high)
            left = order[n:]
            inverse = np.linalg.inv(matrix[np.ix_(left, left)])
            error = (rows[:, k] - codes[g][:, k] * step) / inverse[0, 0]
            rows[:, left] -= np.outer(error, inverse[0])
    return codes


def test_it_is_what_the_definition_says() -> None:
    weights, moments, scales = problem()
    assert COLUMNS % gptq.BLOCK
    assert COLUMNS > 2 * gptq.BLOCK
    np.testing.assert_array_equal(
        round_rows(weights, moments, scales, weight_max=15), plain(weights, moments, scales, 15)
    )


@pytest.mark.parametrize("columns", [3, 31, 32, 33, 64])
def test_any_number_of_columns(columns: int) -> None:
    weights, moments, scales = problem(columns)
    np.testing.assert_array_equal(
        round_rows(weights, moments, scales, weight_max=15), plain(weights, moments, scales, 15)
    )


def test_the_output_is_nearer_than_with_the_nearest_integers() -> None:
    weights, moments, scales = problem()
    codes = round_rows(weights, moments, scales, weight_max=15)
    before, after = (errors(weights, c, moments, scales) for c in (nearest(weights, scales), codes))
    assert (after < before).all()
    assert after.sum() < 0.3 * before.sum()
    assert (codes.dtype, codes.shape) == (np.int16, weights.shape)
    assert np.abs(codes).max() <= 15


def test_uncorrelated_inputs_leave_the_nearest_integers_alone() -> None:
    weights, moments, scales = problem()
    diagonal = moments * np.eye(COLUMNS)
    np.testing.assert_array_equal(round_rows(weights, diagonal, scales, weight_max=15), nearest(weights, scales))


def test_inputs_that_are_always_zero_leave_the_nearest_integers_alone() -> None:
    weights, moments, scales = problem()
    np.testing.assert_array_equal(round_rows(weights, 0 * moments, scales, weight_max=15), nearest(weights, scales))


def test_groups_do_not_know_of_each_other() -> None:
    """But for the order of the columns, which all share."""
    weights, moments, scales = problem()
    moments[1] = moments[0]
    both = round_rows(weights, moments, scales, weight_max=15)
    for g in range(GROUPS):
        own = slice(g, g + 1)
        alone = round_rows(weights[own], moments[own], scales[own], weight_max=15)
        np.testing.assert_array_equal(both[own], alone)


def test_pairs_keep_their_limit_and_the_columns_behind_make_up_for_it() -> None:
    weights, moments, _ = problem()
    partner = np.arange(COLUMNS) ^ 1
    partner[[0, 1]] = -1  # one pair is none
    flat = weights.reshape(-1, COLUMNS)
    scales = safe_scales(flat, (np.abs(flat).max(axis=1) / 127).astype(np.float32), partner, 127).reshape(2, -1)
    rounded = nearest(weights, scales, 127)
    assert overflows(rounded, partner).any()
    codes, simple = round_rows(weights, moments, scales, partner=partner), draw_in(rounded, partner)
    assert not overflows(codes, partner).any()
    assert errors(weights, codes, moments, scales).sum() < 0.3 * errors(weights, simple, moments, scales).sum()
    np.testing.assert_array_equal(codes, plain(weights, moments, scales, 127, partner))


def test_two_runs_give_the_same_codes_and_leave_their_arguments_alone() -> None:
    weights, moments, scales = problem()
    kept = [a.copy() for a in (weights, moments, scales)]
    first, second = (round_rows(weights, moments, scales, weight_max=15) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for before, after in zip(kept, (weights, moments, scales), strict=True):
        np.testing.assert_array_equal(before, after)


def test_moments_that_rounding_made_indefinite_are_damped_until_they_serve() -> None:
    """Means far above the deviations, squared and subtracted in float32."""
    weights, moments, scales = problem()
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(moments.shape)
    broken = moments + noise + noise.swapaxes(1, 2)
    assert (np.linalg.eigvalsh(broken)[:, 0] < -1).all()
    codes = round_rows(weights, broken, scales, weight_max=15)
    assert np.abs(codes - weights / scales[:, :, None]).max() < 10
    with pytest.raises(np.linalg.LinAlgError, match="NaN"):
        round_rows(weights, moments * np.nan, scales)


@pytest.mark.parametrize("count", [10, COLUMNS, 10**6])
def test_moments_of_few_rows_are_drawn_toward_their_diagonal(count: int) -> None:
    _, moments, _ = problem()
    found, kept = drawn_in(moments, count), moments.copy()
    share, off = COLUMNS / (COLUMNS + count), ~np.eye(COLUMNS, dtype=bool)
    np.testing.assert_array_equal(np.diagonal(found, axis1=1, axis2=2), np.diagonal(moments, axis1=1, axis2=2))
    np.testing.assert_allclose(found[:, off], (1 - share) * moments[:, off])
    np.testing.assert_array_equal(moments, kept)
    assert drawn_in(kept, count, out=kept) is kept
    np.testing.assert_array_equal(kept, found)


@pytest.mark.parametrize("columns", [40, 300])
def test_single_precision_loses_nothing_that_counts_and_takes_no_second_matrix(columns: int) -> None:
    """300 columns are reordered in place."""
    weights, moments, scales = problem(columns)
    drawn_in(moments, 4096, out=moments)
    rough, fine = (round_rows(weights, moments.astype(t), scales, weight_max=15) for t in (np.float32, np.float64))
    assert (rough != fine).mean() < 0.01
    one, other = (errors(weights, c, moments, scales).sum() for c in (rough, fine))
    assert abs(one / other - 1) < 0.01
    used = moments.astype(np.float32)
    tracemalloc.start()
    np.testing.assert_array_equal(
        round_rows(weights[:, :1], used, scales[:, :1], weight_max=15, overwrite=True), rough[:, :1]
    )
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert columns == 40 or most < used.nbytes
