"""Accuracy of both models, by labels.

Labels are class numbers from 0 (or text, or whole numbers that an output itself gives), one for each decision of an output: [samples] for scores [samples, classes],
[samples, boxes] for [samples, boxes, classes] or [samples, classes, boxes], and so on, axes of size 1 aside. Negative numbers mean "no label" and are left out.

An output fits when
    1. it is of whole numbers or text and has the shape of the labels: every element is a decision; or
    2. it is float and, without its class axis (the given one; else axis 1 or the last, if only one of them fits), has the shape of the labels,
       and no label is too large for it: the arg-max is the decision.
Where outputs of kind 1 fit, those of kind 2 do not count: they need not number their classes as the labels do.

    accuracy   share of decisions that are the label, with its Wilson interval
    drop       (lost - won) / decisions, with the interval of a paired difference (see `intervals`)

Decisions of one sample are not independent, so a sample counts once in the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxzip.errors import DataError
from onnxzip.records import Accuracy
from onnxzip.validate.decisions import Array, class_rows, plain_shape
from onnxzip.validate.intervals import paired_drop, quantile, wilson

Axis = int | None


@dataclass
class _Count:
    """Right decisions along one axis: of both models, of one only; and which samples of each batch are lost."""

    original: int = 0
    candidate: int = 0
    both: int = 0
    total: int = 0
    samples: int = 0
    lost: list[Array] = field(default_factory=list)

    def add(self, before: Array, after: Array, labels: Array, rows: int) -> None:
        """Three flat arrays of decisions, those of one sample together."""
        known = labels >= 0 if labels.dtype.kind in "iu" else np.ones(len(labels), bool)
        right, kept = (before == labels) & known, (after == labels) & known
        self.original += int(right.sum())
        self.candidate += int(kept.sum())
        self.both += int((right & kept).sum())
        self.total += int(known.sum())
        self.samples += int(known.reshape(rows, -1).any(1).sum())
        self.lost.append((right & ~kept).reshape(rows, -1).any(1))


class Labelled:
    """Counts right decisions of one output over batches.

    Args:
        name: the output.
        class_axis: where its classes lie; None: it is found out.

    Attributes:
        misfit: why the labels do not fit this output, or None.
    """

    def __init__(self, name: str, class_axis: Axis = None) -> None:
        self.name, self.misfit = name, None if class_axis is None else f"it has no axis {class_axis} of classes"
        self._class_axis = class_axis
        self._counts: dict[Axis, _Count] | None = None

    def add(self, reference: Any, candidate: Any, labels: Array) -> None:
        """Take one batch in."""
        if self._counts is not None and not self._counts:
            return
        fitting = self._decided(reference, candidate, labels)
        if self._counts is None:
            self._counts = {axis: _Count() for axis in fitting}
        self._counts = {axis: count for axis, count in self._counts.items() if axis in fitting}
        for axis, count in self._counts.items():
            count.add(*fitting[axis], labels.reshape(-1), len(labels))
        if self._counts and not self.fits:
            self.misfit = "every label is negative, which means that there is none"

    def _decided(self, reference: Any, candidate: Any, labels: Array) -> dict[Axis, tuple[Array, Array]]:
        """The decisions of both models, flat, by the axis along which they fit the labels."""
        if not isinstance(reference, np.ndarray) or not reference.ndim:
            self.misfit = "it is no array with a row for each sample"
            return {}
        if not isinstance(candidate, np.ndarray) or (candidate.shape, candidate.dtype) != (
            reference.shape,
            reference.dtype,
        ):
            found = self._decided(reference, reference, labels)
            return {axis: (before, np.full(before.shape, None)) for axis, (before, _) in found.items()}  # never right
        if reference.dtype.kind not in "fV":
            fits = plain_shape(reference.shape) == plain_shape(labels.shape)
            fits = fits and (reference.dtype.kind in "OU") == (labels.dtype.kind in "OU")
            self.misfit = None if fits else f"its shape is {list(reference.shape)}, or it holds another kind of values"
            return {None: (reference.reshape(-1), candidate.reshape(-1))} if fits else {}
        found = {}
        rows_of_both = (class_rows(a, self._class_axis) for a in (reference, candidate))
        for (axis, rows), (_, others) in zip(*rows_of_both, strict=True):
            self._look(found, axis, rows, others, reference.shape, labels)
        if not found and self.misfit is None:
            self.misfit = f"its shape is {list(reference.shape)}, which without a class axis is not that of the labels"
        return found

    def _look(
        self,
        found: dict[Axis, tuple[Array, Array]],
        axis: int,
        rows: Array,
        others: Array,
        shape: tuple[int, ...],
        labels: Array,
    ) -> None:
        whole = list(plain_shape(shape) if self._class_axis is None else shape)
        del whole[axis]
        if plain_shape(tuple(whole)) != plain_shape(labels.shape):
            return
        if labels.dtype.kind not in "iu":
            self.misfit = "it holds scores, whose classes are numbers, not text"
            return
        if (largest := int(labels.max(initial=0))) >= rows.shape[1]:
            self.misfit = f"it has {rows.shape[1]} classes, too few for label {largest} (classes are counted from 0)"
            return
        found[axis] = rows.argmax(1), others.argmax(1)

    @property
    def fits(self) -> bool:
        """Whether there is something that the labels fit, and labels that are not negative."""
        return any(count.total for count in (self._counts or {}).values())

    @property
    def elementwise(self) -> bool:
        """Whether it gives classes itself (kind 1)."""
        return bool(self._counts) and None in (self._counts or {})

    def _count(self) -> _Count:
        counts = self._counts or {}
        if len(counts) != 1:
            raise DataError(
                f"the labels fit output {self.name!r} along axes {', '.join(map(str, counts))}: say where its classes lie (--class-axis)"
            )
        return next(iter(counts.values()))

    @property
    def lost(self) -> list[Array]:
        """Which samples of each batch the original has right and the candidate wrong, bool [rows]."""
        return self._count().lost

    def result(self, confidence: float) -> Accuracy:
        """The figures.

        Raises:
            DataError: it is not clear where the classes lie.
        """
        c, z = self._count(), quantile(confidence)
        n = min(c.samples, c.total)
        before, after = c.original / max(c.total, 1), c.candidate / max(c.total, 1)
        lost, won = c.original - c.both, c.candidate - c.both
        low, high = wilson(before * n, n, z)
        candidate_low, candidate_high = wilson(after * n, n, z)
        share = n / max(c.total, 1)
        drop_low, drop_high = paired_drop(lost * share, won * share, n, z)
        return Accuracy(
            output=self.name,
            original=before,
            original_low=low,
            original_high=high,
            candidate=after,
            candidate_low=candidate_low,
            candidate_high=candidate_high,
            drop=before - after,
            drop_low=drop_low,
            drop_high=drop_high,
            decisions=c.total,
            samples=c.samples,
            lost=lost,
            won=won,
        )


def fitting(outputs: Sequence[Labelled]) -> tuple[Labelled, ...]:
    """The outputs whose accuracy counts.

    Raises:
        DataError: the labels fit none; the message says why.
    """
    found = [o for o in outputs if o.fits]
    if not found:
        reasons = "; ".join(f"output {o.name!r}: {o.misfit}" for o in outputs)
        raise DataError(
            f"the labels fit no output: {reasons}. Give class numbers, one for each decision, or a metric of your own (--metric)."
        )
    return tuple([o for o in found if o.elementwise] or found)


def as_labels(array: Array, name: str, rows: int) -> Array:
    """Labels as whole numbers or text, [rows, ...].

    Raises:
        DataError: they are of another kind, or not one for each sample.
    """
    if not array.ndim or len(array) != rows:
        raise DataError(
            f"labels {name!r} have shape {list(array.shape)}, but a batch has {rows} samples: give one for each sample"
        )
    if array.dtype.kind in "iuOU":
        return array
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and (array == np.rint(array)).all()):
        return array.astype(np.int64)
    raise DataError(
        f"labels {name!r} are {array.dtype}, not class numbers. Give whole numbers, or a metric of your own (--metric)."
    )
