"""The error that is born in a segment, beside the error that rounding explains there, per channel and as a whole.

With a the original's value, s what the candidate's segment makes of the original's values, t what its twin makes of them (`segments`), c the
candidate's own value; sums over all elements, or over those of one channel:

    signal A = Σ a²     gathered G = Σ (a - c)²     born B = Σ (a - s)²     rounding R = Σ (t - s)²

    allowed  L = 2 R (1 + 10 / n) + 10^-9 A + 10^-12 (A of the whole value, by the number of elements)      (90 dB, as exact rewriting keeps; 60 dB where halves are)

n = R² / Σ (t - s)^4 says how many elements share the rounding: where a few have nearly all of it, it is by luck what it is.

Elements beyond 1e8 are masks: they must be equal within 1e-3, or as large as float16 allows, and do not count.

A segment is suspect where B > L as a whole, or in a channel: along axis 1, or along the last axis. Where rounding is coarse (R above 10^-8 A: codes
of few bits, halves) a channel may be off by its luck with a few codes, so it is suspect only where B > A / 2 too, and where B is more than L of the whole value
by the number of elements: a channel that has lost its numbers (a scale doubled, a sign turned) has B of A or more. Operators that compute in integers without DequantizeLinear have no twin; they are allowed B = A / 10.

A suspect segment is grave, so that it may fail a candidate, where no honest way of making it comes to mind. S is the sum of a - s, n the number of elements:

1. float       all but errors below 40 dB in every channel that are spread over channels (no channel holds 9/10): an approximated formula looks so;
2. coarse      as a whole or in a channel, B - S² / n > 10 L, and > A / 30 (15 dB) or > 100 L: a constant of each channel aside, for biases are corrected on purpose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxzip.validate.taps import Numbers

Array = np.ndarray[Any, Any]

ROUNDING = 2.0
EXACT, HALVES = 1e-9, 1e-6
TINY = 1e-12
COARSE = 1e-8
LOST = 0.5
INTEGER = 0.1
LUCK = 10.0
MASK, NEAR = 1e8, 1e-3
SMALLEST_MASK = 3e4
"""In float16, which ends at 65504."""

MARGIN, FLOOR, BEYOND = 10.0, 10**-1.5, 100.0
SPREAD, HELD, CHANNELS = 1e-4, 0.9, 4
"""Of errors that are spread: relative to the signal of every channel; the part that one channel may hold; channels that are enough to tell."""

_ROWS = 7
"""Sums of the signal, of the gathered, born and rounding errors, of the elements, of the rounding errors to the fourth, and of the born errors themselves."""


@dataclass(frozen=True)
class Place:
    """Where a segment is gravely off: one channel along an axis, or all of it (no axis), and the born error there."""

    axis: int | None
    index: int
    error: float

    def of(self, array: Array) -> Array:
        """The elements of a value that lie there."""
        return array if self.axis is None else np.take(array, self.index, self.axis)


class Energies:
    """Sums over batches for one float value."""

    def __init__(self, *, integer: bool = False, halves: bool = False) -> None:
        """`integer`: some operator computes in integers; `halves`: a part of the candidate is in float16."""
        self._integer, self._exact = integer, HALVES if halves else EXACT
        self._sums: dict[int | None, Numbers] = {}
        self._broken = False
        self._is_suspect: bool | None = None

    def add(self, original: Any, gathered: Any, born: Any, twin: Any) -> None:
        """Take in one batch; a value that is not finite alike, or of another shape, has no numbers in common with the original."""
        self._is_suspect = None
        arrays = [np.asarray(x) for x in (original, gathered, born, twin)]
        if any(x.shape != arrays[0].shape or x.dtype.kind not in "fV" for x in arrays):
            self._broken = True
            return
        a, c, s, t = (x.astype(np.float64) if x.dtype != np.float32 else x for x in arrays)
        with np.errstate(all="ignore"):
            rows, counted, alike = _differences(a, c, s, t)
        self._broken = self._broken or not alike
        folded = _sums(rows, counted)
        self._take(None, folded.sum((1, 2))[:, None])
        if a.ndim > 2:
            self._take(1, folded.sum(2))
        if a.ndim > 1:
            self._take(-1, folded.sum(1))

    def _take(self, axis: int | None, sums: Numbers) -> None:
        """Sums by channel; axes of ragged batches are as long as the longest."""
        known = self._sums.get(axis, np.zeros((_ROWS, 0)))
        width = max(known.shape[1], sums.shape[1])
        left, right = (np.pad(x, ((0, 0), (0, width - x.shape[1]))) for x in (known, sums))
        self._sums[axis] = left + right

    @property
    def gathered_db(self) -> float:
        """SQNR with all error from the input on."""
        return self._db(1)

    @property
    def born_db(self) -> float:
        """SQNR of the segment alone."""
        return self._db(2)

    @property
    def explained_db(self) -> float:
        """The SQNR that is allowed."""
        if None not in self._sums:
            return 0.0
        whole = self._sums[None]
        return -_decibels(self._allowed(whole)[0], whole[0, 0])

    def _db(self, row: int) -> float:
        if self._broken or None not in self._sums:
            return -math.inf
        return -_decibels(self._sums[None][row, 0], self._sums[None][0, 0])

    @property
    def suspect(self) -> bool:
        """Whether rounding does not explain it."""
        if self._is_suspect is None:
            self._is_suspect = self._find_out()
        return self._is_suspect

    def _find_out(self) -> bool:
        if self._broken:
            return True
        whole = self._sums[None]
        if whole[2, 0] > self._allowed(whole)[0]:
            return True
        coarse = whole[3, 0] > COARSE * whole[0, 0] or self._integer
        for axis, sums in self._sums.items():
            if axis is None:
                continue
            off = sums[2] > self._allowed(sums)
            if coarse:
                off &= (sums[2] > LOST * sums[0]) & (sums[2] > self._share(sums))
            if off.any():
                return True
        return self.grave(lossy=True) is not None

    def grave(self, *, lossy: bool) -> Place | None:
        """The place that is gravely off, or None; `lossy`: some part of the candidate is in other number formats than float32."""
        if self._broken:
            return Place(None, 0, math.inf)
        whole = self._sums[None]
        if not lossy:
            exact = whole[2, 0] <= EXACT * whole[0, 0] and not any(
                (s[2] > self._allowed(s)).any() for s in self._sums.values()
            )
            return None if exact or self._is_spread() else self._largest()
        worst, found = 1.0, None
        for axis, sums in self._sums.items():
            error = self._without_constants() if axis is None else _without_constant(sums)
            allowed = self._allowed(sums)
            floor = np.minimum(FLOOR * sums[0], BEYOND * allowed)
            least = np.maximum.reduce([MARGIN * allowed, floor, self._share(sums)])
            ratio = np.divide(error, least, out=np.zeros_like(error), where=least > 0)
            index = int(np.argmax(ratio))
            if ratio[index] > worst:
                worst, found = float(ratio[index]), Place(axis, index, float(sums[2, index]))
        return found

    def _largest(self) -> Place:
        """The channel with the largest part of its signal lost."""
        worst, found = 0.0, Place(None, 0, float(self._sums[None][2, 0]))
        for axis, sums in self._sums.items():
            ratio = np.divide(sums[2], self._allowed(sums), out=np.zeros_like(sums[2]), where=sums[2] > 0)
            if axis is not None and ratio.max() > worst:
                index = int(np.argmax(ratio))
                worst, found = float(ratio[index]), Place(axis, index, float(sums[2, index]))
        return found

    def _is_spread(self) -> bool:
        """Whether the error is small in every channel, and not that of one channel."""
        whole = self._sums[None]
        kept = self._share(whole)
        for axis, sums in self._sums.items():
            if (sums[2] > np.maximum(SPREAD * sums[0], kept / max(whole[4, 0], 1) * sums[4])).any():
                return False
            if axis is not None and sums.shape[1] >= CHANNELS and sums[2].max() > HELD * whole[2, 0]:
                return False
        return True

    def _without_constants(self) -> Numbers:
        """The born error of all, a constant of each channel aside, along the axis where that says most."""
        sums = [_without_constant(s).sum() for axis, s in self._sums.items() if axis is not None]
        return np.asarray([min(sums, default=float(_without_constant(self._sums[None])[0]))])

    def _share(self, sums: Numbers) -> Numbers:
        """What is allowed of the whole value, by the number of elements."""
        whole = self._sums[None]
        return np.asarray(self._allowed(whole)[0] / max(whole[4, 0], 1) * sums[4])

    def _allowed(self, sums: Numbers) -> Numbers:
        whole = self._sums[None]
        mean = whole[0, 0] / max(whole[4, 0], 1)
        few = np.divide(sums[5], sums[3] ** 2, out=np.zeros_like(sums[5]), where=sums[3] > 0)
        allowed = ROUNDING * sums[3] * (1 + LUCK * few) + self._exact * sums[0] + TINY * mean * sums[4]
        return np.asarray(np.maximum(allowed, INTEGER * sums[0]) if self._integer else allowed)


def _differences(a: Array, c: Array, s: Array, t: Array) -> tuple[list[Array], Array | None, bool]:
    """The original and the gathered, born and rounding errors, masks left out; which elements count (None: all); whether the masks are alike."""
    if all(x.size == 0 or (x.max() <= MASK and x.min() >= -MASK) for x in (a, c, s, t)):
        return [a, a - c, a - s, t - s], None, True
    sound = [np.isfinite(x) & (np.abs(x) <= MASK) for x in (a, c, s, t)]
    counted = sound[0] & sound[2]
    alike = counted | (a == s) | (np.isnan(a) & np.isnan(s)) | (np.isfinite(a) & (np.abs(a - s) <= NEAR * np.abs(a)))
    alike |= (np.abs(a) > MASK) & (np.abs(s) >= SMALLEST_MASK) & (np.sign(a) == np.sign(s))
    errors = [(a, counted), (a - c, counted & sound[1]), (a - s, counted), (t - s, counted & sound[3])]
    return [np.where(places, x, 0.0) for x, places in errors], counted, bool(alike.all())


def _sums(rows: Sequence[Array], counted: Array | None) -> Numbers:
    """All sums, of elements of one index along axis 1 and one along the last axis: [rows, axis 1, last axis]."""
    a, gathered, born, rounding = (_matrices(x) for x in rows)
    fourth = np.square(rounding)
    pairs = ((a, a), (gathered, gathered), (born, born), (rounding, rounding))
    squares = [np.einsum("ncml,ncml->cl", x, y) for x, y in (*pairs, (fourth, fourth))]
    full = np.full(squares[0].shape, a.shape[0] * a.shape[2], np.float64)
    count = full if counted is None else _matrices(counted).sum((0, 2))
    return np.stack([*squares[:4], count, squares[4], born.sum((0, 2))]).astype(np.float64)


def _matrices(x: Array) -> Array:
    """As [leading axis, axis 1, what lies between, last axis]."""
    if x.ndim <= 1:
        return x.reshape(-1, 1, 1, 1)
    if x.ndim == 2:
        return x.reshape(x.shape[0], 1, 1, x.shape[1])
    return x.reshape(x.shape[0], x.shape[1], math.prod(x.shape[2:-1]), x.shape[-1])


def _without_constant(sums: Numbers) -> Numbers:
    """The born error of channels, each less a constant; not in channels of one element, where a constant is all there is."""
    count = np.maximum(sums[4], 1)
    return np.asarray(np.where(count > 1, np.maximum(sums[2] - sums[6] ** 2 / count, 0), sums[2]))


def _decibels(error: float, signal: float) -> float:
    """10 log10(error / signal)."""
    if error == 0:
        return -math.inf
    return math.inf if signal == 0 else 10 * math.log10(error / signal)
