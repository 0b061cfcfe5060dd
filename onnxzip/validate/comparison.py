"""A candidate beside its original, over all batches: the figures of each output, accuracy, the user's metric, the worst samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxzip.config import Budget
from onnxzip.errors import DataError, UsageError
from onnxzip.records import Accuracy, OutputMetrics, UserMetric, WorstSample
from onnxzip.validate.accuracy import Labelled, as_labels, fitting
from onnxzip.validate.decisions import Array
from onnxzip.validate.metrics import Accumulator
from onnxzip.validate.user_metric import Collected
from onnxzip.validate.worst import worst_samples

CONFIDENCE = 0.95
"""Of intervals, unless the budget names another."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found; the fields are those of a `Verdict`."""

    outputs: tuple[OutputMetrics, ...]
    accuracy: tuple[Accuracy, ...] = ()
    metric: UserMetric | None = None
    worst: tuple[WorstSample, ...] = ()


class Comparing:
    """Collects a comparison batch by batch.

    Args:
        names: the outputs of the original.
        budget: where classes lie, the metric, the confidence of intervals.
        labels: name of the labels among the arrays beside the inputs; None: there are none.

    Raises:
        UsageError: there is no such metric.
    """

    def __init__(self, names: Sequence[str], budget: Budget, labels: str | None) -> None:
        self._budget, self._labels = budget, labels
        self._outputs = [Accumulator(n, budget.class_axis) for n in names]
        self._labelled = [Labelled(n, budget.class_axis) for n in names] if labels is not None else []
        self._metric = None if budget.metric is None else Collected(budget.metric)
        self._positions: list[Array] = []

    def add(
        self, expected: Mapping[str, Any], actual: Mapping[str, Any], beside: Mapping[str, Array], positions: Array
    ) -> None:
        """Take one batch in: the outputs of both, the arrays beside the inputs, and where its samples stand in the data.

        Raises:
            DataError: the labels are no labels.
        """
        self._positions.append(positions)
        for output in self._outputs:
            output.add(expected[output.name], actual[output.name], len(positions))
        labels = None if self._labels is None else beside[self._labels]
        if labels is not None and self._labelled:
            self._count(expected, actual, labels, len(positions))
        if self._metric is not None:
            others = {n: a for n, a in beside.items() if n != self._labels}
            self._metric.add(dict(expected), dict(actual), labels, others)

    def _count(self, expected: Mapping[str, Any], actual: Mapping[str, Any], labels: Array, rows: int) -> None:
        try:
            classes = as_labels(labels, str(self._labels), rows)
        except DataError:
            if self._needs_classes:
                raise
            self._labelled = []
            return
        for output in self._labelled:
            output.add(expected[output.name], actual[output.name], classes)

    @property
    def _needs_classes(self) -> bool:
        """Labels that are there for a metric of the user may be anything; accuracy is told where they happen to be classes."""
        return self._budget.metric is None or self._budget.max_accuracy_drop is not None

    def result(self, seed: int = 0) -> Comparison:
        """The figures.

        Raises:
            DataError: the labels fit no output.
            UsageError: no output has the class axis, or the metric fails.
        """
        axis, confidence = self._budget.class_axis, self._budget.confidence or CONFIDENCE
        outputs = tuple(o.result(confidence) for o in self._outputs)
        if axis is not None and all(o.class_axis is None and np.isfinite(o.max_abs_error) for o in outputs):
            raise UsageError(
                f"no float output has classes along axis {axis}: leave class_axis away, or name another axis"
            )
        fits = self._needs_classes or any(o.fits for o in self._labelled)
        scored = fitting(self._labelled) if self._labelled and fits else ()
        lost = [np.any(parts, axis=0) for parts in zip(*(s.lost for s in scored), strict=True)] if scored else None
        return Comparison(
            outputs=outputs,
            accuracy=tuple(s.result(confidence) for s in scored),
            metric=None if self._metric is None else self._metric.result(self._budget.confidence, seed),
            worst=worst_samples(self._outputs, self._positions, lost),
        )
