"""Decisions of one output along one axis: how many are equal, and whether the numbers there look like class scores.

What is a decision? Whole-number outputs: every element. Float outputs whose class axis is given: the arg-max along it. Other float outputs, where they look
like class scores: the arg-max along the class axis. An output looks like class scores when, along axis 1 or the last axis (axes of size 1 aside),
    1. its rows are probabilities (not negative, sum 1) or their logarithms; or
    2. it is [samples, classes] with at least 3 classes and a winner that stands out: the median gap between the best and
       the second score exceeds half of a row's standard deviation. (For n independent normal numbers, as in an embedding,
       that gap is about σ / sqrt(2 ln n): .4 σ at 20 numbers, .3 σ at 400.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SUM_TOLERANCE = 1e-2
_GAP = 0.5

Array = np.ndarray[Any, Any]


@dataclass
class Decisions:
    """Arg-max decisions along one axis, and whether the numbers there look like class scores."""

    equal: int = 0
    total: int = 0
    by_class: Array | None = None
    probabilities: bool = True
    gaps: list[Array] = field(default_factory=list)

    def add(self, reference: Array, candidate: Array) -> Array:
        """Take rows in, both [rows, classes]. Returns which of the decisions differ, bool [rows]."""
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
        return np.asarray(left != right)

    @property
    def balanced(self) -> float | None:
        """Agreement averaged over classes, the smaller one of both directions."""
        if self.by_class is None:
            return None
        *sides, both = self.by_class
        return min(float((both[side > 0] / side[side > 0]).mean()) for side in sides)

    def add_gaps(self, reference: Array) -> None:
        """Remember how far the winner of each row stands out, in standard deviations of the row."""
        top = np.partition(reference, -2, axis=1)[:, -2:]
        spread = reference.std(1)
        self.gaps.append(np.divide(top[:, 1] - top[:, 0], spread, out=np.zeros(len(top)), where=spread > 0))

    @property
    def stand_out(self) -> bool:
        """Whether the winners stand out (case 2)."""
        return bool(self.gaps) and float(np.median(np.concatenate(self.gaps))) > _GAP


def _are_probabilities(rows: Array) -> bool:
    if rows.max(initial=-np.inf) <= 0:  # logarithms of probabilities
        rows = np.exp(rows)
    return bool(rows.min(initial=0) >= 0 and np.abs(rows.sum(1) - 1).max(initial=0) <= _SUM_TOLERANCE)


def plain_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its axes of size 1, the first aside.

    >>> plain_shape((1, 10, 1, 1))
    (1, 10)
    """
    return (*shape[:1], *(d for d in shape[1:] if d != 1))


def class_rows(array: Array, class_axis: int | None) -> Iterator[tuple[int, Array]]:
    """The axes along which classes may lie, and the numbers along them, [rows, classes]; rows of one sample are neighbours.

    Args:
        array: [samples, ...] of any rank.
        class_axis: the only one to look at, in the array as it is; None: axis 1 and the last one (called -1), axes of size 1 aside.
    """
    if class_axis is not None:
        if -array.ndim <= class_axis < array.ndim and array.shape[class_axis] >= 2 and array.size:
            yield class_axis, np.moveaxis(array, class_axis, -1).reshape(-1, array.shape[class_axis])
        return
    if array.ndim < 2:
        return
    shape = plain_shape(array.shape)
    plain = array.reshape(shape)
    for axis in sorted({1, len(shape) - 1} - {0}) if len(shape) > 1 else ():
        if shape[axis] >= 2 and array.size:
            yield 1 if axis == 1 else -1, np.moveaxis(plain, axis, -1).reshape(-1, shape[axis])
