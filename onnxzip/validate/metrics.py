"""How an output of the candidate differs from the original's: streamed over batches, one accumulator an output.

With r the original's elements and c the candidate's, over all samples:

    max abs error   max |r - c|
    max rel error   max |r - c| / max |r|
    SQNR            10 log10(Σ r² / Σ (r - c)²)  in dB
    cosine          Σ r c / sqrt(Σ r² Σ c²)
    agreement       share of equal decisions (see `decisions`), with its Wilson score interval (see `intervals`)
    balanced        min(mean over classes k of n_kk / r_k, mean over classes k of n_kk / c_k), where r_k and c_k are how often r and c
                    decide for k (classes that never are, aside), and n_kk how often both do

    outliers        elements with |r - c| > 1e-3 |r| + 1e-4 s, where s is the smaller of the two root mean squares of r over
                    the slices that the element lies in: its index along axis 1, and along the last axis

The SQNR of an output whose parts differ in size (boxes in pixels beside scores, masks of -1e9 beside logits) says nothing about
its small parts; the outliers do. Elements beyond 1e8 are masks: they must be equal within 1e-3 and do not count in s.

An element that is NaN or infinite on both sides alike is equal; on one side only it is an infinite error.

Sums are kept sample by sample, so that intervals can be bootstrapped and the worst samples named. An output that has no row for each sample of its
batch is one unit a batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxzip.records import OutputMetrics
from onnxzip.validate.decisions import Array, Decisions, class_rows, plain_shape
from onnxzip.validate.intervals import FEWEST, quantile, resampled, spread, wilson

_MASK = 1e8

Axis = int | None
"""Along which axis decisions are taken; None: every element of an output of whole numbers or text is one."""


@dataclass
class Unit:
    """One batch of one output: sums of r², (r - c)², c² and r c of each sample, float64 [units, 4], and which of its decisions differ.

    Attributes:
        samples: how many samples the batch has.
        sums: one row a sample, or one row for the whole batch.
        wrong: share of decisions that differ, by axis, [units].
    """

    samples: int
    sums: Array
    wrong: dict[Axis, Array] = field(default_factory=dict)


class Accumulator:
    """Collects one output over batches. Memory does not grow with the number of elements (a few numbers a sample, two a decision aside).

    Args:
        name: the output.
        class_axis: where its classes lie; None: it is found out.
    """

    def __init__(self, name: str, class_axis: int | None = None) -> None:
        self.name = name
        self.units: list[Unit] = []
        self.is_float = False
        self._class_axis = class_axis
        self._max_error = self._max_value = 0.0
        self._outliers = 0
        self._elements = Decisions()
        self._axes: dict[int, Decisions] = {}
        self._samples_by_classes = True

    def add(self, reference: Any, candidate: Any, samples: int | None = None) -> None:
        """Take one batch in: arrays, or sequences and maps of them; `samples` is how many samples it has (None: its leading axis)."""
        left, right = list(leaves(reference)), list(leaves(candidate))
        if samples is None:
            samples = len(left[0]) if left and left[0].ndim else 1
        by_rows = samples > 0 and bool(left) and all(a.ndim and len(a) == samples for a in left)
        unit = Unit(samples, np.zeros((samples if by_rows else 1, 4)))
        self.units.append(unit)
        if len(left) != len(right):
            return self._refuse(unit)
        for r, c in zip(left, right, strict=True):
            self._add_array(r, c, unit)
        return None

    def _refuse(self, unit: Unit) -> None:
        """What cannot be compared is infinitely wrong."""
        self._max_error = math.inf
        unit.sums[:, 1] = math.inf

    def _add_array(self, reference: Array, candidate: Array, unit: Unit) -> None:
        if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
            return self._refuse(unit)
        if reference.dtype.kind in "fV":
            return self._add_float(reference.astype(np.float64), candidate.astype(np.float64), unit)
        wrong = np.atleast_1d(reference != candidate)
        self._elements.equal += int(wrong.size - wrong.sum())
        self._elements.total += wrong.size
        _note(unit, None, wrong)
        if wrong.any() and reference.dtype.kind in "iu":
            wide = np.abs(reference.astype(np.float64) - candidate.astype(np.float64))
            self._max_error = max(self._max_error, float(wide.max()))
        elif wrong.any():
            self._max_error = max(self._max_error, 1.0)
        return None

    def _add_float(self, reference: Array, candidate: Array, unit: Unit) -> None:
        self.is_float = True
        finite = np.isfinite(reference) & np.isfinite(candidate)
        alike = (reference == candidate) | (np.isnan(reference) & np.isnan(candidate))
        rows = len(unit.sums)
        r, c = (np.where(finite, a, 0.0).reshape(rows, -1) for a in (reference, candidate))
        error = r - c
        pairs = (r, r), (error, error), (c, c), (r, c)
        unit.sums += np.stack([np.einsum("ij,ij->i", a, b) for a, b in pairs], axis=1)
        if not (finite | alike).all():
            unit.sums[~(finite | alike).reshape(rows, -1).all(1), 1] = math.inf
            self._max_error = math.inf
            return
        if finite.all():
            self._decide(reference, candidate, unit)
        self._outliers += _outliers(reference, candidate, finite)
        self._max_error = max(self._max_error, float(np.abs(error).max(initial=0)))
        self._max_value = max(self._max_value, float(np.abs(r).max(initial=0)))

    def _decide(self, reference: Array, candidate: Array, unit: Unit) -> None:
        if len(unit.sums) > 1 and self._class_axis in (0, -reference.ndim):
            return  # that axis is the samples'
        self._samples_by_classes = self._samples_by_classes and len(plain_shape(reference.shape)) == 2
        pairs = zip(class_rows(reference, self._class_axis), class_rows(candidate, self._class_axis), strict=True)
        for (axis, rows), (_, others) in pairs:
            decisions = self._axes.setdefault(axis, Decisions())
            _note(unit, axis, decisions.add(rows, others))
            self._samples_by_classes = self._samples_by_classes and rows.shape[1] >= 3
            if self._samples_by_classes:
                decisions.add_gaps(rows)

    @property
    def decided(self) -> tuple[Axis, Decisions] | None:
        """Along which axis decisions are taken, and these; None when this output takes none."""
        if not self.is_float:
            return (None, self._elements) if self._elements.total else None
        for axis, decisions in self._axes.items():
            if decisions.probabilities or self._class_axis is not None:
                return axis, decisions
        if self._samples_by_classes and 1 in self._axes and self._axes[1].stand_out:
            return 1, self._axes[1]
        return None

    @property
    def mean_signal(self) -> float:
        """The mean of a sample's sum of squares in the original."""
        sums = [u.sums[:, 0] for u in self.units]
        return float(np.concatenate(sums).mean()) if sums else 0.0

    @property
    def samples(self) -> int:
        """How many samples were taken in."""
        return sum(u.samples for u in self.units)

    def result(self, confidence: float | None = None) -> OutputMetrics:
        """The figures over everything added so far; with the intervals of SQNR and cosine where a confidence is given."""
        axis, decisions = self.decided or (None, None)
        trials = min(decisions.total, self.samples) if decisions else 0  # those of one sample are not independent
        share = decisions.equal / decisions.total if decisions else None
        low, high = (None, None) if share is None else wilson(share * trials, trials, quantile(confidence or 0.95))
        sums = np.concatenate([u.sums for u in self.units]) if self.units else np.zeros((0, 4))
        total = sums.sum(0).tolist()
        return OutputMetrics(
            name=self.name,
            max_abs_error=self._max_error,
            max_rel_error=_ratio(self._max_error, self._max_value),
            sqnr_db=_decibels(*total) if self.is_float else None,
            cosine=_cosine(*total) if self.is_float and total[0] > 0 and total[2] > 0 else None,
            outliers=self._outliers,
            agreement=share,
            agreement_low=low,
            agreement_high=high,
            decisions=decisions.total if decisions else 0,
            balanced=decisions.balanced if decisions else None,
            class_axis=axis,
            **(self._intervals(sums, confidence) if confidence is not None else {}),
        )

    def _intervals(self, sums: Array, confidence: float) -> dict[str, float]:
        if not self.is_float or len(sums) < FEWEST or not np.isfinite(sums).all():
            return {}
        draws = resampled(sums)
        sqnr, cosine = (spread([figure(*d) for d in draws.tolist()], confidence) for figure in (_decibels, _cosine))
        return {"sqnr_low": sqnr[0], "sqnr_high": sqnr[1], "cosine_low": cosine[0], "cosine_high": cosine[1]}


def _note(unit: Unit, key: Axis, wrong: Array) -> None:
    """Remember the share of a batch's decisions that differ, for each sample where they lie sample by sample."""
    rows = len(unit.sums)
    if wrong.size:
        share = wrong.reshape(rows, -1).mean(1) if key != 0 else np.full(rows, wrong.mean())
        unit.wrong[key] = np.maximum(unit.wrong.get(key, 0.0), share)


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


def leaves(value: Any) -> Iterator[np.ndarray[Any, Any]]:
    """The arrays inside an output: a tensor, a sequence, a map, or None for an empty optional."""
    if isinstance(value, dict):
        yield np.asarray(sorted(value))
        for key in sorted(value):
            yield from leaves(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield np.asarray(value)


def _decibels(signal: float, noise: float, *_: float) -> float:
    if noise == 0:
        return math.inf
    if signal == 0 or math.isinf(noise):
        return -math.inf
    return 10 * math.log10(signal / noise)


def _cosine(signal: float, _: float, energy: float, product: float) -> float:
    norm = math.sqrt(signal) * math.sqrt(energy)
    return product / norm if norm > 0 else math.nan


def _ratio(error: float, scale: float) -> float:
    if error == 0:
        return 0.0
    return error / scale if scale > 0 else math.inf
