"""A figure of the user's own, for the original and the candidate.

    metric(outputs, labels, arrays) -> float        (higher is better)

    outputs   dict of name to numpy array: the outputs over all samples, batches one after the other. Where the batches of an output do not fit together
              (another size behind the first axis, no axis at all, sequences, maps), it is the list of them.
    labels    the array that was named as the labels, put together likewise; None where none was
    arrays    dict of name to the other arrays of the data that no input of the model bears, likewise

All of that is held in memory. The interval, for budgets with a confidence, comes from calling the function on samples drawn again (percentile bootstrap), the same
ones for both models; there is none for fewer than 30 samples, where something has no row for each sample, or where the function fails on such a draw.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from onnxzip.errors import UsageError
from onnxzip.named import function, told
from onnxzip.records import UserMetric
from onnxzip.validate.decisions import Array
from onnxzip.validate.intervals import FEWEST, spread

_DRAWS = 200

Columns = dict[str, Any]


def name_of(metric: str | Callable[..., float]) -> str:
    """What a metric is called in reports."""
    return metric if isinstance(metric, str) else getattr(metric, "__qualname__", type(metric).__name__)


class Collected:
    """What a metric is computed from, put together over batches.

    Args:
        metric: `module:function`, or a callable.

    Raises:
        UsageError: there is no such function.
    """

    def __init__(self, metric: str | Callable[..., float]) -> None:
        self.name = name_of(metric)
        self._function = function(metric, UsageError) if isinstance(metric, str) else metric
        self._batches: list[tuple[Columns, Columns, Any, Columns]] = []

    def add(self, expected: Columns, actual: Columns, labels: Array | None, arrays: Mapping[str, Array]) -> None:
        """Take one batch in: the outputs of both, the labels, the other arrays."""
        self._batches.append((expected, actual, labels, dict(arrays)))

    def result(self, confidence: float | None, seed: int = 0) -> UserMetric:
        """The figures of both models; with intervals where a confidence is given.

        Raises:
            UsageError: the function fails, or gives no number.
        """
        before, after, labels, arrays = (_together([b[i] for b in self._batches]) for i in range(4))
        original, candidate = (self._call(outputs, labels, arrays) for outputs in (before, after))
        intervals: dict[str, float] = {}
        if confidence is not None and (rows := _rows((*before.values(), *after.values(), labels, *arrays.values()))):
            intervals = self._intervals(
                (before, after),
                labels,
                arrays,
                np.random.default_rng(seed).integers(0, rows, (_DRAWS, rows)),
                confidence,
            )
        drop = _drop(original, candidate)
        return UserMetric(name=self.name, original=original, candidate=candidate, drop=drop, **intervals)

    def _intervals(
        self, outputs: Sequence[Columns], labels: Any, arrays: Columns, draws: Array, confidence: float
    ) -> dict[str, float]:
        found: list[tuple[float, float]] = []
        for picks in draws:
            drawn = [{n: a[picks] for n, a in columns.items()} for columns in (*outputs, arrays)]
            try:
                first, second = (self._call(o, None if labels is None else labels[picks], drawn[2]) for o in drawn[:2])
            except UsageError:  # some figures do not exist on some draws (one class only): no interval then
                return {}
            found.append((first, second))
        low, high = spread([c for _, c in found], confidence)
        drop_low, drop_high = spread([_drop(o, c) for o, c in found], confidence)
        return {"candidate_low": low, "candidate_high": high, "drop_low": drop_low, "drop_high": drop_high}

    def _call(self, outputs: Columns, labels: Any, arrays: Columns) -> float:
        try:
            value = self._function(*copy.deepcopy((outputs, labels, arrays)))  # the function may change what it gets
        except (Exception, SystemExit) as error:  # code of the user
            raise UsageError(f"metric {self.name} fails: {told(error)}") from error
        try:
            single = np.ndim(value) == 0 and not isinstance(value, str | bytes) and not np.iscomplexobj(value)
            number = float(value) if single else None
        except (TypeError, ValueError):
            number = None
        if number is None:
            raise UsageError(f"metric {self.name} gives {type(value).__name__}, not a number")
        if math.isnan(number):
            raise UsageError(f"metric {self.name} gives NaN, which no limit can judge")
        return number


def _drop(original: float, candidate: float) -> float:
    """How far it falls; infinite figures that are equal do not."""
    return 0.0 if original == candidate else original - candidate


def _together(batches: Sequence[Any]) -> Any:
    """Dicts of arrays, arrays, or None, over all batches."""
    if isinstance(batches[0], dict):
        names = [n for n in batches[0] if all(n in b for b in batches)]
        return {n: _together([b[n] for b in batches]) for n in names}
    if batches[0] is None:
        return None
    if not all(isinstance(b, np.ndarray) and b.ndim for b in batches):
        return list(batches)
    return np.concatenate(batches) if len({b.shape[1:] for b in batches}) == 1 else list(batches)


def _rows(columns: Sequence[Any]) -> int:
    """The rows that all of them share; 0 where they do not, or where there are too few to draw from."""
    there = [c for c in columns if c is not None]
    if not all(isinstance(c, np.ndarray) for c in there):
        return 0
    sizes = {len(c) for c in there}
    rows = sizes.pop() if len(sizes) == 1 else 0
    return rows if rows >= FEWEST else 0
