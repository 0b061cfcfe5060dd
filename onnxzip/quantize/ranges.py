"""Which part of a distribution the codes shall cover: pure numpy.

minmax      all of it.
percentile  all but 0.01 % of the values, half of that on either side; percentile5: all but 0.001 %.
mse         the clip that minimises the expected squared error   E(l, h) = sum over^2 + inside * delta^2 / 12,
            over = distance of a value beyond l or h, delta = (h - l) / 255 on the grid of uint8, max(-l, h) / 127 on that of
            int8 with zero point 0, where l = -h unless all is on one side. Exact zeros cost nothing and are not counted
            (Sung, Shin, Hwang, "Resiliency of deep neural networks under quantization", 2015, minimise the same error
            on samples; the closed form of the inner part is the variance of a uniform error).
            The error beyond l and the error beyond h are separate sums, so that all pairs of GRID x GRID clips are compared.
entropy     the clip, the same for both signs, that keeps the most information (see `entropy`).

No method leaves the extremes that were seen, widened to contain 0, so the known bounds of what made a tensor (0 to 1 of Sigmoid and Softmax, 0 of Relu) always hold: values of
one sign keep zero point 0. The bounds themselves are not taken in place of the extremes: the largest probability of a Softmax may well be 0.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from onnxzip.errors import UsageError
from onnxzip.quantize.entropy import entropy_range
from onnxzip.quantize.qparams import U8, Grid

Method = Literal["minmax", "mse", "percentile", "percentile5", "entropy"]
METHODS: tuple[str, ...] = get_args(Method)

PERCENTILES = {"percentile": 0.9999, "percentile5": 0.99999}
GRID = 192
SMALLEST_CLIP = 1 / 64
"""The tightest clip that is tried, relative to the extreme."""

Array = NDArray[np.float64]


class TensorStatistics(Protocol):
    """What calibration knows of one tensor. Extremes are exact; the distribution may be binned."""

    @property
    def low(self) -> float:
        """Smallest value."""
        ...

    @property
    def high(self) -> float:
        """Largest value."""
        ...

    @property
    def count(self) -> int:
        """How many values were seen."""
        ...

    def distribution(self) -> tuple[Array, Array]:
        """Values float64[k], ascending, and their weights float64[k]."""
        ...


@dataclass(frozen=True)
class Held:
    """Statistics of a constant, which is known without calibration."""

    content: NDArray[np.float32]

    @property
    def low(self) -> float:
        """Smallest value."""
        return float(self.content.min())

    @property
    def high(self) -> float:
        """Largest value."""
        return float(self.content.max())

    @property
    def count(self) -> int:
        """How many values there are."""
        return self.content.size

    def distribution(self) -> tuple[Array, Array]:
        """Values float64[k], ascending, and their weights float64[k]."""
        values, counts = np.unique(self.content.astype(np.float64), return_counts=True)
        return values, counts.astype(np.float64)


def check_method(method: str) -> None:
    """Raise UsageError unless `method` is known."""
    if method not in METHODS:
        raise UsageError(f"range method {method!r} is not known: choose one of {', '.join(METHODS)}")


def clip_range(statistics: Sequence[TensorStatistics], method: str, grid: Grid = U8) -> tuple[float, float]:
    """The range to cover of several tensors that share a scale (usually one), on this grid.

    Raises:
        ValueError: no value was seen, or one of them was NaN or Inf; the text says which.
        UsageError: the method is unknown.
    """
    check_method(method)
    seen = [s for s in statistics if s.count]
    if not seen:
        raise ValueError("no calibration value reached it")
    low, high = float(min(s.low for s in seen)), float(max(s.high for s in seen))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"its values range from {low} to {high} on the calibration data")
    if method == "minmax" or low == high:
        return low, high
    values, weights = _merged(seen)
    if method in PERCENTILES:
        return percentile_range(values, weights, low, high, PERCENTILES[method])
    if method == "entropy":
        return entropy_range(values, weights, low, high)
    return mse_range(values, weights, low, high, grid)


def _merged(statistics: Sequence[TensorStatistics]) -> tuple[Array, Array]:
    parts = [s.distribution() for s in statistics]
    values, weights = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    order = np.argsort(values, kind="stable")
    return values[order], weights[order]


def percentile_range(values: Array, weights: Array, low: float, high: float, share: float) -> tuple[float, float]:
    """The central `share` of a weighted, sorted distribution, within `low` to `high`."""
    cumulated = np.cumsum(weights)
    if not len(values) or cumulated[-1] <= 0:
        return low, high
    tail = (1 - share) / 2 * cumulated[-1]
    first = int(np.searchsorted(cumulated, tail, side="right"))
    last = int(np.searchsorted(cumulated, cumulated[-1] - tail, side="left"))
    size = len(values) - 1
    return max(low, float(values[min(first, size)])), min(high, float(values[min(last, size)]))


def mse_range(values: Array, weights: Array, low: float, high: float, grid: Grid = U8) -> tuple[float, float]:
    """The clip of least expected squared error, of GRID candidates on either side of 0, within `low` to `high`."""
    if grid.symmetric:
        return _symmetric_range(values, weights, low, high, grid)
    upper, beyond_upper, out_upper = _side(values[values > 0], weights[values > 0], max(high, 0.0))
    lower, beyond_lower, out_lower = _side(-values[values < 0][::-1], weights[values < 0][::-1], max(-low, 0.0))
    inside = weights[values != 0].sum() - out_upper[:, None] - out_lower[None, :]
    step = (upper[:, None] + lower[None, :]) / grid.levels(low)
    error = beyond_upper[:, None] + beyond_lower[None, :] + np.maximum(inside, 0) * step**2 / 12
    best_upper, best_lower = np.unravel_index(int(np.argmin(error)), error.shape)
    return -float(lower[best_lower]), float(upper[best_upper])


def _symmetric_range(values: Array, weights: Array, low: float, high: float, grid: Grid) -> tuple[float, float]:
    """The same where one bound serves both sides."""
    size, order = np.abs(values), np.argsort(np.abs(values), kind="stable")
    size, weights = size[order], weights[order]
    bound, beyond, out = _side(size[size > 0], weights[size > 0], max(high, -low, 0.0))
    inside = np.maximum(weights[size > 0].sum() - out, 0)
    best = float(bound[int(np.argmin(beyond + inside * (bound / grid.levels(low)) ** 2 / 12))])
    return max(low, -best), min(high, best)


def _side(values: Array, weights: Array, extreme: float) -> tuple[Array, Array, Array]:
    """Candidates t on one side of 0 (widest first), sum w (v - t)^2 beyond each, and the weight beyond each.

    Args:
        values: positive, ascending.
        weights: their weights.
        extreme: the widest candidate; 0 when nothing lies on this side.
    """
    if extreme == 0:
        return np.zeros(1), np.zeros(1), np.zeros(1)
    candidates = extreme * np.geomspace(1, SMALLEST_CLIP, GRID)
    candidates[0] = extreme
    unit = values / extreme  # squares of values up to 1e38 stay finite
    tails = [
        np.append(np.cumsum(moment[::-1])[::-1], 0.0) for moment in (weights, weights * unit, weights * unit * unit)
    ]
    index = np.searchsorted(values, candidates, side="right")
    zeroth, first, second = (tail[index] for tail in tails)
    t = candidates / extreme
    return candidates, np.maximum(second - 2 * t * first + t * t * zeroth, 0) * extreme**2, zeroth
