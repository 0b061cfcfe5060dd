"""The error that is born in a segment, beside the error that rounding explains there, per channel and as a whole.

With a the original's value, s what the candidate's segment makes of the original's values, t what its twin makes of them (`segments`), c the
candidate's own value; sums over all elements, or over those of one channel:

    signal A = Σ a²     gathered G = Σ (a - c)²     born B = Σ (a - s)²     rounding R = Σ (t - s)²

    allowed  L = 2 R (1 + 10 / n) + 10^-9 A + 10^-12 (A of the whole value, by the number of elements)      (90 dB, as exact rewriting keeps)

n = R² / Σ (t - s)^4 says how many elements share the rounding: where a few have nearly all of it, it is by luck what it is.

Elements beyond 1e8 are masks: they must be equal within 1e-3 and do not count.

A segment is suspect where B > L as a whole, or in a channel: along axis 1, or along the last axis. Where rounding is coarse (R above 10^-8 A: codes
of few bits, halves) a channel may be off by its luck with a few codes, so it is suspect only where B > A / 2 too, and where B is more than L of the whole value
by the number of elements: a channel that has lost its numbers (a scale doubled, a sign turned) has B of A or more. Operators that compute in integers without DequantizeLinear have no twin; they are allowed B = A / 10.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from onnxzip.validate.metrics import Accumulator
from onnxzip.validate.taps import Numbers

Array = np.ndarray[Any, Any]

ROUNDING = 2.0
EXACT = 1e-9
TINY = 1e-12
COARSE = 1e-8
LOST = 0.5
INTEGER = 0.1
LUCK = 10.0
MASK, NEAR = 1e8, 1e-3

_ROWS = 6
"""Sums of the signal, of the gathered, born and rounding errors, of the elements, and of the rounding errors to the fourth."""


class Energies:
    """Sums over batches for one float value."""

    def __init__(self, *, integer: bool = False) -> None:
        self._integer = integer
        self._sums: dict[int | None, Numbers] = {}
        self._broken = False

    def add(self, original: Any, gathered: Any, born: Any, twin: Any) -> None:
        """Take in one batch; a value that is not finite alike, or of another shape, has no numbers in common with the original."""
        arrays = [np.asarray(x) for x in (original, gathered, born, twin)]
        if any(x.shape != arrays[0].shape or x.dtype.kind not in "fV" for x in arrays):
            self._broken = True
            return
        a, c, s, t = (x.astype(np.float64) if x.dtype != np.float32 else x for x in arrays)
        with np.errstate(all="ignore"):
            rows, counted, alike = _rows(a, c, s, t)
        self._broken = self._broken or not alike
        folded = [_folded(x) for x in (*rows, counted, rows[3] ** 2)]
        self._take(None, np.stack([f.sum().reshape(1) for f in folded]))
        if a.ndim > 2:
            self._take(1, np.stack([f.sum(1) for f in folded]))
        if a.ndim > 1:
            self._take(-1, np.stack([f.sum(0) for f in folded]))

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
                off &= (sums[2] > LOST * sums[0]) & (sums[2] > self._allowed(whole)[0] / whole[4, 0] * sums[4])
            if off.any():
                return True
        return False

    def _allowed(self, sums: Numbers) -> Numbers:
        whole = self._sums[None]
        mean = whole[0, 0] / max(whole[4, 0], 1)
        few = np.divide(sums[5], sums[3] ** 2, out=np.zeros_like(sums[5]), where=sums[3] > 0)
        allowed = ROUNDING * sums[3] * (1 + LUCK * few) + EXACT * sums[0] + TINY * mean * sums[4]
        return np.asarray(np.maximum(allowed, INTEGER * sums[0]) if self._integer else allowed)


def _rows(a: Array, c: Array, s: Array, t: Array) -> tuple[list[Array], Array, bool]:
    """Squares of the original and of the gathered, born and rounding errors; which elements count; whether the others are alike."""
    sound = [np.isfinite(x) & (np.abs(x) <= MASK) for x in (a, c, s, t)]
    if all(x.all() for x in sound):
        return [np.square(x) for x in (a, a - c, a - s, t - s)], np.ones(a.shape, np.bool_), True
    counted = sound[0] & sound[2]
    alike = counted | (a == s) | (np.isnan(a) & np.isnan(s)) | (np.isfinite(a) & (np.abs(a - s) <= NEAR * np.abs(a)))
    errors = [(a, counted), (a - c, counted & sound[1]), (a - s, counted), (t - s, counted & sound[3])]
    return [np.square(np.where(kept, x, 0.0)) for x, kept in errors], counted, bool(alike.all())


def _folded(x: Array) -> Numbers:
    """Sums over all axes but the second and the last; a matrix."""
    if x.ndim <= 1:
        return np.asarray(x.sum(dtype=np.float64)).reshape(1, 1)
    if x.ndim == 2:
        return np.asarray(x.sum(0, keepdims=True, dtype=np.float64))
    return np.asarray(x.sum((0, *range(2, x.ndim - 1)), dtype=np.float64))


class Opaque:
    """The same for an output that is no float tensor: labels, sequences, maps. Explained where the twin differs as much."""

    def __init__(self, name: str) -> None:
        self._sums = [Accumulator(name) for _ in range(3)]

    def add(self, original: Any, gathered: Any, born: Any, twin: Any) -> None:
        """Take in one batch."""
        for sums, (left, right) in zip(self._sums, ((original, gathered), (original, born), (born, twin)), strict=True):
            sums.add(left, right)

    @property
    def gathered_db(self) -> float | None:
        """SQNR with all error from the input on; None where nothing is float."""
        return self._sums[0].result().sqnr_db

    @property
    def born_db(self) -> float | None:
        """SQNR of the segment alone."""
        return self._sums[1].result().sqnr_db

    @property
    def explained_db(self) -> float | None:
        """The SQNR of the twin."""
        return self._sums[2].result().sqnr_db

    @property
    def suspect(self) -> bool:
        """Whether rounding does not explain it."""
        born, twin = self._sums[1].result(), self._sums[2].result()
        if born.max_abs_error == 0:
            return False
        if math.isinf(born.max_abs_error):
            return True
        if born.sqnr_db is not None:
            return born.sqnr_db < min(-10 * math.log10(EXACT), (twin.sqnr_db or 0.0) - 10 * math.log10(ROUNDING))
        return 1 - (born.agreement or 0.0) > ROUNDING * (1 - (twin.agreement or 0.0))


def _decibels(error: float, signal: float) -> float:
    """10 log10(error / signal)."""
    if error == 0:
        return -math.inf
    return math.inf if signal == 0 else 10 * math.log10(error / signal)
