"""Rounding that makes up for itself: each weight that is rounded shifts the error to those that are rounded after it.

For one row w of a layer, with C the second moments of what it reads, the error of its output is

    E = (w − s q)ᵀ C (w − s q).

Columns are rounded one after the other, those of the largest moments first. With U the upper Cholesky factor of (C + λ I)⁻¹,
rounding column k changes the rest in closed form to what costs least (Frantar et al., "GPTQ", 2022, after the optimal brain surgeon):

    q_k = round(w_k / s),    e = (w_k − s q_k) / U_kk,    w_j ← w_j − e U_kj    for j > k.

λ is 0.1 % of the mean diagonal, more where that leaves the moments indefinite. A second moment from n rows is noisy, so C is drawn toward its diagonal first: C ← (1 − a) C + a diag C with
a = K / (K + n); with few rows little is left but rounding to nearest. Where neighbours are added up in 16 bits (`onnxzip.quantize.pairs`), the second of a pair is kept within
what the first left, and the columns after it make up for that too.

The factor takes the place of one copy of the moments, in their own precision, and nothing else of their size is made. Drawn in, the moments of rows
scaled to variance 1 have no eigenvalue below a, and none above K: their condition is at most K + n, which float32 bears.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.linalg import get_lapack_funcs

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.quantize.pairs import PAIR_MAX

DAMPING = 0.001
SMALL = 256
"""Columns of a matrix of which a copy more does not count."""

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
    overwrite: bool = False,
) -> npt.NDArray[np.int16]:
    """Integer codes of weights.

    Args:
        rows: float[G, R, K]: R rows of K weights in each of G groups.
        moments: float[G, K, K], symmetric, positive semidefinite.
        scales: float32[G, R].
        weight_max: codes lie in -weight_max to weight_max.
        partner: int[K], see `pairs.partners`, or None.
        damping: λ, relative to the mean diagonal of the moments.
        overwrite: the moments are no longer needed: their memory is used.

    Returns:
        int16[G, R, K].
    """
    step = scales.astype(np.float64)[:, :, None]
    low, high = np.full((1, 1, 1), -weight_max), np.full((1, 1, 1), weight_max)
    return _codes(rows, moments if overwrite else moments.copy(), step, low, high, partner, damping)


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
    return _codes(rows, moments.copy(), steps, low, high, partner, damping).astype(np.int64)


def _codes(
    rows: Numbers, moments: Numbers, steps: Numbers, low: Ids, high: Ids, partner: Ids | None, damping: float
) -> npt.NDArray[np.int16]:
    """See `round_to_grid`; the moments are overwritten."""
    groups, outs, columns = rows.shape
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(-diagonal.sum(axis=0), kind="stable")
    place = np.empty(columns, np.int64)
    place[order] = np.arange(columns)
    upper = _factor(moments, order, damping)
    left = np.ascontiguousarray(rows[:, :, order].swapaxes(1, 2), np.float64)  # a column is contiguous
    step = np.broadcast_to(steps, rows.shape).swapaxes(1, 2)
    least, most = (np.broadcast_to(a, rows.shape).swapaxes(1, 2) for a in (low, high))
    codes = np.zeros(left.shape, np.int16)
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
    return np.ascontiguousarray(codes[:, place].swapaxes(1, 2))


def drawn_in(moments: Numbers, count: int, out: Numbers | None = None) -> Numbers:
    """Second moments float[G, K, K] of `count` rows, drawn toward their diagonal as the module says; in `out`, which may be the moments."""
    columns = moments.shape[-1]
    share = columns / (columns + count)
    index = np.arange(columns)
    diagonal = moments[:, index, index]
    found = np.multiply(moments, 1 - share, out=out)
    found[:, index, index] = diagonal
    return np.asarray(found)


def _bounds(
    codes: npt.NDArray[np.int16], k: int, mate: Ids | None, low: Ids, high: Ids
) -> tuple[Numbers | Ids, Numbers | Ids]:
    """Smallest and largest code for column k, given those before it."""
    if mate is None or not 0 <= mate[k] < k:
        return low, high
    first = codes[:, mate[k]]
    return np.maximum(low, -PAIR_MAX - first), np.minimum(high, PAIR_MAX - first)


def _factor(moments: Numbers, order: Ids, damping: float) -> Numbers:
    """U of each group, columns in this order, in the memory of the moments; what is below the diagonal has no meaning.

    From last to first, the damped moments are L Lᵀ; from first to last, L is an upper R with R Rᵀ the damped moments, and U = R⁻¹, for then
    Uᵀ U = (R Rᵀ)⁻¹. LAPACK works on the transposed matrix, so what it calls upper is the lower L here.
    """
    if len(moments) > 1 and len(order) <= SMALL and (small := _factors(moments, order, damping)) is not None:
        return small
    potrf, trtri = get_lapack_funcs(("potrf", "trtri"), (moments,))
    for group in moments:
        _reorder(group, order[::-1])
        _root(group, damping, potrf)
        inverse, problem = trtri(group.T, lower=0, overwrite_c=1)
        if problem:
            raise np.linalg.LinAlgError(f"a triangular matrix of {len(group)} columns is singular")
        if not np.shares_memory(inverse, group):
            group[:] = inverse.T
    return moments[:, ::-1, ::-1]


def _factors(moments: Numbers, order: Ids, damping: float) -> Numbers | None:
    """The same for many small groups at once, as a depthwise Conv has them; None where one needs more damping, or is not finite."""
    turned = moments[:, order[::-1]][:, :, order[::-1]].astype(np.float64)
    if not np.isfinite(turned).all():
        return None
    index = np.arange(len(order))
    mean = np.abs(turned[:, index, index]).mean(axis=1, keepdims=True)
    turned[:, index, index] += np.maximum(damping * mean, np.finfo(np.float32).tiny)
    try:
        return np.linalg.inv(np.linalg.cholesky(turned))[:, ::-1, ::-1]
    except np.linalg.LinAlgError:
        return None


def _reorder(matrix: Numbers, order: Ids) -> None:
    """Rows and columns of a matrix in another order, in place: along the cycles of the order, then by stripes."""
    if len(order) <= SMALL:
        matrix[:] = matrix[np.ix_(order, order)]
        return
    todo = np.ones(len(order), np.bool_)
    for start in range(len(order)):
        first, at = matrix[start].copy(), start
        while todo[at]:
            todo[at], source = False, int(order[at])
            matrix[at] = first if source == start else matrix[source]
            at = source
    for part in range(0, len(order), BLOCK):
        stripe = slice(part, part + BLOCK)
        matrix[stripe] = matrix[stripe][:, order]


def _root(moments: Numbers, damping: float, potrf: Callable[..., tuple[Numbers, int]]) -> None:
    """L of one group, in its place. Where rounding made the moments indefinite (means far above the deviations), λ grows tenfold until they are not."""
    diagonal = np.diagonal(moments).astype(np.float64)
    if not all(np.isfinite(row).all() for row in moments):
        raise np.linalg.LinAlgError("second moments hold NaN or Inf")
    index = np.arange(len(moments))
    strength = max(damping * float(np.abs(diagonal).mean()), float(np.finfo(np.float32).tiny))
    while True:
        moments[index, index] = diagonal + strength
        root, problem = potrf(moments.T, lower=0, clean=0, overwrite_a=1)
        if not problem:
            break
        for i in index:  # what was overwritten is still there above the diagonal
            moments[i, :i] = moments[:i, i]
        strength *= 10
    if not np.shares_memory(root, moments):
        moments[:] = root.T
