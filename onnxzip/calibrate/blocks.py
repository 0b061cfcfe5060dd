"""Extremes of an array and of interleaved blocks of it, from the bits of its floats.

Bits of floats, read as whole numbers, are in order: as int32 for floats that are not negative; as uint32 all negative floats lie above
the others, the farthest from zero on top. So of any set of floats

    max as int32     is the largest of them, where that is not negative
    max as uint32    is the smallest of them, where that is negative, else the largest

and an array without negative elements needs one pass, any other two, where float comparison takes two and three. Infinity and NaN lie
beyond all numbers in both orders, so the extremes also tell whether there are any. Nothing is rounded.

A block takes BLOCK elements that lie about n / BLOCK apart; the step shares no factor with n, so that no axis lines up with it. Each element is
in a block, a few at the seams in two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bits = npt.NDArray[np.integer[Any]]

BLOCK = 64

_INFINITY, _SIGN = 0x7F800000, 0x80000000


@dataclass(frozen=True, slots=True)
class Extremes:
    """What the blocks of one array hold.

    Attributes:
        low: the smallest element; NaN or infinite where one is.
        high: the largest element, likewise.
        sides: the largest element of each block, and if there are negative ones the smallest: float32[about n / BLOCK] each, 0 where none lies
            on that side. Nothing where an element is not finite.
    """

    low: float
    high: float
    sides: tuple[Floats, ...]


def extremes_of(flat: Floats) -> Extremes:
    """Look at a contiguous float32 array of at least BLOCK elements."""
    outer = _reduced(flat.view(np.uint32))
    outermost = int(np.maximum.reduce(outer))
    if outermost < _INFINITY:  # no sign bit is set
        low = 0.0 if not flat[:: flat.size // BLOCK].all() else float(flat.min())
        return Extremes(low, _as_float(outermost), (outer.view(np.float32),))
    upper = _reduced(flat.view(np.int32))
    topmost = int(np.maximum.reduce(upper))
    if topmost >= _INFINITY or not _SIGN <= outermost < _SIGN + _INFINITY:
        return Extremes(float(flat.min()), float(flat.max()), ())
    high = _as_float(topmost) if topmost >= 0 else float(flat.max())
    np.maximum(upper, 0, out=upper)
    lower = np.minimum(outer.view(np.int32), 0)  # a float that is not negative is an int32 that is not
    return Extremes(_as_float(outermost), high, (upper.view(np.float32), lower.view(np.float32)))


def _reduced(bits: Bits) -> Bits:
    """The largest number of each block, a new array."""
    step, apart = stride(bits.size // BLOCK, bits.size), bits.itemsize
    shape = (BLOCK, bits.size - (BLOCK - 1) * step)
    found: Bits = np.maximum.reduce(np.ndarray(shape, bits.dtype, bits, strides=(step * apart, apart)), axis=0)
    return found


def _as_float(bits: int) -> float:
    return float(np.uint32(bits).view(np.float32))


@lru_cache(4096)
def stride(wanted: int, size: int) -> int:
    """The largest step up to `wanted` that shares no factor with `size`."""
    return next(step for step in range(wanted, 0, -1) if math.gcd(step, size) == 1)
