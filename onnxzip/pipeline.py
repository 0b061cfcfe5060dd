"""The whole way through the house, on one page: load, rewrite, prune, quantize, and a verdict."""

from __future__ import annotations

import dataclasses
import os
import shlex
from typing import Any

import onnx
import onnx_ir as ir

from onnxzip import __version__
from onnxzip.calibrate.data import Data
from onnxzip.config import Config, Preset, check_answers
from onnxzip.details import gather
from onnxzip.errors import Interrupted, ModelError, UsageError
from onnxzip.ledger import Ledger
from onnxzip.model.facts import facts
from onnxzip.model.load import Loaded, load
from onnxzip.model.opset import opset_of, raise_opset
from onnxzip.model.save import model_bytes
from onnxzip.model.walk import count_nodes, graphs_of
from onnxzip.passes.context import Allowed
from onnxzip.progress import SILENT, Observer
from onnxzip.pruning import check_prune, eliminate_channels, prune_channels
from onnxzip.quantize.plan import quantizable
from onnxzip.quantize.targets import runs_here
from onnxzip.quantizing import quantize_model
from onnxzip.records import RunRecord
from onnxzip.report import Report
from onnxzip.report.words import size
from onnxzip.result import Result, stamp
from onnxzip.rewriting import rewrite
from onnxzip.runtime import VERSION, newest_opset, session_of
from onnxzip.samples import samples_of
from onnxzip.saved_samples import check_apart
from onnxzip.validate.user_metric import name_of
from onnxzip.versions import versions


def optimize(
    model: Any,
    calibration: Any = None,
    *,
    evaluation: Any = None,
    config: Config | None = None,
    save_worst: str | os.PathLike[str] | None = None,
    observer: Observer = SILENT,
) -> Result:
    """Make a model smaller and faster, and prove that it still does what it did.

    Args:
        model: path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`. Never changed.
        calibration: batches of inputs: anything that can be iterated again and again and gives dicts of arrays (or tuples
            in input order, or single arrays), or a path as on the command line. Part of it is held out for the verdict.
        evaluation: data for the verdict, other samples than those of `calibration`, of which then nothing is held out.
        config: what to do; the default is exact without data, int8 with.
        save_worst: folder to write the inputs of the worst samples to (of the verdict), as `sample-INDEX.npz`; those of an earlier run are replaced.
        observer: told of long steps.

    Returns:
        The best model that holds the budget, the verdict on what was asked for, and a report.

    Raises:
        ModelError: the model cannot be read or does not run in onnxruntime.
        DataError: the data does not fit the model, or its labels no output.
        UsageError: settings contradict each other, the user's metric fails, or the worst samples would replace the data.
        Interrupted: the user stopped it (a `KeyboardInterrupt`); `done` are the stages that were finished.

    >>> import onnx, onnxzip
    >>> model = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["" : 18]>
    ... agraph (float[N] x) => (float[N] y) <float two = {2.0}, float one = {1.0}> { s = Mul(two, one) y = Mul(x, s) }''')
    >>> result = onnxzip.optimize(model)
    >>> [node.op_type for node in result.to_proto().graph.node], result.verdict.passed
    (['Mul'], True)
    """
    config = Config() if config is None else config
    if not isinstance(config, Config):
        raise UsageError(f"config must be an onnxzip.Config, not {type(config).__name__}")
    if save_worst is not None:
        check_apart(save_worst, calibration, evaluation)
    with observer.step("load model and data"):
        loaded = load(model, keep_defaults=config.keep_defaults)
        session = session_of(loaded, level="none")
        preset = _preset(config, calibration, evaluation)
        check_prune(config, has_data=calibration is not None)
        check_measured(config)
        check_answers(config.labels, config.budget, has_data=calibration is not None or evaluation is not None)
        tunes = preset in ("int8", "weights8", "weights4") or config.prune is not None
        made_up = preset == "int8" and config.plan is None
        data = samples_of(loaded, session, calibration, evaluation, config, tunes=tunes, made_up=made_up)
        ledger = Ledger(loaded, session, data.held_out, data.source, config, observer)
        del session  # with the memory that its activations took
    try:
        exact_stages(ledger)
        unpruned = ledger.best
        prune_channels(ledger, None if calibration is None else data.tuning)
        if preset != "exact":
            ledger.rest()
        quantize_model(ledger, preset, data, unpruned)
        result = _result(loaded, ledger, preset, (data.tuning, data.held_out))
    except KeyboardInterrupt as stop:
        raise Interrupted(tuple(ledger.stages)) from stop
    if save_worst is not None:
        ledger.save_worst(save_worst, result.verdict)
    return result


def exact_stages(ledger: Ledger) -> None:
    """Everything that changes no number: a newer opset where one is asked for, rewriting, channels that do nothing."""
    _raise_opset(ledger)
    _rewrite(ledger)
    eliminate_channels(ledger)


def _preset(config: Config, calibration: object, evaluation: object) -> Preset:
    """What is asked for. A plan holds what data tuned, so data for the verdict is enough beside it."""
    has_data, planned = calibration is not None, config.plan is not None
    preset: Preset = config.preset or ("int8" if has_data or planned else "exact")
    if preset == "int8" and not config.allow_unverified and not has_data and not (planned and evaluation is not None):
        if planned:
            raise UsageError(
                "a plan of int8 needs data for the verdict: pass it (-e DATA on the command line), or take what made-up data "
                "tells with --allow-unverified"
            )
        raise UsageError(
            "preset int8 needs calibration data: pass it (-c DATA on the command line), use preset exact, or take what made-up "
            "data gives with --allow-unverified"
        )
    if preset == "exact" and (config.plan or config.keep_float):
        raise UsageError(
            "a plan or nodes to keep float make sense with int8, weights8, weights4 or fp16 only: give calibration data, or a preset"
        )
    return preset


def check_measured(config: Config) -> None:
    """A limit on what must be measured can only be judged on the machine that the model is for."""
    if runs_here(config.target):
        return
    for name, limit in (
        ("min_speedup", config.budget.min_speedup if config.measure_speed is None else None),
        ("max_memory", config.budget.max_memory),
    ):
        if limit is not None:
            raise UsageError(
                f"{name} cannot be judged for target {config.target}, which this machine is not: leave it away, or measure there"
            )


def _raise_opset(ledger: Ledger) -> None:
    """Raise the opset where the user asked for it: rewriting then knows more operators."""
    wanted, given = ledger.config.opset, opset_of(ledger.best)
    if wanted is None or wanted == given:
        return
    if wanted < given:
        raise UsageError(f"the model has opset {given} already, and opsets are only raised: leave --opset away")
    newest = newest_opset()
    if wanted > newest:
        raise UsageError(
            f"opset {wanted} is not known to onnx {onnx.__version__} or onnxruntime {VERSION}: choose at most {newest}"
        )
    raised = raise_opset(ledger.best, wanted)
    if (problem := ledger.exact_problem(raised)) is not None:
        raise ModelError(
            f"raised to opset {wanted} by onnx {onnx.__version__}, the model is another one ({problem}): leave --opset away, "
            f"or export the model with opset {wanted}"
        )
    ledger.keep("opset", raised, f"opset {given} becomes {wanted}")


def _rewrite(ledger: Ledger) -> None:
    """Exact rewriting. A pass that changes the numbers is found, and taken back."""
    config = ledger.config
    model, records, problem = rewrite(
        ledger.best,
        ledger.exact_problem,
        allowed=Allowed(prefer=config.prefer, contrib=config.allow_contrib),
        each=config.verify_each,
        strict=config.strict,
        observer=ledger.observer,
    )
    if problem is not None:
        return ledger.take_back("rewrite", problem, bug=True, passes=records)
    notes = [n for r in records for n in r.notes]
    summary = f"{count_nodes(ledger.best)} nodes become {count_nodes(model)}, exactly"
    return ledger.keep("rewrite", model, summary, passes=records, notes=notes)


def _result(loaded: Loaded, ledger: Ledger, preset: Preset, data: tuple[Data | None, Data | None]) -> Result:
    lossy = [s for s in ledger.stages if s.verdict is not None]
    kept = next((s.verdict for s in reversed(lossy) if s.kept), None)
    missed = next((s.verdict for s in lossy if not s.kept and s.verdict and not s.verdict.passed), None)
    final = kept or ledger.verdict(ledger.best, lossy=False)
    best = ledger.best.clone()
    stamp(best, __version__, _done(ledger, preset), loaded.digest, final, limit=loaded.bytes)
    warnings = [w for d in data if d is not None for w in d.warnings()]
    record = RunRecord(
        source=loaded.name,
        source_digest=loaded.digest,
        versions=versions(),
        config=_settings(ledger.config),
        before=dataclasses.replace(facts(loaded.model), bytes=loaded.bytes),
        after=facts(best),
        stages=tuple(ledger.stages),
        verdict=missed or final,
        result=final,
        notes=tuple(dict.fromkeys((*loaded.notes, *ledger.notes, *warnings))),
        advice=_advice(loaded, best) if preset == "exact" else (),
        details=gather(ledger, best, *data) if ledger.config.details else None,
    )
    return Result(
        best, record.verdict, Report(record), plan=ledger.plan, external=loaded.external, sources=loaded.files
    )


def _settings(config: Config) -> dict[str, object]:
    """The configuration as plain data: a path and a function are named."""
    budget, plan = config.budget, config.plan
    limits = {**vars(budget), "metric": None if budget.metric is None else name_of(budget.metric)}
    return {**vars(config), "plan": None if plan is None else str(plan), "budget": limits}


def _done(ledger: Ledger, preset: Preset) -> str:
    """What was done to the model that is returned, as its provenance says it."""
    kept = {s.name for s in ledger.stages if s.kept}
    done = "weights8" if "weights" in kept else preset if "quantize" in kept else "exact"
    return "+".join(["pruned"] * ("prune" in kept) + [done])


def _advice(loaded: Loaded, best: ir.Model) -> tuple[str, ...]:
    """What int8 would bring, where there are float weights that it would take."""
    ready, _ = quantizable(best)
    if not ready:
        return ()
    weights = [v.const_value for g in graphs_of(best) for v in g.initializers.values() if v.const_value is not None]
    saved = sum(t.nbytes * 3 // 4 for t in weights if t.dtype == ir.DataType.FLOAT and len(t.shape) >= 2)
    about = size(model_bytes(best) - saved)
    command = f"onnxzip optimize {shlex.quote(str(loaded.path or 'MODEL'))}"
    return (
        f"with real inputs, smaller (about {about}) and faster: {command} -c DATA",
        f"without, as small but not faster: {command} --preset weights8",
    )
