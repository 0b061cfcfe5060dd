"""The whole of this room in one call: calibrate, plan, insert, and refuse what would make the file larger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.opset import raise_opset
from onnxzip.model.save import model_bytes
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.evidence import look
from onnxzip.quantize.insert import insert
from onnxzip.quantize.kernels import WEIGHTED
from onnxzip.quantize.plan import make_plan, make_weights_plan, observe
from onnxzip.quantize.recipes import Recipes, with_equalized
from onnxzip.quantize.schema import QuantPlan
from onnxzip.quantize.selectors import select
from onnxzip.quantize.targets import resolved, target_row
from onnxzip.runtime import Batch


@dataclass(frozen=True)
class Choice:
    """What quantization came to.

    Attributes:
        model: the quantized model, or None: then `summary` says why there is none.
        plan: the plan, or None when none could be made.
        summary: one sentence.
        notes: what stays float and why.
    """

    model: ir.Model | None
    plan: QuantPlan | None
    summary: str
    notes: tuple[str, ...] = ()


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
        return _put_in(model, _read_plan(config))
    row = target_row(resolved(config.target))
    try:
        model = ready(model, row.name)
        keep = select(model, config.keep_float)
        tensors = observe(model, row.name, config.keep_float)
        if not tensors:
            return _put_in(model, make_plan(model, {}, row.name, keep=keep))
        evidence = look(model, row, keep, tensors, data, effort=config.calibrate, observer=observer)
        recipes = Recipes(model, row, evidence)
        method = recipes.best(keep, data, observer)
        recipes, kept = with_equalized(model, recipes, evidence, method, keep, data, observer)
        plan, findings = recipes.settled(method, kept)
    except ModelError as error:  # the opset cannot be raised, or onnxruntime rejects what came out
        return Choice(None, None, f"not quantized: {error}")
    return _put_in(model, plan, tuple(f"{f.op} {f.node!r}: {f.reason}" for f in findings))


def quantize_weights(model: ir.Model, config: Config) -> Choice:
    """Store the weights as int8 and leave everything else float; needs no data. Arguments and errors as for `quantize`."""
    if config.plan is not None:
        plan = _read_plan(config)
        if plan.sites:
            raise UsageError(
                f"{config.plan}: the plan quantizes activations too, which preset weights8 does not: use preset int8, with data"
            )
        return _put_in(model, plan)
    return _put_in(model, make_weights_plan(model, config.target, keep_float=config.keep_float))


def ready(model: ir.Model, target: str) -> ir.Model:
    """The model that a plan is made for: a plan for every operator must know the operators of the opset that it is put into.

    Raises:
        ModelError: the opset cannot be raised.
    """
    row = target_row(target)
    return raise_opset(model, row.min_opset) if row.whole else model


def _put_in(model: ir.Model, plan: QuantPlan, findings: tuple[str, ...] = ()) -> Choice:
    notes = (*_notes(plan), *findings)
    if not plan.nodes:
        return Choice(None, plan, next(iter(plan.notes), "nothing to quantize: the plan is empty"), notes)
    try:
        result = insert(model, plan)
    except ModelError as error:  # the opset cannot be raised
        return Choice(None, plan, f"not quantized: {error}", notes)
    before, after = model_bytes(model), model_bytes(result)
    if after > before:
        return Choice(None, plan, f"not quantized: the file would grow from {before} to {after} bytes", notes)
    return Choice(result, plan, _summary(plan), notes)


def _summary(plan: QuantPlan) -> str:
    kernels = sum(bool(n.weight) or n.op in WEIGHTED for n in plan.nodes)
    if plan.sites:
        return f"{kernels} nodes with weights run in int8, {len(plan.left)} stay float"
    return f"the weights of {kernels} nodes are stored in int8, {len(plan.left)} nodes stay float"


def _read_plan(config: Config) -> QuantPlan:
    if config.keep_float:
        raise UsageError("keep_float has no say when a plan is replayed: edit the plan, or leave one of them out")
    path = Path(config.plan or "")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path}: the plan cannot be read ({error}). Give the path of a plan that onnxzip wrote."
        ) from error
    try:
        return QuantPlan.from_json(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _notes(plan: QuantPlan) -> tuple[str, ...]:
    return (*plan.notes, *(f"{n.op} {n.node!r} stays float: {n.reason}" for n in plan.left))
