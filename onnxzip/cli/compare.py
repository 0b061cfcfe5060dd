"""`onnxzip compare`."""

from __future__ import annotations

import typer

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
    layers: options.Layers = None,
    quiet: options.Quiet = False,
) -> None:
    """Decide whether one model may stand in for another: exit code 0 yes, 1 no.

    Give real data (-c); without it inputs are made up, and the verdict says so.
    """
    budget = Budget(
        min_agreement=min_agreement,
        min_sqnr_db=min_sqnr,
        max_abs_error=max_abs_error,
        max_size=max_size,
        min_speedup=min_speedup,
    )
    from onnxzip.cli.progress import observer
    from onnxzip.gate import compare as run
    from onnxzip.report.console import verdict

    result = run(original, candidate, calibration, budget, speed=speed, layers=layers, observer=observer(quiet=quiet))
    if not quiet:
        output.show(verdict(result, layers=bool(layers) or not result.passed))
    if not result.passed:
        raise typer.Exit(MISSED)
