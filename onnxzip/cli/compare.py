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
    max_abs_error: options.MaxAbsError = None,
    max_size: options.MaxSize = None,
    min_speedup: options.MinSpeedup = None,
    speed: options.Speed = False,
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
    budget = Budget(
        min_agreement=min_agreement,
        min_sqnr_db=min_sqnr,
        max_abs_error=max_abs_error,
        max_size=max_size,
        min_speedup=min_speedup,
    )
    from onnxzip.cli.progress import observer
    from onnxzip.gate import compare as run
    from onnxzip.report import document
    from onnxzip.report import junit as xml
    from onnxzip.report import markdown as text
    from onnxzip.report.console import verdict
    from onnxzip.versions import versions

    result = run(original, candidate, calibration, budget, speed=speed, observer=observer(quiet=quiet))
    record = Comparison(
        original=str(original),
        candidate=str(candidate),
        versions=versions(),
        budget=dataclasses.asdict(budget),
        verdict=result,
    )
    if json:
        output.write(json, document.to_json(record))
    if junit:
        output.write(junit, xml.comparison(record))
    if markdown:
        output.write_markdown(markdown, text.comparison(record))
    if not quiet:
        output.show(verdict(result))
    if not result.passed:
        raise typer.Exit(MISSED)
