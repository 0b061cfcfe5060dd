"""Histograms in fixed bins: the upper 14 bits of a float32.

    bin(x) = bits(x) >> 18        sign (1), exponent (8) and the first 5 bits of the mantissa: 16384 bins, 32 an octave

The bins need no range and no first pass, so counts of different data simply add up. A bin is at most 1/32 of its value
wide; its centre, by which it is represented, is off by at most 1/64. Counts are exact integers, +0 and -0 are both zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]

BINS = 1 << 14
ZERO = BINS // 2
"""Position of the zero bin in value order; smaller positions are negative, larger ones positive."""

_SHIFT = np.uint32(18)
_PENDING = 2 * BINS
"""Values to gather before they are counted: counting costs a sweep over all bins, whatever the number of values."""

_ORDER = np.concatenate([np.arange(BINS - 1, ZERO - 1, -1), np.arange(ZERO)])
"""Bins in the order of their values: negative numbers have the sign bit set and grow downwards."""


def bins_of(values: Floats) -> Keys:
    """The bin of each element of a contiguous float32 array."""
    return (values.view(np.uint32) >> _SHIFT).astype(np.uint16)


def _centres() -> npt.NDArray[np.float64]:
    bits = (_ORDER.astype(np.uint32) << _SHIFT) | np.uint32(1 << 17)
    with np.errstate(invalid="ignore"):
        centres = bits.view(np.float32).astype(np.float64)
    centres[ZERO - 1 : ZERO + 1] = 0.0  # -0 and +0, and what is too small to matter
    return centres


CENTRES = _centres()
"""The value that stands for each bin, in value order (the last bins of either side are Inf and NaN, never used)."""


class Histogram:
    """Integer counts in the fixed bins. Stored are only the bins in use: `keys` (sorted) and `counts`."""

    __slots__ = ("_counts", "_keys", "_pending", "_waiting")

    def __init__(self, keys: Keys | None = None, counts: Counts | None = None) -> None:
        self._keys: Keys = np.zeros(0, np.uint16) if keys is None else keys
        self._counts: Counts = np.zeros(0, np.int64) if counts is None else counts
        self._pending: list[tuple[Floats, int]] = []
        self._waiting = 0

    def add(self, values: Floats, weight: int = 1) -> None:
        """Count each value of a contiguous array, which is kept for a while and must not change, `weight` times."""
        self._pending.append((values, weight))
        self._waiting += len(values)
        if self._waiting >= _PENDING:
            self._settle()

    @property
    def keys(self) -> Keys:
        """Bins that are not empty, ascending."""
        self._settle()
        return self._keys

    @property
    def counts(self) -> Counts:
        """How often each of `keys` was counted."""
        self._settle()
        return self._counts

    def total(self) -> int:
        """The sum of all counts."""
        return int(self.counts.sum())

    def by_value(self) -> Counts:
        """The counts of all bins, empty ones too, in the order of `CENTRES`; zero in one bin."""
        ordered: Counts = self._dense()[_ORDER]
        ordered[ZERO] += ordered[ZERO - 1]
        ordered[ZERO - 1] = 0
        return ordered

    def __add__(self, other: Histogram) -> Histogram:
        return _sparse(self._dense() + other._dense())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self.keys, other.keys) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment] # mutable

    def __getstate__(self) -> tuple[Keys, Counts]:
        return self.keys, self.counts

    def __setstate__(self, state: tuple[Keys, Counts]) -> None:
        self._keys, self._counts = state
        self._pending, self._waiting = [], 0

    def _dense(self) -> Counts:
        dense = np.zeros(BINS, np.int64)
        dense[self.keys] = self.counts
        return dense

    def _settle(self) -> None:
        if not self._pending:
            return
        pending, self._pending, self._waiting = self._pending, [], 0
        dense = np.zeros(0, np.int64)
        for weight in sorted({w for _, w in pending}):
            counts = np.bincount(bins_of(np.concatenate([v for v, w in pending if w == weight])))
            counts *= weight
            dense = counts if not dense.size else _sum(dense, counts)
        if self._keys.size:
            dense = _sum(dense, np.zeros(int(self._keys[-1]) + 1, np.int64))
            dense[self._keys] += self._counts
        settled = _sparse(dense)
        self._keys, self._counts = settled._keys, settled._counts


def _sum(one: Counts, other: Counts) -> Counts:
    """The sum of counts of the first bins, as many as the longer has."""
    longer, shorter = (one, other) if one.size >= other.size else (other, one)
    longer[: shorter.size] += shorter
    return longer


def _sparse(dense: Counts) -> Histogram:
    keys = np.flatnonzero(dense != 0)  # ten times faster on booleans
    return Histogram(keys.astype(np.uint16), dense[keys])
