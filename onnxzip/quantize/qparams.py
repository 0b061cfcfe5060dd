"""Scales, zero points and integers: pure numpy.

Activations, per tensor:                     q = clip(round(x / s) + z, lowest, highest),   x' = s (q - z);
    asymmetric: the codes span the range;    symmetric: z = 0 and s = max |x| / highest.
Weights, int8, symmetric per axis:           q = clip(round(w / s_c), -127, 127),  w' = s_c q.
Bias, int32, per channel:                    q = round(b / (s_x s_c)): the scale of the sum of products, exactly.

Rounding is half to even, as in QuantizeLinear. Zero is always represented exactly (padding and Relu rely on it).
No scale is ever 0, denormal, Inf or NaN, and no product of an activation scale and a weight scale is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_SCALE, MAX_SCALE = 2.0**-60, 2.0**60
"""Limits of every scale: products of two stay normal float32 numbers (2**-126 to 2**127)."""

CODES: dict[str, tuple[int, int]] = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65535),
    "int16": (-32768, 32767),
}
"""Lowest and highest code of each dtype of activations."""

LEVELS = 255
UNBOUNDED = (-math.inf, math.inf)


@dataclass(frozen=True)
class QParams:
    """Scale (a float32 number), zero point and dtype of one tensor."""

    scale: float
    zero_point: int
    dtype: str = "uint8"

    @property
    def low(self) -> float:
        """The smallest real number that is represented."""
        return (CODES[self.dtype][0] - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        """The largest real number that is represented."""
        return (CODES[self.dtype][1] - self.zero_point) * self.scale


@dataclass(frozen=True)
class Grid:
    """How a target takes activations.

    Attributes:
        dtypes: where there are several, the first that can represent the range; only symmetric grids have several.
        symmetric: the zero point is 0.
        smallest: ranges narrower than this are widened to it.
    """

    dtypes: tuple[str, ...] = ("uint8",)
    symmetric: bool = False
    smallest: float = 0.0

    def dtype(self, low: float) -> str:
        """The dtype for values that begin at `low`."""
        fitting = (d for d in self.dtypes if not self.symmetric or low >= 0 or CODES[d][0] < 0)
        return next(fitting, self.dtypes[-1])

    def levels(self, low: float) -> int:
        """Steps between the ends of the range (symmetric: between 0 and the far end)."""
        lowest, highest = CODES[self.dtype(low)]
        return highest if self.symmetric else highest - lowest


U8 = Grid()


def activation_qparams(low: float, high: float, bounds: tuple[float, float] = UNBOUNDED, grid: Grid = U8) -> QParams:
    """Scale and zero point for values in `low` to `high`.

    The range is widened to contain 0. A range of no width gives scale 1.

    Args:
        low: where the range that shall be represented begins.
        high: where it ends.
        bounds: of an activation function that is to be absorbed, lower <= 0 <= upper: what is represented lies within
            them, so that saturation does what the function did. A lower bound of 0 gives the lowest code as zero point.
            A symmetric grid absorbs nothing: there they only limit the range.
        grid: dtype and symmetry.

    Raises:
        ValueError: the range is not finite or upside down, or the bounds exclude 0.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"a range must be finite and ordered, not {low} to {high}")
    if not bounds[0] <= 0 <= bounds[1]:
        raise ValueError(f"bounds must contain 0, not {bounds[0]} to {bounds[1]}")
    low, high = max(min(low, 0.0), bounds[0]), min(max(high, 0.0), bounds[1])
    if high - low < grid.smallest:
        high = min(low + grid.smallest, bounds[1])
    dtype, levels = grid.dtype(low), grid.levels(low)
    lowest = CODES[dtype][0]
    if high == low:
        return QParams(1.0, 0 if grid.symmetric else lowest, dtype)
    width = max(-low, high) if grid.symmetric else high - low
    scale = min(max(width / levels, MIN_SCALE), MAX_SCALE)
    if grid.symmetric:
        return QParams(float(np.float32(scale)), 0, dtype)
    steps = min(max(round(-low / scale), 0), levels)
    return QParams(_inside(scale, steps, levels, bounds), steps + lowest, dtype)


def _inside(scale: float, below: int, levels: int, bounds: tuple[float, float]) -> float:
    """The largest float32 up to `scale` whose whole grid, of which `below` steps are negative, lies within the bounds."""
    if below > 0:
        scale = min(scale, -bounds[0] / below)
    if below < levels:
        scale = min(scale, bounds[1] / (levels - below))
    number = np.float32(max(scale, MIN_SCALE))
    for code in (-below, levels - below):
        while not bounds[0] <= code * float(number) <= bounds[1]:
            number = np.nextafter(number, np.float32(0))
    return float(number)


def along(axis: int, rank: int) -> tuple[int, ...]:
    """The shape that lets a vector of channels broadcast along `axis`.

    >>> along(0, 4)
    (-1, 1, 1, 1)
    """
    return tuple(-1 if i == axis % rank else 1 for i in range(rank))


def weight_scales(
    weight: NDArray[np.floating[Any]], axis: int, weight_max: int = 127, floor: NDArray[np.float64] | None = None
) -> NDArray[np.float32]:
    """Symmetric scale of every channel: max |w| / weight_max.

    A dead channel (all zero) takes the scale its bias needs, or the smallest legal one: any scale represents it exactly.

    Args:
        weight: float, any rank above 0.
        axis: the channel axis; C channels.
        weight_max: largest code.
        floor: float64[C], smallest scales that leave room for the bias (see `bias_floor`).

    Returns:
        float32[C], each in MIN_SCALE to MAX_SCALE.
    """
    rest = tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    largest = np.maximum(weight.max(axis=rest, initial=0), -weight.min(axis=rest, initial=0)).astype(np.float64)
    scales = largest / weight_max
    if floor is not None:
        scales = np.maximum(scales, floor)
    limited: NDArray[np.float32] = np.clip(scales, MIN_SCALE, MAX_SCALE).astype(np.float32)
    return limited


def bias_floor(bias: NDArray[np.floating[Any]], x_scale: float, bias_max: int) -> NDArray[np.float64]:
    """Smallest weight scale of every channel at which |bias| / (x_scale * scale) stays within `bias_max`."""
    return np.abs(bias.astype(np.float64)) / (x_scale * bias_max)


def quantize_weight(
    weight: NDArray[np.floating[Any]], scales: NDArray[np.float32], axis: int, weight_max: int = 127
) -> NDArray[np.int8]:
    """Round to nearest, channel by channel. Same shape as `weight`."""
    scaled = weight / scales.reshape(along(axis, weight.ndim))
    codes: NDArray[np.int8] = np.clip(np.rint(scaled), -weight_max, weight_max).astype(np.int8)
    return codes


def bias_scales(x_scale: float, scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale of the int32 bias, float32[C]: the float32 product. Runtimes fuse only when it is exactly that."""
    product: NDArray[np.float32] = np.float32(x_scale) * scales
    return product


def quantize_bias(bias: NDArray[np.floating[Any]], scales: NDArray[np.float32]) -> NDArray[np.int32]:
    """Bias to int32, saturating. float[C] and float32[C] to int32[C]."""
    limit = 2**31 - 1
    return np.clip(np.rint(bias.astype(np.float64) / scales.astype(np.float64)), -limit, limit).astype(np.int32)


def quantize_activation(content: NDArray[np.floating[Any]], q: QParams) -> NDArray[np.integer[Any]]:
    """A constant as QuantizeLinear would make it. Same shape as `content`."""
    scaled = np.rint(content.astype(np.float64) / q.scale) + q.zero_point
    codes: NDArray[np.integer[Any]] = np.clip(scaled, *CODES[q.dtype]).astype(q.dtype)
    return codes
