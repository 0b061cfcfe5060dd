"""The original, run once: its outputs on the comparison data, kept for every candidate, on disk when they are large."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from onnxzip.errors import DataError
from onnxzip.progress import SILENT, Observer
from onnxzip.records import OutputMetrics
from onnxzip.runtime import Batch, Session
from onnxzip.validate.metrics import Accumulator

RANDOM = "the original answers the same question differently each time (it draws random numbers)"
"""Why a comparison of numbers says nothing."""

_MEMORY = 4 * 2**20
"""Bytes of outputs that are kept in memory; more goes to a temporary file."""


class Reference:
    """Outputs of the original on some data.

    Args:
        session: the original.
        data: re-iterable batches; iterated once here and once for each candidate.
        observer: told of each batch.
        repeat: run the first batch twice, to see whether the answers are the same. False where that is known.

    Attributes:
        samples: size of the leading axis of the first input, summed over the batches.
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
        with observer.step("run the original", None) as done:
            for batch in data:
                outputs = session.run(batch)
                if self.batches == 0 and repeat:
                    self.deterministic = _same(outputs, session.run(batch))
                pickle.dump(outputs, self._file, protocol=5)  # our own temporary file: never read from elsewhere
                self.batches += 1
                self.samples += _samples(batch)
                done()

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Pairs of a batch and the original's outputs on it."""
        self._file.seek(0)
        for number, batch in enumerate(self._data):
            if number == self.batches:
                raise DataError("the data has more batches now than at first. It must be the same at every iteration.")
            yield batch, pickle.load(self._file)  # noqa: S301 - see above

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


def _samples(batch: Batch) -> int:
    first = next(iter(batch.values()), None)
    return int(first.shape[0]) if isinstance(first, np.ndarray) and first.ndim else 1


def _same(left: Any, right: Any) -> bool:
    """Whether two outputs, sequences and maps included, are equal; NaN equals NaN."""
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_same(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, np.ndarray):
        return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))
    return bool(left == right)
