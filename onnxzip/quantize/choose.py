"""The whole of this room in one call: calibrate, plan, insert, and refuse what would make the file larger."""

from __future__ import annotations

import time
from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError
from onnxzip.model.opset import raise_opset
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.bound import PASSES, Bound
from onnxzip.quantize.choice import Choice, put_in, read_plan
from onnxzip.quantize.evidence import look
from onnxzip.quantize.plan import make_plan, observe
from onnxzip.quantize.recipes import Recipes
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.search import Search, Timer
from onnxzip.quantize.selectors import select
from onnxzip.quantize.sequential import SEQUENTIAL
from onnxzip.quantize.targets import needed_opset, resolved, runs_here, target_row
from onnxzip.quantize.twin import with_equalized
from onnxzip.runtime import Batch, Session
from onnxzip.validate.speed import measure_speed

TIMED = 0.3
"""Seconds that the search takes to compare two speeds."""


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
        return put_in(model, read_plan(config))
    started = time.monotonic()
    row = target_row(resolved(config.target))
    try:
        model = ready(model, row.name)
        keep = select(model, config.keep_float)
        tensors = observe(model, row.name, config.keep_float)
        if not tensors:
            return put_in(model, make_plan(model, {}, row.name, keep=keep))
        if (raised := raise_opset(model, needed_opset(row.name))) is not model:  # once, not for each plan
            model, keep = raised, select(raised, config.keep_float)
            tensors = observe(model, row.name, config.keep_float)
        searched = config.search_time > 0
        evidence = look(model, row, keep, tensors, data, effort=config.calibrate, observer=observer, extents=searched)
        recipes = Recipes(model, row, evidence)
        recipe, error = recipes.best(keep, data, observer)
        did: tuple[str, ...] = ()
        if searched:
            now = time.monotonic()
            if 2 * now - started < started + config.search_time:  # the twin takes as long as all that went before
                recipes, recipe, error = with_equalized(recipes, recipe, error, evidence, data, observer)
            last = min((now - started) / 2, config.search_time / 4)  # what correcting biases in sequence may take
            bound = Bound(started + config.search_time - last, PASSES - SEQUENTIAL)
            search = Search(recipes, data, config.budget, bound, _timer(config, row, data), observer)
            recipe, did = search.run(recipe, error)
        plan, made, findings = recipes.settled(recipe)
        if searched and time.monotonic() + last / 2 < started + config.search_time:
            plan, made, corrected = recipes.corrected(plan, made, data, observer)
            did += corrected
    except ModelError as error:  # the opset cannot be raised, or onnxruntime rejects what came out
        return Choice(None, None, f"not quantized: {error}")
    return put_in(model, plan, (*did, *(f"{f.op} {f.node!r}: {f.reason}" for f in findings)), made)


def _timer(config: Config, row: TargetRow, data: Iterable[Batch]) -> Timer | None:
    """Measures speed where it counts and can be measured: on the target itself."""
    if config.objective == "size" or not runs_here(row.name):
        return None

    def faster(before: ir.Model, after: ir.Model) -> float:
        first, second = (Session(m, threads=1, timed=True) for m in (before, after))
        return measure_speed(first, second, data, batches=4, min_pairs=9, max_pairs=60, seconds=TIMED).low

    return faster


def ready(model: ir.Model, target: str) -> ir.Model:
    """The model that a plan is made for: a plan for every operator must know the operators of the opset that it is put into.

    Raises:
        ModelError: the opset cannot be raised.
    """
    row = target_row(target)
    return raise_opset(model, row.min_opset) if row.whole else model
