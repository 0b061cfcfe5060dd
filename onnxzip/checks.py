"""`check`: what a settings file says of many models, one after the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from onnxzip.checked import Checked, CheckRun
from onnxzip.errors import OnnxzipError, PassError
from onnxzip.gate import compare
from onnxzip.pipeline import optimize
from onnxzip.progress import SILENT, Observer
from onnxzip.records import RunRecord, Verdict
from onnxzip.settings import ModelSettings
from onnxzip.versions import versions

Judged = tuple[Verdict, RunRecord | None, tuple[Path, ...]]


def check(entries: Sequence[ModelSettings], file: Path, *, observer: Observer = SILENT) -> CheckRun:
    """Judge every model: its candidate where the settings name one, else what `optimize` makes of it.

    A model that cannot be read or run, and data that does not fit, is an error of this model; the others go on. A result that passes is
    written to `out`, where the settings say so.

    Args:
        entries: the models, as `onnxzip.settings.read` gives them.
        file: where the settings stand, for the report.
        observer: told of long steps.

    Raises:
        PassError: under `strict`, a pass went wrong: a bug of onnxzip.
    """
    models = tuple(_checked(entry, observer) for entry in entries)
    return CheckRun(settings=str(file), versions=versions(), models=models)


def _checked(entry: ModelSettings, observer: Observer) -> Checked:
    start, error = time.perf_counter(), None
    judged: tuple[Verdict | None, RunRecord | None, tuple[Path, ...]] = (None, None, ())
    try:
        judged = _optimized(entry, observer) if entry.candidate is None else _compared(entry, observer)
    except PassError:
        raise
    except OnnxzipError as problem:
        error = " ".join(str(problem).split())
    verdict, run, written = judged
    return Checked(
        name=entry.name,
        model=str(entry.path),
        candidate=None if entry.candidate is None else str(entry.candidate),
        seconds=time.perf_counter() - start,
        expected=entry.expected,
        verdict=verdict,
        error=error,
        run=run,
        written=tuple(map(str, written)),
    )


def _compared(entry: ModelSettings, observer: Observer) -> Judged:
    config = entry.config
    speed = config.measure_speed is True
    verdict = compare(
        entry.path,
        entry.candidate,
        entry.evaluation,
        config.budget,
        labels=config.labels,
        speed=speed,
        seed=config.seed,
        observer=observer,
    )
    return verdict, None, ()


def _optimized(entry: ModelSettings, observer: Observer) -> Judged:
    result = optimize(
        entry.path, entry.calibration, evaluation=entry.evaluation, config=entry.config, observer=observer
    )
    written = result.save(entry.out) if entry.out is not None and result.verdict.passed else ()
    return result.verdict, result.report.record, written
