"""`compare`: may model B stand in for model A?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from onnxzip.calibrate.data import Data, open_data
from onnxzip.config import Budget
from onnxzip.errors import ModelError
from onnxzip.model.load import Loaded, load
from onnxzip.model.signature import signature
from onnxzip.progress import SILENT, Observer
from onnxzip.records import Speed, Verdict
from onnxzip.runtime import Batch, Session, session_of
from onnxzip.validate.inputs import make_inputs
from onnxzip.validate.interface import mismatches
from onnxzip.validate.judge import exact_problem, judge, unverified
from onnxzip.validate.layers import look
from onnxzip.validate.reference import RANDOM, Reference
from onnxzip.validate.speed import measure_speed
from onnxzip.validate.suspicion import MADE_UP, with_layers
from onnxzip.validate.taps import few


def compare(
    original: Any,
    candidate: Any,
    data: Any = None,
    budget: Budget | None = None,
    *,
    speed: bool = False,
    layers: bool | None = None,
    seed: int = 0,
    observer: Observer = SILENT,
) -> Verdict:
    """Hold any candidate, whoever made it, against its original.

    Args:
        original: path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`.
        candidate: likewise.
        data: batches of inputs, as for `optimize`; None: inputs are made up, and the verdict says so.
        budget: the limits; the default is `Budget()`.
        speed: measure the paired latency too (always done when the budget limits it).
        layers: look at the error through the depth, on a few samples: a layer that is off by more than the candidate's number formats explain
            fails the verdict, whatever the outputs say on this data. None: where the outputs are not those of an exact rewrite.
            False: outputs alone are judged (for a model that was trained anew on purpose).
        seed: seed of made-up inputs and of the bootstrap.
        observer: told of long steps.

    Raises:
        ModelError: a model cannot be read, does not load, or fails on the data.
        DataError: the data does not fit the original.

    >>> import onnx, onnxzip
    >>> text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = %s(x) }'
    >>> relu, absolute = (onnx.parser.parse_model(text % op) for op in ("Relu", "Abs"))
    >>> onnxzip.compare(relu, relu).passed, onnxzip.compare(relu, absolute).passed
    (True, False)
    """
    budget = budget or Budget()
    before, after = load(original), load(candidate)
    found = mismatches(signature(before.model), signature(after.model))
    sessions = session_of(before), session_of(after)
    if found:
        return Verdict(
            passed=False, verified=False, reasons=tuple(f"the interface differs: {d}" for d in found), data="none"
        )
    optional = [v.name or "" for v in before.model.graph.inputs if v.is_initializer()]
    batches = (
        make_inputs(before.model, sessions[0], seed=seed)
        if data is None
        else open_data(data, sessions[0].inputs, optional)
    )
    reference = Reference(sessions[0], batches, observer)
    size_ratio = after.bytes / before.bytes
    if not reference.deterministic:
        verdict = unverified(RANDOM, budget, size_ratio)
        return dataclasses.replace(
            verdict, passed=False, reasons=(*verdict.reasons, f"numbers cannot be compared: {RANDOM}")
        )
    outputs = reference.compare(sessions[1], observer)
    wanted = speed or budget.min_speedup is not None
    timed = _timed(before, after, batches, seed, observer) if wanted else None
    verdict = judge(
        outputs,
        budget,
        data="made up" if data is None else "given",
        samples=reference.samples,
        size_ratio=size_ratio,
        speed=timed,
    )
    verdict = _with_layers(verdict, before, after, batches, sessions[0], observer, wanted=layers)
    if isinstance(batches, Data):
        return dataclasses.replace(verdict, warnings=(*verdict.warnings, *batches.warnings()))
    return verdict


def _with_layers(
    verdict: Verdict,
    before: Loaded,
    after: Loaded,
    batches: Iterable[Batch],
    session: Session,
    observer: Observer,
    *,
    wanted: bool | None,
) -> Verdict:
    """The verdict, after a look at the layers where that is wanted or the outputs leave it open."""
    types = {o.name: o.type for o in session.outputs}
    exact = verdict.verified and exact_problem(verdict.outputs, {}, types) is None
    if wanted is False or not verdict.verified or (wanted is None and exact and verdict.data != MADE_UP):
        return verdict
    try:
        depth = look(before.model, after.model, few(batches, session), observer)
    except ModelError as error:
        warning = f"the layers could not be looked at, only the outputs are judged: {error}"
        return dataclasses.replace(verdict, warnings=(*verdict.warnings, warning))
    return with_layers(verdict, depth, types)


def _timed(before: Loaded, after: Loaded, batches: Iterable[Batch], seed: int, observer: Observer) -> Speed:
    a, b = (Session(m.model, threads=1, timed=True) for m in (before, after))
    return measure_speed(a, b, batches, seed=seed, observer=observer)
