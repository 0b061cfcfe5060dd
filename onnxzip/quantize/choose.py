"""The whole of this room in one call: calibrate, plan, insert, and refuse what would make the file larger."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError
from onnxzip.model.opset import raise_opset
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.choice import Choice, put_in, read_plan
from onnxzip.quantize.evidence import look
from onnxzip.quantize.plan import make_plan, observe
from onnxzip.quantize.recipes import Recipes
from onnxzip.quantize.selectors import select
from onnxzip.quantize.targets import resolved, target_row
from onnxzip.runtime import Batch


def quantize(model: ir.Model, data: Iterable[Batch], config: Config, observer: Observer = SILENT) -> Choice:
    """Quantize a float model on calibration data, or replay the plan that `config.plan` names.

    Args:
        model: the model; not changed.
        data: batches to calibrate on, never those of the verdict; not looked at when a plan is replayed.
        config: target, keep_float, calibrate and plan are read.
        observer: told of each batch.

    Raises:
        UsageError: a pattern matches nothing, or the plan cannot be read or does not fit.
        DataError: the model gives NaN or Inf on the data.
    """
    if config.plan is not None:
        return put_in(model, read_plan(config))
    row = target_row(resolved(config.target))
    try:
        model = ready(model, row.name)
        keep = select(model, config.keep_float)
        tensors = observe(model, row.name, config.keep_float)
        if not tensors:
            return put_in(model, make_plan(model, {}, row.name, keep=keep))
        evidence = look(model, row, keep, tensors, data, effort=config.calibrate, observer=observer)
        recipes = Recipes(model, row, evidence)
        plan, findings = recipes.settled(recipes.best(keep, data, observer), keep)
    except ModelError as error:  # the opset cannot be raised, or onnxruntime rejects what came out
        return Choice(None, None, f"not quantized: {error}")
    return put_in(model, plan, tuple(f"{f.op} {f.node!r}: {f.reason}" for f in findings))


def ready(model: ir.Model, target: str) -> ir.Model:
    """The model that a plan is made for: a plan for every operator must know the operators of the opset that it is put into.

    Raises:
        ModelError: the opset cannot be raised.
    """
    row = target_row(target)
    return raise_opset(model, row.min_opset) if row.whole else model
