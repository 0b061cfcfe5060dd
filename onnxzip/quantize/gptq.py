"""Rounding that makes up for itself: each weight that is rounded shifts the error to those that are rounded after it.

For one row w of a layer, with C the second moments of what it reads, the error of its output is

    E = (w − s q)ᵀ C (w − s q).

Columns are rounded one after the other, those of the largest moments first. With U the upper Cholesky factor of (C + λ I)⁻¹,
rounding column k changes the rest in closed form to what costs least (Frantar et al., "GPTQ", 2022, after the optimal brain surgeon):

    q_k = round(w_k / s),    e = (w_k − s q_k) / U_kk,    w_j ← w_j − e U_kj    for j > k.

λ is 0.1 % of the mean diagonal, more where that leaves the moments indefinite. A second moment from n rows is noisy, so C is drawn toward its diagonal first: C ← (1 − a) C + a diag C with
a = K / (K + n); with few rows little is left but rounding to nearest. Where neighbours are added up in 16 bits (`onnxzip.quantize.pairs`), the second of a pair is kept within
what the first left, and the columns after it make up for that too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import lapack

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.quantize.pairs import PAIR_MAX

DAMPING = 0.001
BLOCK = 32
"""Columns between updates of all columns behind them: the same numbers, by large products instead of many small ones."""


def round_rows(
    rows: Numbers,
    moments: Numbers,
    scales: npt.NDArray[np.float32],
    *,
    weight_max: int = 127,
    partner: Ids | None = None,
    damping: float = DAMPING,
) -> npt.NDArray[np.int16]:
    """Integer codes of weights.

    Args:
        rows: float[G, R, K]: R rows of K weights in each of G groups.
        moments: float[G, K, K], symmetric, positive semidefinite.
        scales: float32[G, R].
        weight_max: codes lie in -weight_max to weight_max.
        partner: int[K], see `pairs.partners`, or None.
        damping: λ, relative to the mean diagonal of the moments.

    Returns:
        int16[G, R, K].
    """
    step = scales.astype(np.float64)[:, :, None]
    low, high = np.full((1, 1, 1), -weight_max), np.full((1, 1, 1), weight_max)
    return round_to_grid(rows, moments, step, low, high, partner=partner, damping=damping).astype(np.int16)


def round_to_grid(
    rows: Numbers, moments: Numbers, steps: Numbers, low: Ids, high: Ids, *, partner: Ids | None = None, damping: float
) -> Ids:
    """Codes q of weights, low <= q <= high, so that `steps · q` stands for the rows; int64[G, R, K].

    Args:
        rows: float[G, R, K].
        moments: float[G, K, K], symmetric, positive semidefinite.
        steps: positive, broadcast to the shape of the rows.
        low: smallest codes, broadcast likewise.
        high: largest codes, broadcast likewise.
        partner: int[K], see `pairs.partners`, or None.
        damping: λ, relative to the mean diagonal of the moments.
    """
    groups, outs, columns = rows.shape
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(-diagonal.sum(axis=0), kind="stable")
    place = np.empty(columns, np.int64)
    place[order] = np.arange(columns)
    upper = _factor(moments[:, order][:, :, order], damping)
    left = np.ascontiguousarray(rows[:, :, order].swapaxes(1, 2), np.float64)  # a column is contiguous
    step = np.broadcast_to(steps, rows.shape).swapaxes(1, 2)
    least, most = (np.broadcast_to(a, rows.shape).swapaxes(1, 2) for a in (low, high))
    codes = np.zeros(left.shape)
    mate = None if partner is None else np.where(partner[order] >= 0, place[partner[order]], -1)
    errors = np.empty((groups, BLOCK, outs))
    for start in range(0, columns, BLOCK):
        stop = min(start + BLOCK, columns)
        for k in range(start, stop):
            at = order[k]
            bounds = _bounds(codes, k, mate, least[:, at], most[:, at])
            codes[:, k] = np.clip(np.rint(left[:, k] / step[:, at]), *bounds)
            error = errors[:, k - start] = (left[:, k] - codes[:, k] * step[:, at]) / upper[:, k, k, None]
            left[:, k + 1 : stop] -= upper[:, k, k + 1 : stop, None] * error[:, None]
        done = errors[:, : stop - start]
        left[:, stop:] -= upper[:, start:stop, stop:].swapaxes(1, 2) @ done
    return np.ascontiguousarray(codes[:, place].swapaxes(1, 2), np.int64)


def drawn_in(moments: Numbers, count: int) -> Numbers:
    """Second moments float[G, K, K] of `count` rows, drawn toward their diagonal as the module says."""
    columns = moments.shape[-1]
    share = columns / (columns + count)
    found = moments * (1 - share)
    index = np.arange(columns)
    found[:, index, index] = moments[:, index, index]
    return np.asarray(found)


def _bounds(codes: Numbers, k: int, mate: Ids | None, low: Ids, high: Ids) -> tuple[Numbers | Ids, Numbers | Ids]:
    """Smallest and largest code for column k, given those before it."""
    if mate is None or not 0 <= mate[k] < k:
        return low, high
    first = codes[:, mate[k]]
    return np.maximum(low, -PAIR_MAX - first), np.minimum(high, PAIR_MAX - first)


def _factor(moments: Numbers, damping: float) -> Numbers:
    """U of each group: where R is upper triangular and R Rᵀ the damped moments, U = R⁻¹, for then Uᵀ U = (R Rᵀ)⁻¹."""
    return np.stack([_inverse(_root(group.astype(np.float64), damping)) for group in moments])


def _root(moments: Numbers, damping: float) -> Numbers:
    """R of one group. Where rounding made the moments indefinite (means far above the deviations), λ grows tenfold until they are not."""
    if not np.isfinite(moments).all():
        raise np.linalg.LinAlgError("second moments hold NaN or Inf")
    strength = max(damping * float(np.abs(np.diagonal(moments)).mean()), float(np.finfo(np.float32).tiny))
    while True:
        try:
            damped = moments + np.eye(len(moments)) * strength
            return np.asarray(np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1])
        except np.linalg.LinAlgError:
            strength *= 10


def _inverse(upper: Numbers) -> Numbers:
    """The inverse of an upper triangular matrix, in a third of the work of a general one."""
    inverse, problem = lapack.dtrtri(upper, lower=0)
    if problem:
        raise np.linalg.LinAlgError(f"a triangular matrix of {len(upper)} columns is singular")
    return np.triu(inverse)
