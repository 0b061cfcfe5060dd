"""A check of many models as one table: one row a model, its reasons below."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.checked import Checked, CheckRun
from onnxzip.report.words import decibels, share

COLUMNS = ("model", "verdict", "agreement", "SQNR", "size", "speed")

_STYLES = {"passed": "green", "error": "bold red"}


def row(model: Checked) -> tuple[str, str, str, str, str, str]:
    """The cells of `COLUMNS`: the worst figure over the outputs, size and speed beside the original's."""
    metrics = {} if model.verdict is None else model.verdict.metrics
    agreement, size, speed = (metrics.get(k) for k in ("agreement", "size_ratio", "speedup"))
    return (
        model.name,
        word(model),
        "-" if agreement is None else share(agreement),
        decibels(metrics.get("sqnr_db")),
        "-" if size is None else share(size),
        "-" if speed is None else f"{speed:.2f} ×",
    )


def word(model: Checked) -> str:
    """How it ended, and whether that was expected."""
    if model.expected != "passed" and model.verdict is not None:
        return f"{model.outcome}, {'as' if model.accepted else 'not'} expected"
    if model.verdict is not None and model.verdict.passed and not model.verdict.verified:
        return "passed in structure only"
    return model.outcome


def headline(record: CheckRun) -> str:
    """How many are as they should be."""
    good = sum(m.accepted for m in record.models)
    errors = sum(m.error is not None for m in record.models)
    unjudged = f", {errors} could not be judged" if errors else ""
    return f"{good} of {len(record.models)} models passed{unjudged}"


def summary(record: CheckRun) -> RenderableType:
    """The table, why models failed, what is doubtful, and the conclusion."""
    table = Table()
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in COLUMNS[:2] else "right")
    for model in record.models:
        name, verdict, *figures = row(model)
        good = "red" if not model.accepted else "yellow" if verdict != "passed" else ""
        table.add_row(Text(name), Text(verdict, style=good or _STYLES.get(model.outcome, "")), *map(Text, figures))
    conclusion = Text(f"check: {headline(record)}", style="bold green" if record.passed else "bold red")
    return Group(table, *_remarks(record), conclusion)


def _remarks(record: CheckRun) -> Iterator[Text]:
    for model in record.models:
        if model.verdict is not None and model.verdict.warnings:
            first, *others = model.verdict.warnings
            more = f" (and {len(others)} more in the reports)" if others else ""
            yield Text(f"warning: {model.name}: {first}{more}", style="yellow")
    for model in record.models:
        style = "yellow" if model.accepted else "red"
        yield from (Text(f"{model.outcome}: {model.name}: {reason}", style=style) for reason in model.reasons)
    for model in record.models:
        if model.written:
            yield Text(f"wrote {', '.join(model.written)}")
