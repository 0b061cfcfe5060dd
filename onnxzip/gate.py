"""`compare`: may model B stand in for model A?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from onnxzip.calibrate.data import Data, open_data
from onnxzip.config import Budget
from onnxzip.model.load import Loaded, load
from onnxzip.model.signature import differences, signature
from onnxzip.progress import SILENT, Observer
from onnxzip.records import Speed, Verdict
from onnxzip.runtime import Batch, Session, session_of
from onnxzip.validate.inputs import make_inputs
from onnxzip.validate.judge import judge, unverified
from onnxzip.validate.reference import RANDOM, Reference
from onnxzip.validate.speed import measure_speed


def compare(
    original: Any,
    candidate: Any,
    data: Any = None,
    budget: Budget | None = None,
    *,
    speed: bool = False,
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
    found = differences(signature(before.model), signature(after.model))
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
    if isinstance(batches, Data):
        return dataclasses.replace(verdict, warnings=(*verdict.warnings, *batches.warnings()))
    return verdict


def _timed(before: Loaded, after: Loaded, batches: Iterable[Batch], seed: int, observer: Observer) -> Speed:
    a, b = (Session(m.model, threads=1, timed=True) for m in (before, after))
    return measure_speed(a, b, batches, seed=seed, observer=observer)
