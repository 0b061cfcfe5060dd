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

from onnxzip.calibrate.arrays import Numbers
from onnxzip.errors import ModelError
from onnxzip.progress import SILENT, Observer
from onnxzip.records import OutputMetrics
from onnxzip.runtime import Batch, Session
from onnxzip.validate.metrics import Accumulator

_MEMORY = 4 * 2**20
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
            if v.producer() is not None and isinstance(v.type, ir.TensorType) and v.type.dtype.is_floating_point()
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

    def pairs(self, data: Iterable[Batch], every: int = 1) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Batches that were seen, with their answers; only each `every`-th of them."""
        self._file.seek(0)
        places = {number: place for place, number in enumerate(self._numbers)}
        for number, batch in enumerate(data):
            if number in places:
                expected = pickle.load(self._file)  # noqa: S301 - see above
                if places[number] % every == 0:
                    yield batch, expected


def output_error(
    model: ir.Model,
    answers: Answers,
    data: Iterable[Batch],
    level: str = "all",
    observer: Observer = SILENT,
    every: int = 1,
) -> float:
    """The error of a quantized model against the answers of the float one; infinite where it does not run or gives NaN.

    0 where the model has no float output: nothing can be compared.

    Args:
        model: the quantized model.
        answers: of the float model.
        data: the same batches in the same order.
        level: of the runtime's optimizations.
        observer: told of each batch.
        every: only each so many-th batch is looked at.
    """
    errors = sample_errors(model, answers, data, level, observer, every) if answers.wanted else np.zeros(1)
    return float(errors.mean()) if len(errors) else float("inf")


def sample_errors(
    model: ir.Model,
    answers: Answers,
    data: Iterable[Batch],
    level: str = "all",
    observer: Observer = SILENT,
    every: int = 1,
) -> Numbers:
    """The error of each sample, of which `output_error` is the mean; float64[samples]. Infinite, and only one, where the model does not run.

    Where outputs differ in their number of samples, each output of a batch counts by its mean.
    """
    found = [np.zeros(0)]
    try:
        session = Session(model, level=level)
        with observer.step("try int8", -(-len(answers) // every)) as done:
            for batch, expected in answers.pairs(data, every):
                errors = [_errors(expected[n], a) for n, a in session.run(batch, answers.wanted).items()]
                alike = len({len(e) for e in errors}) == 1
                whole = float(np.mean([e.mean() for e in errors]))
                found.append(np.mean(errors, axis=0) if alike else np.full(len(errors[0]), whole))
                done()
    except ModelError:
        return np.full(1, np.inf)
    return np.concatenate(found)


def figures(
    model: ir.Model, answers: Answers, data: Iterable[Batch], level: str = "all", class_axis: int | None = None
) -> tuple[OutputMetrics, ...]:
    """The figures of a verdict, on the batches that were seen; none where the model does not run."""
    found = {name: Accumulator(name, class_axis) for name in answers.wanted}
    try:
        session = Session(model, level=level)
        for batch, expected in answers.pairs(data):
            actual = session.run(batch, answers.wanted)
            for name, accumulator in found.items():
                accumulator.add(expected[name], actual[name])
    except ModelError:
        return ()
    return tuple(a.result() for a in found.values())


def _errors(expected: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Relative squared error of each sample (first axis)."""
    if expected.shape != actual.shape or not expected.size:
        return np.zeros(1) if expected.shape == actual.shape else np.full(1, np.inf)
    rows = len(expected) if expected.ndim else 1
    y, z = (a.astype(np.float64).reshape(rows, -1) for a in (expected, actual))
    finite = np.isfinite(y)
    off = np.subtract(z, y, out=np.full_like(y, np.inf), where=finite)
    off[~finite & ((y == z) | (np.isnan(y) & np.isnan(z)))] = 0  # a mask of -inf counts where it is equal
    power, noise = np.square(np.where(finite, y, 0)).sum(axis=1), np.square(off).sum(axis=1)
    return np.where(np.isnan(noise), np.inf, noise / np.maximum(power, np.finfo(np.float32).tiny))
