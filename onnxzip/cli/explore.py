"""`onnxzip explore`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from onnxzip.cli import options, output
from onnxzip.cli.guard import MISSED, complain, guarded
from onnxzip.cli.options import DEFAULT
from onnxzip.config import Budget, Config
from onnxzip.errors import Interrupted, UsageError
from onnxzip.explored import Exploration

TimeLimit = Annotated[
    float,
    typer.Option(
        "--time-limit", metavar="SECONDS", help="Begin nothing that would take longer. The exact result is always made."
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE", help="Draw size and speed over fidelity, as .svg or .png.", show_default=False
    ),
]
SaveAll = Annotated[
    Path | None,
    typer.Option("--save-all", metavar="DIR", help="Write every model to DIR/MODEL.POINT.onnx.", show_default=False),
]
FORMATS = ("svg", "png")


@guarded
def explore(
    model: options.Model,
    calibration: options.Data = None,
    evaluation: options.Evaluation = None,
    time_limit: TimeLimit = 600.0,
    plot: Plot = None,
    save_all: SaveAll = None,
    target: options.Target = "cpu",
    objective: options.Objective = "speed",
    prefer: options.Prefer = "bytes",
    search_time: options.SearchTime = 0.0,
    prune_by: options.PruneBy = "multiply-adds",
    round_to: options.RoundTo = None,
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
    json: options.Json = None,
    markdown: options.Markdown = None,
    calibrate: options.Calibrate = "full",
    keep_defaults: options.KeepDefaults = False,
    opset: options.Opset = None,
    allow_contrib: options.AllowContrib = False,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Try presets and shares of pruning within a time limit: size, speed and fidelity of each, and which of them no other one beats.

    Needs data (-c). Points that miss the budget are shown too; the exit code is 0 when some point holds it, else 1.
    """
    read = (model, *(Path(d) for d in (calibration, evaluation) if d))
    reports = (json, None if output.is_step_summary(markdown) else markdown)
    _check_files(read, reports, plot, save_all, force=force)
    config = Config(
        target=target,  # type: ignore[arg-type]
        objective=objective,  # type: ignore[arg-type]
        prefer=prefer,  # type: ignore[arg-type]
        search_time=search_time,
        prune_by=prune_by,  # type: ignore[arg-type]
        round_to=round_to,
        budget=Budget(
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
        calibrate=calibrate,  # type: ignore[arg-type]
        keep_defaults=keep_defaults,
        opset=opset,
        allow_contrib=allow_contrib,
    )
    from onnxzip.cli.progress import observer
    from onnxzip.exploration import explore as run
    from onnxzip.report.exploration import headline, summary

    watch = observer(quiet=quiet)
    try:
        record = run(
            model,
            calibration,
            evaluation=evaluation,
            config=config,
            time_limit=time_limit,
            save_to=save_all,
            observer=watch,
        )
    except Interrupted as stop:
        if not quiet and isinstance(stop.done, Exploration):
            output.show(summary(stop.done))
        raise
    if not quiet:
        output.show(summary(record))  # before the reports, which may not fit on the disk
    _report(record, json, markdown, plot)
    if record.smallest is None:
        complain(f"explore: {headline(record)}")
        raise typer.Exit(MISSED)


def _check_files(
    read: Sequence[Path | None],
    reports: Sequence[Path | None],
    plot: Path | None,
    save_all: Path | None,
    *,
    force: bool,
) -> None:
    """What is written, and whether it can be, is known before any work is done."""
    if plot is not None and plot.suffix.lower().removeprefix(".") not in FORMATS:
        raise UsageError(f"{plot}: a plot is written as .svg or .png. Give the file such a name.")
    output.check_side_files((*reports, plot), read, force=force)
    if save_all is not None:
        from onnxzip.trials import TRIALS, file_name

        names = [save_all / file_name(read[0], t) for t in TRIALS]
        output.check_side_files(names, (*read, *reports, plot), force=force, new_folders=True)
        output.make_folder(save_all)
    if plot is not None:
        from onnxzip.report.plot import check_plot

        check_plot()


def _report(record: Exploration, json: Path | None, markdown: Path | None, plot: Path | None) -> None:
    from onnxzip.report import document
    from onnxzip.report import markdown as text
    from onnxzip.report.plot import plot as draw

    if json:
        output.write(json, document.to_json(record))
    if markdown:
        output.write_markdown(markdown, text.exploration(record))
    if plot:
        output.write_bytes(plot, draw(record, "png" if plot.suffix.lower() == ".png" else "svg"))
