"""A settings file beside options: what is given on the command line goes before what the file says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

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


def limits(**line: Any) -> dict[str, Any]:
    """The limits of a budget as they stand on the command line, defaults included, by the fields of `Budget`."""
    return line


def configured(entry: ModelSettings | None, given: frozenset[str], *, budget: dict[str, Any], **line: Any) -> Config:
    """The settings of the file where there is one, with those of the command line that were given there; else the command line's.

    Args:
        entry: what the file says of the model, or None.
        given: parameters that stand on the command line.
        budget: of the command line, from `limits`.
        line: the other fields of `Config` from the command line.

    Raises:
        UsageError: both together make no sense. (Neither is looked at alone: one may hold what the other needs.)
    """
    if entry is None:
        return Config(budget=Budget(**budget), **line)
    own = dataclasses.replace(entry.config.budget, **_chosen(budget, given))
    return dataclasses.replace(entry.config, budget=own, **_chosen(line, given))


def _chosen(values: dict[str, Any], given: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if _OPTIONS.get(name, name) in given}
