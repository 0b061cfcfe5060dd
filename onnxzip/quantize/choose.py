"""int8 in one call: calibrate, plan, insert, and refuse what would make the file larger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxzip.calibrate.collect import collect
from onnxzip.config import Config
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.choice import Choice, put_in, read_plan
from onnxzip.quantize.plan import make_plan, observe
from onnxzip.quantize.ranges import TensorStatistics
from onnxzip.quantize.targets import resolved
from onnxzip.runtime import Batch

METHOD = "mse"
"""How ranges are chosen: by the expected squared error of each tensor. Never the worst of the three on any network that was
measured, and best on most. Letting the methods compete on a few tuning batches chose worse: 8 single samples mislead."""


def quantize(model: ir.Model, data: Iterable[Batch], config: Config, observer: Observer = SILENT) -> Choice:
    """Quantize a float model on calibration data, or replay the plan that `config.plan` names.

    Args:
        model: the model; not changed.
        data: batches to calibrate on, never those of the verdict; not looked at when a plan is replayed.
        config: target, keep_float and plan are read.
        observer: told of each batch.

    Raises:
        UsageError: a pattern matches nothing, or the plan cannot be read or does not fit.
        DataError: the model gives NaN or Inf on the data.
    """
    if config.plan is not None:
        return put_in(model, read_plan(config))
    target = resolved(config.target)
    tensors = observe(model, target, config.keep_float)
    statistics: Mapping[str, TensorStatistics] = collect(model, tensors, data, observer=observer) if tensors else {}
    return put_in(model, make_plan(model, statistics, target, method=METHOD, keep_float=config.keep_float))
