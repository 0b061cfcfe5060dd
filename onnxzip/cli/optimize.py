"""`onnxzip optimize`."""

from __future__ import annotations

from pathlib import Path

import typer

from onnxzip.cli import options, output
from onnxzip.cli.guard import MISSED, complain, guarded
from onnxzip.cli.options import DEFAULT
from onnxzip.config import Budget, Config


@guarded
def optimize(
    model: options.Model,
    out: options.Out = None,
    calibration: options.Data = None,
    evaluation: options.Evaluation = None,
    preset: options.Preset = None,
    target: options.Target = "cpu",
    objective: options.Objective = "speed",
    prefer: options.Prefer = "bytes",
    search_time: options.SearchTime = 0.0,
    prune: options.Prune = None,
    prune_by: options.PruneBy = "multiply-adds",
    round_to: options.RoundTo = None,
    allow_unverified: options.AllowUnverified = False,
    min_agreement: options.MinAgreement = DEFAULT.min_agreement,
    min_sqnr: options.MinSqnr = DEFAULT.min_sqnr_db,
    max_abs_error: options.MaxAbsError = None,
    max_size: options.MaxSize = None,
    min_speedup: options.MinSpeedup = None,
    keep_float: options.KeepFloat = None,
    plan: options.Plan = None,
    save_plan: options.SavePlan = None,
    json: options.Json = None,
    report: options.Report = None,
    calibrate: options.Calibrate = "full",
    keep_defaults: options.KeepDefaults = False,
    keep_best: options.KeepBest = False,
    force: options.Force = False,
    verify_each: options.VerifyEach = False,
    opset: options.Opset = None,
    allow_contrib: options.AllowContrib = False,
    strict: options.Strict = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a model smaller and faster, and prove on real data that it does what the original did.

    Without data: exact rewriting only. With data (-c): int8 as well (and pruning, with --prune), judged on a part of the data
    that neither of them saw.
    """
    path = output.model_path(model, out, force=force)
    given = [Path(d) for d in (calibration, evaluation) if d]
    output.check_side_files((json, save_plan, report), (model, path, plan, *given), force=force)
    config = Config(
        preset=preset,  # type: ignore[arg-type] # Config checks the names
        target=target,  # type: ignore[arg-type]
        objective=objective,  # type: ignore[arg-type]
        prefer=prefer,  # type: ignore[arg-type]
        search_time=search_time,
        prune=options.share_or_auto(prune),
        prune_by=prune_by,  # type: ignore[arg-type]
        round_to=round_to,
        allow_unverified=allow_unverified,
        budget=Budget(
            min_agreement=min_agreement,
            min_sqnr_db=min_sqnr,
            max_abs_error=max_abs_error,
            max_size=max_size,
            min_speedup=min_speedup,
        ),
        keep_float=tuple(keep_float or ()),
        plan=str(plan) if plan else None,
        calibrate=calibrate,  # type: ignore[arg-type]
        keep_defaults=keep_defaults,
        verify_each=verify_each,
        opset=opset,
        allow_contrib=allow_contrib,
        strict=strict,
        details=report is not None,
    )
    from onnxzip.cli.progress import observer
    from onnxzip.pipeline import optimize as run
    from onnxzip.report.console import summary

    if report:
        output.check_report()
    result = run(model, calibration, evaluation=evaluation, config=config, observer=observer(quiet=quiet))
    written = result.save(path) if result.verdict.passed or keep_best else ()
    if json:
        output.write(json, result.report.to_json())
    if report:
        output.write(report, result.report.to_html())
    if save_plan and result.plan is not None:
        output.write(save_plan, result.plan.to_json())
    if not quiet:
        output.show(summary(result.report.record))
    if not quiet and written:
        output.show(f"wrote {', '.join(map(str, written))}")
    if save_plan and result.plan is None:
        complain(f"{save_plan} was not written: nothing was quantized, so there is no plan")
    if not result.verdict.passed:
        tail = (
            "the best exact model was written"
            if keep_best
            else "nothing was written (--keep-best writes the best exact model)"
        )
        complain(f"the budget was missed, {tail}: {'; '.join(result.verdict.reasons)}")
        raise typer.Exit(MISSED)
