"""How far moments are trusted where weights are rounded on them (`onnxzip.quantize.gptq`), one group at a time.

How many rows it takes: below 2 K rows for K columns the moments say more about those rows than about others, and rounding to
them can be worse than to the nearest. λ is 1 % of the mean diagonal from 4 K rows on, and 10 % below.
"""

from __future__ import annotations

import numpy as np

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.quantize.gptq import round_to_grid as round_groups

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
    return np.asarray(round_groups(rows[None], moments[None], steps[None], low[None], high[None], damping=damp)[0])


def output_error(difference: Numbers, moments: Numbers) -> float:
    """E over all rows: float[R, K] and float[K, K]."""
    return float(((difference @ moments) * difference).sum())
