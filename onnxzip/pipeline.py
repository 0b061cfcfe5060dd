"""The whole way through the house, on one page: load, rewrite, prune, quantize, and a verdict."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip import __version__
from onnxzip.calibrate.data import Data, open_data, split
from onnxzip.config import Config, Preset
from onnxzip.errors import UsageError
from onnxzip.ledger import Ledger
from onnxzip.model.facts import facts
from onnxzip.model.load import Loaded, load
from onnxzip.model.save import model_bytes
from onnxzip.passes.runner import run
from onnxzip.progress import SILENT, Observer
from onnxzip.prune import eliminate
from onnxzip.quantize.choose import Choice, quantize, quantize_weights
from onnxzip.quantize.plan import quantizable
from onnxzip.records import RunRecord
from onnxzip.report import Report
from onnxzip.report.words import size
from onnxzip.result import Result, stamp
from onnxzip.runtime import VERSION, Session, session_of

CHANNEL_MULTIPLE = {"cpu": 8}
"""Channels that onnxruntime's blocked layout handles together, by target (16 with AVX-512, where 8 does as well)."""


def optimize(
    model: Any,
    calibration: Any = None,
    *,
    evaluation: Any = None,
    config: Config | None = None,
    observer: Observer = SILENT,
) -> Result:
    """Make a model smaller and faster, and prove that it still does what it did.

    Args:
        model: path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`. Never changed.
        calibration: batches of inputs: anything that can be iterated again and again and gives dicts of arrays (or tuples
            in input order, or single arrays), or a path as on the command line. Part of it is held out for the verdict.
        evaluation: data for the verdict; then nothing of `calibration` is held out.
        config: what to do; the default is exact without data, int8 with.
        observer: told of long steps.

    Returns:
        The best model that holds the budget, the verdict on what was asked for, and a report.

    Raises:
        ModelError: the model cannot be read or does not run in onnxruntime.
        DataError: the data does not fit the model.
        UsageError: settings contradict each other.

    >>> import onnx, onnxzip
    >>> model = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["" : 18]>
    ... agraph (float[N] x) => (float[N] y) <float two = {2.0}, float one = {1.0}> { s = Mul(two, one) y = Mul(x, s) }''')
    >>> result = onnxzip.optimize(model)
    >>> [node.op_type for node in result.to_proto().graph.node], result.verdict.passed
    (['Mul'], True)
    """
    config = config or Config()
    loaded = load(model, keep_defaults=config.keep_defaults)
    session = session_of(loaded, level="none")
    preset = _preset(config, has_data=calibration is not None)
    tuning, held_out = _data(loaded, session, calibration, evaluation, config, preset)
    ledger = Ledger(loaded, session, held_out, config, observer)
    _rewrite(ledger)
    _prune(ledger)
    if preset == "int8" and tuning is not None:
        _quantize(ledger, quantize(ledger.best, tuning, config, observer), tuning.warnings())
    if preset == "weights8":
        _quantize(ledger, quantize_weights(ledger.best, config))
    return _result(loaded, ledger, preset)


def _preset(config: Config, *, has_data: bool) -> Preset:
    if config.preset == "int8" and not has_data:
        raise UsageError(
            "preset int8 needs calibration data: pass it (-c DATA on the command line), or use preset exact"
        )
    preset: Preset = config.preset or ("int8" if has_data else "exact")
    if preset == "exact" and (config.plan or config.keep_float):
        raise UsageError(
            "a plan or nodes to keep float make sense with int8 or weights8 only: give calibration data, or a preset"
        )
    return preset


def _data(
    loaded: Loaded, session: Session, calibration: Any, evaluation: Any, config: Config, preset: Preset
) -> tuple[Data | None, Data | None]:
    """The data to tune on, and the data that gives the verdict: never the same samples."""
    optional = [v.name or "" for v in loaded.model.graph.inputs if v.is_initializer()]
    tuning, held_out = (
        None if d is None else open_data(d, session.inputs, optional) for d in (calibration, evaluation)
    )
    if held_out is not None or tuning is None:
        return tuning, held_out
    return split(tuning, config.held_out) if preset == "int8" else (None, tuning)


def _rewrite(ledger: Ledger) -> None:
    """Exact rewriting. When the numbers change, the guilty pass is found by checking after each, and taken back."""
    model, records = run(ledger.best, strict=ledger.config.strict, observer=ledger.observer)
    if (problem := ledger.exact_problem(model)) is not None:
        if ledger.config.strict:
            return ledger.take_back("rewrite", problem, bug=True, passes=records)
        model, records = run(ledger.best, verify=ledger.exact_problem, observer=ledger.observer)
    before, after = len(list(ledger.best.graph.all_nodes())), len(list(model.graph.all_nodes()))
    undone = [f"{r.name} was taken back: {r.taken_back}" for r in records if r.taken_back]
    notes = [*undone, *(n for r in records for n in r.notes)]
    return ledger.keep("rewrite", model, f"{before} nodes become {after}, exactly", passes=records, notes=notes)


def _prune(ledger: Ledger) -> None:
    """Remove channels that provably do nothing. Odd widths run up to several times slower, so spare ones stay for speed."""
    multiple = CHANNEL_MULTIPLE[ledger.config.target] if ledger.config.objective == "speed" else 1
    model, record = eliminate(ledger.best, multiple=multiple, observer=ledger.observer)
    notes = (*record.notes, *record.frozen)
    if not record.removed:
        kept = f" (widths stay multiples of {multiple})" if multiple > 1 else ""
        return ledger.take_back("prune", f"no channel to remove{kept}", notes=notes)
    if (problem := ledger.exact_problem(model)) is not None:
        return ledger.take_back("prune", problem, bug=True, notes=notes)
    return ledger.keep("prune", model, f"{record.removed} channels that do nothing are gone", notes=notes)


def _quantize(ledger: Ledger, choice: Choice, warnings: tuple[str, ...] = ()) -> None:
    """int8 is kept if it holds the budget on data that it never saw."""
    ledger.notes += warnings
    if choice.model is None:
        ledger.notes += (choice.summary,)
        return ledger.take_back("quantize", choice.summary, notes=choice.notes)
    verdict = ledger.verdict(choice.model, lossy=True)
    if not verdict.passed:
        reason = f"the budget was missed: {verdict.reasons[0]}"
        return ledger.take_back("quantize", reason, notes=choice.notes, verdict=verdict)
    ledger.plan = choice.plan
    return ledger.keep("quantize", choice.model, choice.summary, notes=choice.notes, verdict=verdict)


def _result(loaded: Loaded, ledger: Ledger, preset: str) -> Result:
    lossy = next((s.verdict for s in ledger.stages if s.verdict is not None), None)
    verdict = lossy or ledger.verdict(ledger.best, lossy=False)
    best = ledger.best.clone()
    stamp(best, __version__, preset, loaded.digest, verdict, limit=loaded.bytes)
    record = RunRecord(
        source=loaded.name,
        source_digest=loaded.digest,
        versions=_versions(),
        config=dataclasses.asdict(ledger.config),
        before=dataclasses.replace(facts(loaded.model), bytes=loaded.bytes),
        after=facts(best),
        stages=tuple(ledger.stages),
        verdict=verdict,
        notes=(*loaded.notes, *ledger.notes),
        advice=_advice(loaded, best) if preset == "exact" else (),
    )
    return Result(best, verdict, Report(record), plan=ledger.plan, external=loaded.external)


def _versions() -> dict[str, str]:
    return {
        "onnxzip": __version__,
        "onnx": onnx.__version__,
        "onnx_ir": ir.__version__,
        "onnxruntime": VERSION,
        "numpy": np.__version__,
    }


def _advice(loaded: Loaded, best: ir.Model) -> tuple[str, ...]:
    """What calibration data would bring, where there are float weights that int8 would take."""
    ready, _ = quantizable(best)
    if not ready:
        return ()
    weights = [v.const_value for v in best.graph.initializers.values() if v.const_value is not None]
    saved = sum(t.nbytes * 3 // 4 for t in weights if t.dtype == ir.DataType.FLOAT and len(t.shape) >= 2)
    about, command = size(model_bytes(best) - saved), f"onnxzip optimize {loaded.path or 'MODEL'}"
    return (
        f"with real inputs, smaller (about {about}) and faster: {command} -c DATA",
        f"without, as small but not faster: {command} --preset weights8",
    )
