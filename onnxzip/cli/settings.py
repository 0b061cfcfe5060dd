"""A settings file beside options: what is given on the command line goes before what the file says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import typer

from onnxzip.config import Budget, Config
from onnxzip.settings import ModelSettings

_OPTIONS = {"min_sqnr_db": "min_sqnr"}
"""Fields whose option has another name."""


def given_options(context: typer.Context) -> frozenset[str]:
    """The parameters that stand on the command line, by their names in Python."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, source in sources.items() if source is not None and source.name != "DEFAULT")


def data_and_out(
    entry: ModelSettings, given: frozenset[str], out: Path | None, calibration: str | None, evaluation: str | None
) -> tuple[Path | None, str | None, str | None]:
    """Where the result goes, and the data."""
    return (
        out if "out" in given else entry.out,
        calibration if "calibration" in given else entry.calibration,
        evaluation if "evaluation" in given else entry.evaluation,
    )


def merged(file: Config, line: Config, given: frozenset[str]) -> Config:
    """The settings of the file, with those of the command line where they were given there."""

    def chosen(source: Config | Budget) -> dict[str, object]:
        names = (f.name for f in dataclasses.fields(source))
        return {n: getattr(source, n) for n in names if _OPTIONS.get(n, n) in given}

    budget = dataclasses.replace(file.budget, **chosen(line.budget))  # type: ignore[arg-type] # fields of the same class
    return dataclasses.replace(file, **{**chosen(line), "budget": budget})  # type: ignore[arg-type]
