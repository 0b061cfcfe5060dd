"""`onnxzip compare`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from onnxzip.checked import Comparison
from onnxzip.cli import options, output
from onnxzip.cli.guard import MISSED, guarded
from onnxzip.cli.options import DEFAULT
from onnxzip.config import Budget


@guarded
def compare(
    original: options.Original,
    candidate: options.Candidate,
    calibration: options.Data = None,
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
    speed: options.Speed = False,
    layers: options.Layers = None,
    memory: options.Memory = False,
    save_worst: options.SaveWorst = None,
    json: options.Json = None,
    junit: options.Junit = None,
    markdown: options.Markdown = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Decide whether one model may stand in for another: exit code 0 yes, 1 no.

    Give real data (-c); without it inputs are made up, and the verdict says so.
    """
    reports = (json, junit, None if output.is_step_summary(markdown) else markdown)
    data = Path(calibration) if calibration else None
    output.check_side_files(reports, (original, candidate, data), force=force)
    output.check_samples(save_worst, force=force)
    budget = Budget(
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
    )
    from onnxzip.cli.progress import observer
    from onnxzip.gate import compare as run
    from onnxzip.report import document
    from onnxzip.report import junit as xml
    from onnxzip.report import markdown as text
    from onnxzip.report.console import verdict
    from onnxzip.versions import versions

    result = run(
        original,
        candidate,
        calibration,
        budget,
        labels=labels,
        speed=speed,
        memory=memory,
        layers=layers,
        save_worst=save_worst,
        observer=observer(quiet=quiet),
    )
    record = Comparison(
        original=str(original),
        candidate=str(candidate),
        versions=versions(),
        budget=dataclasses.asdict(budget),
        verdict=result,
    )
    if not quiet:  # before the reports, which may not fit on the disk
        output.show(verdict(result, layers=bool(layers) or not result.passed))
    if json:
        output.write(json, document.to_json(record))
    if junit:
        output.write(junit, xml.comparison(record))
    if markdown:
        output.write_markdown(markdown, text.comparison(record))
    if not result.passed:
        raise typer.Exit(MISSED)
