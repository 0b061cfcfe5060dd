"""Rounding that makes up for itself, on any grid: as `onnxzip.quantize.gptq`, with a step and bounds for each weight.

For one row w of a layer, with C the second moments of what it reads and steps s, the error of its output is
E = (w − s q)ᵀ C (w − s q). Columns are rounded one after the other, those of the largest moments first, and each error is carried to the
columns behind it at the least cost: with U the upper Cholesky factor of (C + λ I)⁻¹ (Frantar et al., "GPTQ", 2022),

    q_k = round(w_k / s_k),    e = (w_k − s_k q_k) / U_kk,    w_j ← w_j − e U_kj    for j > k.

How many rows it takes: below 2 K rows for K columns the moments say more about those rows than about others, and rounding to
them can be worse than to the nearest. λ is 1 % of the mean diagonal from 4 K rows on, and 10 % below.
"""

from __future__ import annotations

import numpy as np

from onnxzip.calibrate.arrays import Ids, Numbers

CHUNK = 64
"""Columns between updates of all columns behind them: the same numbers, by large products instead of many small ones."""

ENOUGH, PLENTY = 2, 4
"""Rows for each column, below which moments are not trusted alone, and from which they are taken as they are."""


def damping(rows: int, columns: int) -> float:
    """λ relative to the mean diagonal."""
    return 0.01 if rows >= PLENTY * columns else 0.1


def round_to_grid(rows: Numbers, moments: Numbers, steps: Numbers, low: Ids, high: Ids, damp: float) -> Ids:
    """Codes q of weights, low <= q <= high, so that `steps · q` stands for the rows.

    Args:
        rows: float[R, K].
        moments: float[K, K], symmetric, positive semidefinite.
        steps: float[R, K], positive.
        low: int[R, K].
        high: int[R, K].
        damp: λ, relative to the mean diagonal.

    Returns:
        int64[R, K].
    """
    columns = rows.shape[1]
    order = np.argsort(-np.diagonal(moments), kind="stable")
    upper = _factor(moments[np.ix_(order, order)], damp)
    # one column of weights after the other: they lie in memory as rows
    left, step = (np.ascontiguousarray(a.T[order]) for a in (rows, steps))
    least, most = low.T[order], high.T[order]
    codes = np.zeros(left.shape, np.int64)
    for start in range(0, columns, CHUNK):
        stop = min(start + CHUNK, columns)
        errors = np.empty((stop - start, left.shape[1]))
        for k in range(start, stop):
            codes[k] = np.clip(np.rint(left[k] / step[k]), least[k], most[k])
            errors[k - start] = (left[k] - codes[k] * step[k]) / upper[k, k]
            left[k + 1 : stop] -= upper[k, k + 1 : stop, None] * errors[k - start]
        left[stop:] -= upper[start:stop, stop:].T @ errors
    result = np.empty_like(codes)
    result[order] = codes
    return np.ascontiguousarray(result.T)


def output_error(difference: Numbers, moments: Numbers) -> float:
    """E over all rows: float[R, K] and float[K, K]."""
    return float(((difference @ moments) * difference).sum())


def _factor(moments: Numbers, damp: float) -> Numbers:
    """The upper Cholesky factor of the inverse of the damped moments; of the identity where nothing was ever read."""
    columns = len(moments)
    mean = float(np.trace(moments)) / columns
    damped = moments / mean + damp * np.eye(columns) if mean > 0 else np.eye(columns)
    inverse = np.linalg.inv(damped)
    return np.asarray(np.linalg.cholesky((inverse + inverse.T) / 2).T)
