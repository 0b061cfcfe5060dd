"""What quantization does to the outputs of a model, on the data that it is tuned on.

    error = mean over samples of  sum |y − ŷ|² / sum |y|²,    the mean over the float outputs

Each sample counts alike: over all samples at once, the loudest would decide (a sentence encoder has tokens a hundred times larger than
others). The float answers are kept from the run that calibrates, on disk where they are large.
"""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.progress import SILENT, Observer
from onnxzip.runtime import Batch, Session

_MEMORY = 64 * 2**20
"""Bytes of answers that are kept in memory; more goes to a temporary file."""


class Answers:
    """A watcher that keeps the float outputs of the float model.

    Attributes:
        wanted: names of those outputs that the model computes in float.
    """

    def __init__(self, model: ir.Model) -> None:
        self.wanted = tuple(
            v.name or ""
            for v in model.graph.outputs
            if v.producer() is not None and v.dtype is not None and v.dtype.is_floating_point()
        )
        self._numbers: list[int] = []
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 - lives as long as the object
        weakref.finalize(self, self._file.close)

    def see(self, number: int, batch: Batch, arrays: Mapping[str, Any]) -> None:
        """Keep the answers to one batch."""
        self._numbers.append(number)
        pickle.dump({n: arrays[n] for n in self.wanted}, self._file, protocol=5)  # never read from elsewhere

    def __len__(self) -> int:
        return len(self._numbers)

    def pairs(self, data: Iterable[Batch]) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Batches that were seen, with their answers."""
        self._file.seek(0)
        seen = set(self._numbers)
        for number, batch in enumerate(data):
            if number in seen:
                yield batch, pickle.load(self._file)  # noqa: S301 - see above


def output_error(
    model: ir.Model, answers: Answers, data: Iterable[Batch], level: str = "all", observer: Observer = SILENT
) -> float:
    """The error of a quantized model against the answers of the float one; infinite where it does not run.

    Args:
        model: the quantized model.
        answers: of the float model.
        data: the same batches in the same order.
        level: of the runtime's optimizations.
        observer: told of each batch.
    """
    total, samples = 0.0, 0
    try:
        session = Session(model, level=level)
        with observer.step("try int8", len(answers)) as done:
            for batch, expected in answers.pairs(data):
                errors = [_errors(expected[n], a) for n, a in session.run(batch, answers.wanted).items()]
                total += float(np.mean([e.mean() for e in errors])) * len(errors[0])
                samples += len(errors[0])
                done()
    except ModelError:
        return float("inf")
    return total / samples if samples else float("inf")


def _errors(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Relative squared error of each sample (first axis)."""
    if expected.shape != actual.shape or not expected.size:
        return np.zeros(1) if expected.shape == actual.shape else np.full(1, np.inf)
    rows = len(expected) if expected.ndim else 1
    y, off = (a.astype(np.float64).reshape(rows, -1) for a in (expected, actual - expected))
    finite = np.isfinite(y)  # a mask of -inf counts where it is equal
    off[~finite & (expected == actual).reshape(rows, -1)] = 0
    power, noise = np.where(finite, y * y, 0).sum(axis=1), (off * off).sum(axis=1)
    return np.asarray(noise / np.maximum(power, np.finfo(np.float32).tiny))
