"""How an output of the candidate differs from the original's: streamed over batches, one accumulator an output.

With r the original's elements and c the candidate's, over all samples:

    max abs error   max |r - c|
    max rel error   max |r - c| / max |r|
    SQNR            10 log10(Σ r² / Σ (r - c)²)  in dB
    cosine          Σ r c / sqrt(Σ r² Σ c²)
    agreement       share of equal decisions, with its 95 % Wilson score interval (Wilson, JASA 22, 1927)
    balanced        min(mean over classes k of n_kk / r_k, mean over classes k of n_kk / c_k), where r_k and c_k are how often r and c
                    decide for k (classes that never are, aside), and n_kk how often both do

    outliers        elements with |r - c| > 1e-3 |r| + 1e-4 s, where s is the smaller of the two root mean squares of r over
                    the slices that the element lies in: its index along axis 1, and along the last axis

The SQNR of an output whose parts differ in size (boxes in pixels beside scores, masks of -1e9 beside logits) says nothing about
its small parts; the outliers do. Elements beyond 1e8 are masks: they must be equal within 1e-3 and do not count in s.

An element that is NaN or infinite on both sides alike is equal; on one side only it is an infinite error.

What is a decision? Whole-number outputs: every element. Float outputs that look like class scores: the arg-max along the
class axis. An output looks like class scores when, along axis 1 or the last axis (axes of size 1 aside),
    1. its rows are probabilities (not negative, sum 1) or their logarithms; or
    2. it is [samples, classes] with at least 3 classes and a winner that stands out: the median gap between the best and
       the second score exceeds half of a row's standard deviation. (For n independent normal numbers, as in an embedding,
       that gap is about σ / sqrt(2 ln n): .4 σ at 20 numbers, .3 σ at 400.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxzip.records import OutputMetrics

_SUM_TOLERANCE = 1e-2
_GAP = 0.5
_MASK = 1e8
_Z95 = 1.959964


def wilson(successes: float, trials: int, z: float = _Z95) -> tuple[float, float]:
    """The Wilson score interval of a share, of 95 % by default; `z` is the normal quantile of each side.

    >>> tuple(round(b, 3) for b in wilson(95, 100))
    (0.888, 0.978)
    """
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass
class _Decisions:
    """Arg-max decisions along one axis, and whether the numbers there look like class scores."""

    equal: int = 0
    total: int = 0
    by_class: np.ndarray[Any, Any] | None = None
    probabilities: bool = True
    gaps: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def add(self, reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> None:
        """Both [rows, classes]."""
        left, right = reference.argmax(1), candidate.argmax(1)
        both = left[left == right]
        self.equal += len(both)
        self.total += len(reference)
        before = np.zeros((3, 0), np.int64) if self.by_class is None else self.by_class
        size = max(reference.shape[1], before.shape[1])  # an axis of ragged batches has no fixed number of classes
        counts = np.stack([np.bincount(x, minlength=size) for x in (left, right, both)])
        counts[:, : before.shape[1]] += before
        self.by_class = counts
        self.probabilities = self.probabilities and _are_probabilities(reference)

    @property
    def balanced(self) -> float | None:
        """Agreement averaged over classes, the smaller one of both directions."""
        if self.by_class is None:
            return None
        *sides, both = self.by_class
        return min(float((both[side > 0] / side[side > 0]).mean()) for side in sides)

    def add_gaps(self, reference: np.ndarray[Any, Any]) -> None:
        """Remember how far the winner of each row stands out, in standard deviations of the row."""
        top = np.partition(reference, -2, axis=1)[:, -2:]
        spread = reference.std(1)
        self.gaps.append(np.divide(top[:, 1] - top[:, 0], spread, out=np.zeros(len(top)), where=spread > 0))

    @property
    def stand_out(self) -> bool:
        return bool(self.gaps) and float(np.median(np.concatenate(self.gaps))) > _GAP


def _are_probabilities(rows: np.ndarray[Any, Any]) -> bool:
    if rows.max(initial=-np.inf) <= 0:  # logarithms of probabilities
        rows = np.exp(rows)
    return bool(rows.min(initial=0) >= 0 and np.abs(rows.sum(1) - 1).max(initial=0) <= _SUM_TOLERANCE)


class Accumulator:
    """Collects one output over batches. Memory does not grow with the number of elements (two numbers a decision aside)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._signal = self._noise = self._energy = self._product = 0.0
        self._max_error = self._max_value = 0.0
        self._float = False
        self._outliers = 0
        self._equal = self._elements = 0
        self._axes: dict[int, _Decisions] = {}
        self._samples_by_classes = True

    def add(self, reference: Any, candidate: Any) -> None:
        """Take one batch in: arrays, or sequences and maps of them."""
        left, right = list(_leaves(reference)), list(_leaves(candidate))
        if len(left) != len(right):
            self._max_error = math.inf
            return
        for r, c in zip(left, right, strict=True):
            self._add_array(r, c)

    def _add_array(self, reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> None:
        if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
            self._max_error = math.inf
        elif reference.dtype.kind in "fV":
            self._add_float(reference.astype(np.float64), candidate.astype(np.float64))
        else:
            same = int((reference == candidate).sum())
            self._equal, self._elements = self._equal + same, self._elements + reference.size
            if same < reference.size and reference.dtype.kind in "iu":
                wide = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
                self._max_error = max(self._max_error, float(wide.max()))
            elif same < reference.size:
                self._max_error = max(self._max_error, 1.0)

    def _add_float(self, reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> None:
        self._float = True
        finite = np.isfinite(reference) & np.isfinite(candidate)
        alike = (reference == candidate) | (np.isnan(reference) & np.isnan(candidate))
        if not (finite | alike).all():
            self._max_error, self._noise = math.inf, math.inf
            return
        if reference.ndim >= 2 and finite.all():
            self._decide(reference, candidate)
        r, c = reference[finite], candidate[finite]
        error = r - c
        self._outliers += _outliers(reference, candidate, finite)
        self._signal += float(r @ r)
        self._energy += float(c @ c)
        self._product += float(r @ c)
        self._noise += float(error @ error)
        self._max_error = max(self._max_error, float(np.abs(error).max(initial=0)))
        self._max_value = max(self._max_value, float(np.abs(r).max(initial=0)))

    def _decide(self, reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> None:
        shape = (reference.shape[0], *(d for d in reference.shape[1:] if d != 1))
        r, c = reference.reshape(shape), candidate.reshape(shape)
        self._samples_by_classes = self._samples_by_classes and len(shape) == 2
        for axis in {1, len(shape) - 1} - {0}:
            classes = shape[axis] if len(shape) > 1 else 0
            if classes >= 2 and r.size:
                rows = [np.moveaxis(a, axis, -1).reshape(-1, classes) for a in (r, c)]
                decisions = self._axes.setdefault(1 if axis == 1 else -1, _Decisions())
                decisions.add(*rows)
                self._samples_by_classes = self._samples_by_classes and classes >= 3
                if self._samples_by_classes:
                    decisions.add_gaps(rows[0])

    def _decisions(self) -> _Decisions | None:
        """What was decided, or None when this output takes no decisions."""
        if not self._float:
            return _Decisions(self._equal, self._elements) if self._elements else None
        for decisions in self._axes.values():
            if decisions.probabilities:
                return decisions
        if self._samples_by_classes and 1 in self._axes and self._axes[1].stand_out:
            return self._axes[1]
        return None

    def result(self) -> OutputMetrics:
        """The figures over everything added so far."""
        decisions = self._decisions()
        low, high = wilson(decisions.equal, decisions.total) if decisions else (None, None)
        norm = math.sqrt(self._signal) * math.sqrt(self._energy)
        return OutputMetrics(
            name=self._name,
            max_abs_error=self._max_error,
            max_rel_error=_ratio(self._max_error, self._max_value),
            sqnr_db=_decibels(self._signal, self._noise) if self._float else None,
            cosine=self._product / norm if self._float and norm > 0 else None,
            outliers=self._outliers,
            agreement=decisions.equal / decisions.total if decisions else None,
            agreement_low=low,
            agreement_high=high,
            decisions=decisions.total if decisions else 0,
            balanced=decisions.balanced if decisions else None,
        )


def _outliers(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any], finite: np.ndarray[Any, Any]) -> int:
    error = np.abs(np.where(finite, reference, 0.0) - np.where(finite, candidate, 0.0))
    own = np.where(finite, np.abs(reference), 0.0)
    suspects = error > 1e-3 * own
    if not suspects.any():
        return 0
    ordinary = own <= _MASK
    scale = np.full(reference.shape, np.inf)
    for axis in {min(1, reference.ndim - 1), reference.ndim - 1} if reference.ndim else set():
        others = tuple(i for i in range(reference.ndim) if i != axis)
        squares = np.where(ordinary, own, 0.0) ** 2
        mean = squares.sum(others, keepdims=True) / np.maximum(ordinary.sum(others, keepdims=True), 1)
        scale = np.minimum(scale, np.sqrt(mean))
    if not reference.ndim:
        scale = own
    return int((error > 1e-3 * own + 1e-4 * scale).sum())


def _leaves(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays inside an output: a tensor, a sequence, a map, or None for an empty optional."""
    if isinstance(value, dict):
        yield np.asarray(sorted(value))
        for key in sorted(value):
            yield from _leaves(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield np.asarray(value)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if signal == 0 or math.isinf(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)


def _ratio(error: float, scale: float) -> float:
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else math.inf
