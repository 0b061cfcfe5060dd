"""`onnxzip optimize`."""

from __future__ import annotations

from pathlib import Path

import typer

from onnxzip.cli import options, output
from onnxzip.cli.guard import MISSED, complain, guarded
from onnxzip.cli.options import DEFAULT
from onnxzip.cli.settings import configured, data_and_out, given_options, limits
from onnxzip.settings import of_model, read


@guarded
def optimize(
    context: typer.Context,
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
    min_cosine: options.MinCosine = None,
    max_abs_error: options.MaxAbsError = None,
    max_rel_error: options.MaxRelError = None,
    class_axis: options.ClassAxis = None,
    labels: options.Labels = None,
    max_accuracy_drop: options.MaxAccuracyDrop = None,
    metric: options.Metric = None,
    min_metric: options.MinMetric = None,
    max_metric_drop: options.MaxMetricDrop = None,
    max_size: options.MaxSize = None,
    max_nodes: options.MaxNodes = None,
    max_memory: options.MaxMemory = None,
    min_speedup: options.MinSpeedup = None,
    confidence: options.Confidence = None,
    keep_float: options.KeepFloat = None,
    plan: options.Plan = None,
    save_plan: options.SavePlan = None,
    json: options.Json = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    settings: options.Settings = None,
    report: options.Report = None,
    calibrate: options.Calibrate = "full",
    keep_defaults: options.KeepDefaults = False,
    save_worst: options.SaveWorst = None,
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

    With a settings file (--config): what its table with this model's path says; options on this command line go before it.
    """
    given = given_options(context)
    entry = of_model(read(settings), model, settings) if settings else None
    if entry is not None:
        out, calibration, evaluation = data_and_out(entry, given, out, calibration, evaluation)
    path = output.model_path(model, out, force=force)
    data = [Path(d) for d in (calibration, evaluation) if d]
    reports = (json, junit, report, None if output.is_step_summary(markdown) else markdown)
    output.check_side_files((*reports, save_plan), (model, path, plan, settings, *data), force=force)
    output.check_samples(save_worst, force=force)
    if report:
        output.check_report()
    config = configured(
        entry,
        given,
        preset=preset,
        target=target,
        objective=objective,
        prefer=prefer,
        search_time=search_time,
        prune=options.share_or_auto(prune),
        prune_by=prune_by,
        round_to=round_to,
        allow_unverified=allow_unverified,
        budget=limits(
            min_agreement=min_agreement,
            min_sqnr_db=min_sqnr,
            min_cosine=min_cosine,
            max_abs_error=max_abs_error,
            max_rel_error=max_rel_error,
            class_axis=class_axis,
            max_accuracy_drop=max_accuracy_drop,
            metric=metric,
            min_metric=min_metric,
            max_metric_drop=max_metric_drop,
            max_size=max_size,
            max_nodes=max_nodes,
            max_memory=max_memory,
            min_speedup=min_speedup,
            confidence=confidence,
        ),
        labels=labels,
        keep_float=tuple(keep_float or ()),
        plan=str(plan) if plan else None,
        calibrate=calibrate,
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

    result = run(
        model,
        calibration,
        evaluation=evaluation,
        config=config,
        save_worst=save_worst,
        observer=observer(quiet=quiet),
    )
    written = result.save(path) if result.verdict.passed or keep_best else ()
    if not quiet:  # before the reports, which may not fit on the disk
        output.show(summary(result.report.record))
    if not quiet and written:
        output.show(f"wrote {', '.join(map(str, written))}")
    if json:
        output.write(json, result.report.to_json())
    if junit:
        output.write(junit, result.report.to_junit())
    if markdown:
        output.write_markdown(markdown, result.report.to_markdown())
    if report:
        output.write(report, result.report.to_html())
    if save_plan and result.plan is not None:
        output.write(save_plan, result.plan.to_json())
    if save_plan and result.plan is None:
        complain(f"{save_plan} was not written: nothing was quantized, so there is no plan")
    if not result.verdict.passed:
        tail = (
            "the best exact model was written"
            if keep_best
            else "nothing was written (--keep-best writes the best exact model)"
        )
        outcome = "missed" if result.verdict.reasons else "not settled by this data"
        complain(f"the budget was {outcome}, {tail}: {'; '.join(result.verdict.problems)}")
        raise typer.Exit(MISSED)
