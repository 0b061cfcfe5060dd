"""What quantization came to, and the way from a plan to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.save import model_bytes
from onnxzip.quantize.insert import insert
from onnxzip.quantize.kernels import WEIGHTED
from onnxzip.quantize.schema import QuantPlan


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


def put_in(model: ir.Model, plan: QuantPlan, findings: tuple[str, ...] = (), made: ir.Model | None = None) -> Choice:
    """A plan put into a model, unless that cannot be or the file would grow.

    Args:
        model: the model; not changed.
        plan: the plan.
        findings: further notes.
        made: what `insert` gives, where that was done before.

    Raises:
        UsageError: the plan does not fit the model.
    """
    notes = (*_notes(plan), *findings)
    if not plan.nodes:
        return Choice(None, plan, next(iter(plan.notes), "nothing to quantize: the plan is empty"), notes)
    try:
        result = insert(model, plan) if made is None else made
    except ModelError as error:  # the opset cannot be raised
        return Choice(None, plan, f"not quantized: {error}", notes)
    before, after = model_bytes(model), model_bytes(result)
    if after > before:
        return Choice(None, plan, f"not quantized: the file would grow from {before} to {after} bytes", notes)
    return Choice(result, plan, _summary(plan), notes)


def read_plan(config: Config) -> QuantPlan:
    """The plan that `config.plan` names.

    Raises:
        UsageError: it cannot be read, is no plan, or `keep_float` is given beside it.
    """
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


def _summary(plan: QuantPlan) -> str:
    kernels = sum(bool(n.weight) or n.op in WEIGHTED for n in plan.nodes)
    if plan.sites:
        return f"{kernels} nodes with weights run in int8, {len(plan.left)} stay float"
    small = {w.initializer for w in plan.weights if w.block}
    four = sum(n.weight in small for n in plan.nodes)
    if four:
        return f"the weights of {four} nodes are stored in 4 bits, of {kernels - four} in int8, {len(plan.left)} nodes stay float"
    return f"the weights of {kernels} nodes are stored in int8, {len(plan.left)} nodes stay float"


def _notes(plan: QuantPlan) -> tuple[str, ...]:
    return (*plan.notes, *(f"{n.op} {n.node!r} stays float: {n.reason}" for n in plan.left))
