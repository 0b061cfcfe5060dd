"""The original, run once: its outputs on the comparison data, kept for every candidate, on disk when they are large."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, runtime_checkable

import numpy as np

from onnxzip.config import Budget
from onnxzip.errors import DataError
from onnxzip.progress import SILENT, Observer
from onnxzip.records import OutputMetrics
from onnxzip.runtime import Batch, Session
from onnxzip.validate.comparison import Comparing, Comparison
from onnxzip.validate.metrics import Accumulator

RANDOM = "the original answers the same question differently each time (it draws random numbers)"
"""Why a comparison of numbers says nothing."""

_MEMORY = 4 * 2**20
"""Bytes of outputs that are kept in memory; more goes to a temporary file."""


@runtime_checkable
class Labelled(Protocol):
    """Data that has more beside its batches: `onnxzip.calibrate.data.Data`."""

    def labelled(self) -> Iterator[tuple[Batch, Mapping[str, Any], np.ndarray[Any, Any]]]:
        """Each batch, the arrays beside it by name, and the positions of its samples in the data, int64 [rows]."""


class Reference:
    """Outputs of the original on some data.

    Args:
        session: the original.
        data: re-iterable batches; iterated once here and once for each candidate.
        observer: told of each batch.
        repeat: run the first batch twice, to see whether the answers are the same. False where that is known.

    Attributes:
        samples: how many samples the data has: the leading axis of its first input, summed over the batches.
        batches: how many batches there are.
        deterministic: a second run of the first batch gave the same outputs.
    """

    def __init__(
        self, session: Session, data: Iterable[Batch], observer: Observer = SILENT, *, repeat: bool = True
    ) -> None:
        self._data, self._names = data, [o.name for o in session.outputs]
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 - lives as long as the object
        weakref.finalize(self, self._file.close)
        self.samples = self.batches = 0
        self.deterministic = True
        with observer.step("run the original", _count(data)) as done:
            for batch, _, positions in _labelled(data):
                outputs = session.run(batch)
                if self.batches == 0 and repeat:
                    self.deterministic = _same(outputs, session.run(batch))
                pickle.dump(outputs, self._file, protocol=5)  # our own temporary file: never read from elsewhere
                self.batches += 1
                self.samples += len(positions)
                done()

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Pairs of a batch and the original's outputs on it."""
        return ((batch, outputs) for batch, outputs, _, _ in self._pairs())

    def _pairs(self) -> Iterator[tuple[Batch, dict[str, Any], Mapping[str, Any], np.ndarray[Any, Any]]]:
        self._file.seek(0)
        for number, (batch, beside, positions) in enumerate(_labelled(self._data)):
            if number == self.batches:
                raise DataError("the data has more batches now than at first. It must be the same at every iteration.")
            yield batch, pickle.load(self._file), beside, positions  # noqa: S301 - see above

    def compare(
        self, candidate: Session, observer: Observer = SILENT, label: str = "compare"
    ) -> tuple[OutputMetrics, ...]:
        """The figures of a candidate, one record for each output of the original.

        Raises:
            ModelError: the candidate does not run.
        """
        accumulators = {name: Accumulator(name) for name in self._names}
        with observer.step(label, self.batches) as done:
            for batch, expected in self:
                actual = candidate.run(batch, self._names)
                for name, accumulator in accumulators.items():
                    accumulator.add(expected[name], actual[name])
                done()
        return tuple(a.result() for a in accumulators.values())

    def look(
        self,
        candidate: Session,
        budget: Budget,
        labels: str | None = None,
        *,
        seed: int = 0,
        observer: Observer = SILENT,
    ) -> Comparison:
        """All that a verdict needs to know of a candidate, intervals and worst samples included.

        Args:
            candidate: the model to hold against the original.
            budget: where classes lie, the metric, the confidence.
            labels: name of the labels beside the inputs of the data, or None.
            seed: of the bootstrap of the user's metric.
            observer: told of each batch.

        Raises:
            ModelError: the candidate does not run.
            DataError: the labels do not fit.
            UsageError: the metric fails.
        """
        found = Comparing(self._names, budget, labels)
        with observer.step("compare with the original", self.batches) as done:
            for batch, expected, beside, positions in self._pairs():
                found.add(expected, candidate.run(batch, self._names), beside, positions)
                done()
        return found.result(seed)


def _labelled(data: Iterable[Batch]) -> Iterator[tuple[Batch, Mapping[str, Any], np.ndarray[Any, Any]]]:
    """Batches with what is beside them, and with positions: plain batches are counted."""
    if isinstance(data, Labelled):
        yield from data.labelled()
        return
    first = 0
    for batch in data:
        rows = samples_in(batch)
        yield batch, {}, np.arange(first, first + rows)
        first += rows


def _count(data: Iterable[Batch]) -> int | None:
    """How many batches there are, where that is known."""
    known = getattr(data, "batches", None)
    return known if isinstance(known, int) else len(data) if isinstance(data, Sized) else None


def samples_in(batch: Batch) -> int:
    """How many samples a batch holds: the leading axis of its first input that has one."""
    return int(next((v.shape[0] for v in batch.values() if isinstance(v, np.ndarray) and v.ndim), 1))


def _same(left: Any, right: Any) -> bool:
    """Whether two outputs, sequences and maps included, are equal; NaN equals NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(left == right)
