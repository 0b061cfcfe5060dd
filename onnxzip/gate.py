"""`compare`: may model B stand in for model A?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator
from typing import Any

from onnxzip.calibrate.data import Data, open_data
from onnxzip.calibrate.feeds import Beside
from onnxzip.config import Budget, check_answers
from onnxzip.errors import ModelError
from onnxzip.model.load import Loaded, load
from onnxzip.model.signature import signature
from onnxzip.model.walk import count_nodes
from onnxzip.progress import SILENT, Observer
from onnxzip.records import Memory, Speed, Verdict
from onnxzip.runtime import Batch, Session, session_of
from onnxzip.saved_samples import check_apart
from onnxzip.saved_samples import save_worst as save_samples
from onnxzip.validate.comparison import CONFIDENCE
from onnxzip.validate.exact import exact_problem
from onnxzip.validate.inputs import make_inputs
from onnxzip.validate.interface import mismatches
from onnxzip.validate.judge import judge, unverified
from onnxzip.validate.layers import look
from onnxzip.validate.memory import compare_memory
from onnxzip.validate.reference import RANDOM, Reference
from onnxzip.validate.speed import measure_speed
from onnxzip.validate.suspicion import with_layers
from onnxzip.validate.taps import few


def compare(
    original: Any,
    candidate: Any,
    data: Any = None,
    budget: Budget | None = None,
    *,
    labels: str | None = None,
    speed: bool = False,
    layers: bool | None = None,
    memory: bool = False,
    save_worst: str | os.PathLike[str] | None = None,
    seed: int = 0,
    observer: Observer = SILENT,
) -> Verdict:
    """Hold any candidate, whoever made it, against its original.

    Args:
        original: path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`.
        candidate: likewise.
        data: batches of inputs, as for `optimize`; None: inputs are made up, and the verdict says so.
        budget: the limits; the default is `Budget()`.
        labels: name of the array in the data that holds the right classes (see `onnxzip.validate.accuracy`); None: there are none.
        speed: measure the paired latency too (always done when the budget limits it).
        layers: look at the error through the depth, on a few samples: a layer that was changed beyond doubt fails the verdict, whatever the
            outputs say on this data, and one that is off by more than the candidate's number formats explain is a warning. None: where the outputs
            are not those of an exact rewrite, and the budget has `layers`. False: outputs alone are judged (for a model that was changed on purpose).
        memory: measure the peak memory too (likewise).
        save_worst: folder to write the inputs of the worst samples to, as `sample-INDEX.npz`; those of an earlier run are replaced.
        seed: seed of made-up inputs and of the bootstrap.
        observer: told of long steps.

    Raises:
        ModelError: a model cannot be read, does not load, or fails on the data.
        DataError: the data does not fit the original, or its labels no output.
        UsageError: the budget asks for what cannot be had, the metric fails, or the worst samples would replace the data.

    >>> import onnx, onnxzip
    >>> text = '<ir_version: 8, opset_import: ["" : 18]> g (float[N] x) => (float[N] y) { y = %s(x) }'
    >>> relu, absolute = (onnx.parser.parse_model(text % op) for op in ("Relu", "Abs"))
    >>> onnxzip.compare(relu, relu).passed, onnxzip.compare(relu, absolute).passed
    (True, False)
    """
    budget = budget or Budget()
    check_answers(labels, budget, has_data=data is not None)
    if save_worst is not None:
        check_apart(save_worst, data)
    with observer.step("load both models"):
        before, after = load(original), load(candidate)
        sessions = session_of(before), session_of(after)
    if differences := mismatches(signature(before.model), signature(after.model)):
        reasons = tuple(f"the interface differs: {d}" for d in differences)
        return Verdict(passed=False, verified=False, reasons=reasons, data="none")
    with _naming(before):
        batches = _batches(before, sessions[0], data, Beside(labels, everything=budget.metric is not None), seed)
        reference = Reference(sessions[0], batches, observer)
    size_ratio, node_ratio = after.bytes / before.bytes, count_nodes(after.model) / max(count_nodes(before.model), 1)
    if not reference.deterministic:
        return _random(budget, size_ratio, node_ratio)
    timed = speed or budget.min_speedup is not None
    with _naming(after):
        found = reference.look(sessions[1], budget, labels, seed=seed, observer=observer)
    verdict = judge(
        found,
        budget,
        data="made up" if data is None else "given",
        samples=reference.samples,
        size_ratio=size_ratio,
        node_ratio=node_ratio,
        memory=_memory(before, after, batches, observer) if memory or budget.max_memory is not None else None,
        speed=_timed(before, after, batches, budget, seed, observer) if timed else None,
    )
    if layers or (layers is None and budget.layers):
        verdict = _with_layers(verdict, before, after, batches, sessions[0], observer, always=bool(layers))
    if save_worst is not None:
        save_samples(os.fspath(save_worst), verdict.worst, batches, sessions[0].inputs)
    if isinstance(batches, Data):
        return dataclasses.replace(verdict, warnings=(*verdict.warnings, *batches.warnings()))
    return verdict


def _batches(original: Loaded, session: Session, data: Any, beside: Beside, seed: int) -> Data | list[dict[str, Any]]:
    """The user's data, or made-up inputs where there is none."""
    if data is None:
        return make_inputs(original.model, session, seed=seed)
    optional = [v.name or "" for v in original.model.graph.inputs if v.is_initializer()]
    return open_data(data, session.inputs, optional, beside)


def _random(budget: Budget, size_ratio: float, node_ratio: float) -> Verdict:
    """An original that draws random numbers cannot be held against, so that nothing passes."""
    verdict = unverified(RANDOM, budget, size_ratio, node_ratio)
    return dataclasses.replace(
        verdict, passed=False, reasons=(*verdict.reasons, f"numbers cannot be compared: {RANDOM}")
    )


@contextlib.contextmanager
def _naming(loaded: Loaded) -> Iterator[None]:
    """What fails inside says which of the two models it is."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{loaded.name}: {error}") from error


def _with_layers(
    verdict: Verdict,
    before: Loaded,
    after: Loaded,
    batches: Iterable[Batch],
    session: Session,
    observer: Observer,
    *,
    always: bool,
) -> Verdict:
    """The verdict, after a look at the layers where that is wanted or the outputs leave it open."""
    types = {o.name: o.type for o in session.outputs}
    exact = verdict.verified and exact_problem(verdict.outputs, {}, types) is None
    if not verdict.verified or (exact and not always):
        return verdict
    try:
        worst = (verdict.worst[0].batch, verdict.worst[0].row) if verdict.worst else None
        depth = look(before.model, after.model, few(batches, session, worst), observer)
    except ModelError as error:
        warning = f"the layers could not be looked at, only the outputs are judged: {error}"
        return dataclasses.replace(verdict, warnings=(*verdict.warnings, warning))
    return with_layers(verdict, depth, types)


def _timed(
    before: Loaded, after: Loaded, batches: Iterable[Batch], budget: Budget, seed: int, observer: Observer
) -> Speed:
    a, b = (Session(m.model, threads=1, timed=True) for m in (before, after))
    return measure_speed(a, b, batches, seed=seed, confidence=budget.confidence or CONFIDENCE, observer=observer)


def _memory(before: Loaded, after: Loaded, batches: Iterable[Batch], observer: Observer) -> Memory:
    return compare_memory(before.model, after.model, next(iter(batches)), observer)
