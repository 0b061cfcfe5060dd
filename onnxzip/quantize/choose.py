"""From a float model and tuning data to the best int8 candidate: calibrate once, plan by each range method, keep the best.

No way of choosing ranges is best on all models, and local errors do not predict the error at the outputs. So each method's
plan is inserted and run on some of the tuning batches; the candidate whose worst output has the highest SQNR against the
float model wins. The statistics are the same for all methods, so this costs a few short runs and no second calibration.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxzip.calibrate.collect import collect
from onnxzip.calibrate.data import Data
from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.opset import raise_opset
from onnxzip.model.save import model_bytes
from onnxzip.passes.runner import run
from onnxzip.progress import Observer
from onnxzip.quantize.insert import PER_AXIS_OPSET, insert
from onnxzip.quantize.plan import make_plan, observe
from onnxzip.quantize.schema import QuantPlan
from onnxzip.records import OutputMetrics
from onnxzip.runtime import Session
from onnxzip.validate.reference import Reference

METHODS = ("mse", "minmax", "percentile")
"""In order of preference where they do equally well."""

TRIALS = 8
"""Tuning batches on which the methods compete."""


@dataclass(frozen=True)
class Choice:
    """The int8 candidate, or None with the reason in `summary`; the plan behind it; what stayed float and why."""

    model: ir.Model | None
    plan: QuantPlan
    summary: str
    notes: tuple[str, ...] = ()


def quantize(model: ir.Model, tuning: Data, config: Config, observer: Observer) -> Choice:
    """Quantize a float model.

    Args:
        model: the float model after exact rewriting; not changed.
        tuning: data to take ranges from and to choose the method on; never the data of the verdict.
        config: target, patterns of nodes that stay float, or a plan to replay.
        observer: told of long steps.

    Raises:
        UsageError: a pattern matches nothing, or the plan does not fit the model.
        DataError: the data does not fit the model, or a tensor becomes NaN or infinite on it.
    """
    try:
        prepared = _prepared(model)
    except ModelError as error:
        return Choice(None, QuantPlan(target=config.target, method=""), f"not quantized: {error}")
    plans = [_read_plan(config)] if config.plan else _plans(prepared, tuning, config, observer)
    notes = _notes(plans[0])
    if not plans[0].nodes:
        return Choice(None, plans[0], plans[0].notes[0], notes)
    best, plan = _best(prepared, plans, tuning, observer)
    if (size := model_bytes(best)) >= model_bytes(model):
        return Choice(None, plan, f"not quantized: the file would grow to {size} bytes", notes)
    counts = f"{sum(bool(p.weight) for p in plan.nodes)} nodes with weights in int8, {len(plan.left)} left float"
    return Choice(best, plan, f"{counts}, ranges by {plan.method}", notes)


def _prepared(model: ir.Model) -> ir.Model:
    """The model at an opset that has per-axis scales, tidied up where that took a conversion."""
    raised = raise_opset(model, PER_AXIS_OPSET)
    return model if raised is model else run(raised)[0]


def _plans(model: ir.Model, tuning: Data, config: Config, observer: Observer) -> list[QuantPlan]:
    tensors = observe(model, config.target, config.keep_float)
    statistics = collect(model, tensors, tuning, observer=observer) if tensors else {}
    plans = [make_plan(model, statistics, config.target, method=m, keep_float=config.keep_float) for m in METHODS]
    return plans if plans[0].nodes else plans[:1]


def _read_plan(config: Config) -> QuantPlan:
    path = Path(config.plan or "")
    if config.keep_float:
        raise UsageError("a plan says which nodes stay float already: give a plan or patterns, not both")
    try:
        return QuantPlan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a plan ({error})") from error


def _best(model: ir.Model, plans: list[QuantPlan], tuning: Data, observer: Observer) -> tuple[ir.Model, QuantPlan]:
    """The candidate that is closest to the float model at its outputs."""
    if len(plans) == 1:
        return insert(model, plans[0]), plans[0]
    reference = Reference(Session(model), list(itertools.islice(tuning, TRIALS)))
    scored: list[tuple[float, ir.Model, QuantPlan]] = []
    for plan in plans:
        candidate = insert(model, plan)
        figures = reference.compare(Session(candidate), observer, f"try ranges by {plan.method}")
        scored.append((_score(figures), candidate, plan))
    _, best, plan = max(scored, key=lambda entry: entry[0])  # the first of equals
    return best, plan


def _score(figures: tuple[OutputMetrics, ...]) -> float:
    """SQNR of the worst float output in dB; where there is none, the smallest share of equal elements."""
    sqnr = [o.sqnr_db for o in figures if o.sqnr_db is not None]
    return min(sqnr) if sqnr else min((o.agreement or 0.0 for o in figures), default=0.0)


def _notes(plan: QuantPlan) -> tuple[str, ...]:
    left = tuple(f"{entry.op} {entry.node or entry.output!r} stays float: {entry.reason}" for entry in plan.left)
    return (*plan.notes, *left)
