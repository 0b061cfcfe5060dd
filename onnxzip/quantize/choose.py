"""The whole of this room in one call: calibrate, plan, insert, and refuse what would make the file larger."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.opset import raise_opset
from onnxzip.model.save import model_bytes
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.bound import Bound
from onnxzip.quantize.evidence import look
from onnxzip.quantize.insert import insert
from onnxzip.quantize.kernels import WEIGHTED
from onnxzip.quantize.plan import make_plan, make_weights_plan, observe
from onnxzip.quantize.recipes import Recipes
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import QuantPlan
from onnxzip.quantize.search import Search, Timer
from onnxzip.quantize.selectors import select
from onnxzip.quantize.targets import resolved, runs_here, target_row
from onnxzip.runtime import Batch, Session
from onnxzip.validate.speed import measure_speed

TIMED = 0.3
"""Seconds that the search takes to compare two speeds."""


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
        config: target, keep_float, calibrate, search_time, objective, budget and plan are read.
        observer: told of each batch.

    Raises:
        UsageError: a pattern matches nothing, or the plan cannot be read or does not fit.
        DataError: the model gives NaN or Inf on the data.
    """
    if config.plan is not None:
        return _put_in(model, _read_plan(config))
    started = time.monotonic()
    row = target_row(resolved(config.target))
    try:
        model = ready(model, row.name)
        keep = select(model, config.keep_float)
        tensors = observe(model, row.name, config.keep_float)
        if not tensors:
            return _put_in(model, make_plan(model, {}, row.name, keep=keep))
        evidence = look(model, row, keep, tensors, data, effort=config.calibrate, observer=observer)
        recipes = Recipes(model, row, evidence)
        recipe, error = recipes.best(keep, data, observer)
        did: tuple[str, ...] = ()
        if config.search_time:
            bound = Bound(started + config.search_time)
            search = Search(recipes, data, config.budget, bound, _timer(config, row, data), observer)
            recipe, did = search.run(recipe, error)
        plan, findings = recipes.settled(recipe)
    except ModelError as error:  # the opset cannot be raised, or onnxruntime rejects what came out
        return Choice(None, None, f"not quantized: {error}")
    return _put_in(model, plan, (*did, *(f"{f.op} {f.node!r}: {f.reason}" for f in findings)))


def _timer(config: Config, row: TargetRow, data: Iterable[Batch]) -> Timer | None:
    """Measures speed where it counts and can be measured: on the target itself."""
    if config.objective == "size" or not runs_here(row.name):
        return None

    def faster(before: ir.Model, after: ir.Model) -> float:
        first, second = Session(before, threads=1), Session(after, threads=1)
        return measure_speed(first, second, data, batches=4, min_pairs=9, max_pairs=60, seconds=TIMED).low

    return faster


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
