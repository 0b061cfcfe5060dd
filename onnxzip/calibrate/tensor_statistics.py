"""Statistics of tensors that stream and merge: exact extremes, and a histogram whose body is sampled and whose tails are not.

A uniform sample misses the tail, and the tail decides the clip. Counting every element can cost as much as a small model does. So:

    body    every s-th element, 512 to 1023 an array; counted s times each
    tails   the maximum (and minimum) over blocks of B = 64 elements, of which every element is in one (see `blocks`)
            P(x <= t) = P(maximum of a block <= t)^(1/B), and likewise for minima

The tails are used above the median of the block extremes, that is for about the outermost 1 % of each side, the body below.

Exact (in float32, to which all other types are cast): `low`, `high`, `count`; the distribution (up to the width of a bin, see `histogram`) of arrays up to 4096 elements.
Estimated: the distribution of larger arrays. The formula holds for independent elements; a block takes elements that
lie n/64 apart, with a stride that shares no factor with the size of the array, so that no axis lines up with it. Elements
that go together still (neighbours in images) make the estimate of the tail lighter than it is, at most B times.

Cases, one array at a time:
1. no elements: nothing changes;
2. up to 4096 elements: each is counted;
3. more: body and tails as above. Minima are taken only where there are negative elements.

What is counted depends on the array alone, never on what came before, and counts are integers: any grouping and any order
of the same arrays gives equal statistics.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxzip.calibrate.blocks import BLOCK, extremes_of, stride
from onnxzip.calibrate.histogram import CENTRES, ZERO, Floats, Histogram
from onnxzip.errors import DataError

Doubles = npt.NDArray[np.float64]
State = tuple[tuple[float, float], tuple[int, int], tuple[Histogram, Histogram, Histogram]]

SAMPLE = 512
SMALL = 4096

_LARGEST = float(np.finfo(np.float32).max)
_JOIN = 0.5
"""Share of block extremes beyond the point where the tail takes over from the body."""


class TensorStatistics:
    """What is known of one tensor, over all arrays that it was shown.

    Attributes:
        low: the smallest element; inf while `count` is 0.
        high: the largest element; -inf while `count` is 0.
        count: number of elements.
    """

    __slots__ = ("_blocks", "_body", "_exact", "_tails", "count", "high", "low")

    def __init__(self) -> None:
        self.low, self.high, self.count = math.inf, -math.inf, 0
        self._exact, self._body, self._tails = Histogram(), Histogram(), Histogram()
        self._blocks = 0

    def update(self, array: npt.NDArray[Any], name: str = "tensor") -> None:
        """Take one array (any shape; floats, integers or booleans) into account.

        Raises:
            DataError: an element is NaN or infinite, or the array holds no numbers; the message names the tensor.
        """
        flat = _as_floats(array, name)
        if flat.size == 0:
            return
        if flat.size <= SMALL:
            low, high = float(flat.min()), float(flat.max())
            _refuse_not_finite(low, high, name)
            self._exact.add(flat.copy())
        else:
            low, high = self._update_large(flat, name)
        self.count += flat.size
        self.low, self.high = min(self.low, low + 0.0), max(self.high, high + 0.0)  # -0 becomes 0

    def _update_large(self, flat: Floats, name: str) -> tuple[float, float]:
        found = extremes_of(flat)
        _refuse_not_finite(found.low, found.high, name)
        first = found.sides[0]
        step = stride(flat.size // SAMPLE, flat.size)
        start = zlib.crc32(first[:64].tobytes()) % step  # another place in each array, yet the same for the same array
        self._body.add(flat[start::step].copy(), step)
        for extremes in found.sides:
            self._tails.add(extremes)
        self._blocks += first.size
        return found.low, found.high

    def merge(self, other: TensorStatistics) -> TensorStatistics:
        """The statistics of both together. Equal to one run over all arrays, in any order."""
        merged = TensorStatistics()
        merged.low, merged.high = min(self.low, other.low), max(self.high, other.high)
        merged.count, merged._blocks = self.count + other.count, self._blocks + other._blocks
        merged._exact, merged._body = self._exact + other._exact, self._body + other._body
        merged._tails = self._tails + other._tails
        return merged

    def distribution(self) -> tuple[Doubles, Doubles]:
        """Values and how many elements have them, estimated for all elements.

        Returns:
            values: float64[k], ascending, within `low` and `high`; each stands for a bin (see `histogram`), zero for itself.
            weights: float64[k], positive, not whole in general; they sum up to `count`.
        """
        weights = self._exact.by_value().astype(np.float64)
        large = self.count - self._exact.total()
        if large:
            weights += large * self._shares()
        used = np.flatnonzero(weights)
        return np.clip(CENTRES[used], self.low, self.high), weights[used]

    def _shares(self) -> Doubles:
        """The share of each bin, in value order, among the elements of large arrays."""
        body: Doubles = self._body.by_value() / self._body.total()
        tails = self._tails.by_value()
        outer = np.zeros_like(body)  # P(an element in this bin or further out); 0 in bins that belong to the body
        outer[ZERO + 1 :] = _tail(tails[ZERO + 1 :], self._blocks)
        outer[:ZERO] = _tail(tails[:ZERO][::-1], self._blocks)[::-1]
        middle = np.where(outer > 0, 0.0, body)
        if not middle.any():  # a sample that lies in the tails altogether: it cannot be joined with them
            return body
        shares = np.zeros_like(body)
        shares[ZERO + 1 :] = outer[ZERO + 1 :] - np.append(outer[ZERO + 2 :], 0.0)
        shares[:ZERO] = outer[:ZERO] - np.append(0.0, outer[: ZERO - 1])
        shares[shares < 0] = 0.0  # where the body ends, nothing lies further in
        return np.where(outer > 0, shares, middle * ((1 - shares.sum()) / middle.sum()))

    def state(self) -> State:
        """Everything that is known, as plain numbers and histograms: (low, high), (count, blocks), histograms."""
        return (self.low, self.high), (self.count, self._blocks), (self._exact, self._body, self._tails)

    @classmethod
    def from_state(cls, state: State) -> TensorStatistics:
        """The statistics whose `state` this is."""
        made = cls()
        (made.low, made.high), (made.count, made._blocks), (made._exact, made._body, made._tails) = state
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorStatistics):
            return NotImplemented
        return self.state() == other.state()

    __hash__ = None  # type: ignore[assignment] # mutable


def _tail(extremes: npt.NDArray[np.int64], blocks: int) -> Doubles:
    """P(an element lies in this bin or further out), outermost bin last; 0 for bins that belong to the body."""
    beyond = extremes[::-1].cumsum()[::-1] / blocks
    return -np.expm1(np.log1p(-np.where(beyond <= _JOIN, beyond, 0.0)) / BLOCK)


def _as_floats(array: npt.NDArray[Any], name: str) -> Floats:
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise DataError(f"tensor {name!r} holds {array.dtype}, not numbers: it has no range to calibrate")
    if array.dtype.itemsize == 8 and array.dtype.kind == "f":
        finite = np.isfinite(array).all()
        array = np.clip(array, -_LARGEST, _LARGEST) if finite else array
    return np.ascontiguousarray(array, np.float32).reshape(-1)


def _refuse_not_finite(low: float, high: float, name: str) -> None:
    if not (math.isfinite(low) and math.isfinite(high)):
        what = "NaN" if math.isnan(low) or math.isnan(high) else "infinity"
        raise DataError(
            f"tensor {name!r} takes the value {what} on this data, so it has no range. "
            "Check the data and the model there, or keep the nodes around it in float."
        )
