"""Records as tables for the console."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.records import OutputMetrics, RunRecord, StageRecord, Verdict
from onnxzip.report.layers import worst
from onnxzip.report.words import change, decibels, share, size

MOST_OUTPUTS = 6
"""Outputs shown; the worst come first, all of them are in the JSON."""

MOST_NOTES = 4
"""Notes of a stage that are shown."""

Row = tuple[str, str, str, str]
"""What, original, result, change or interval."""


def render(record: RunRecord, width: int) -> str:
    """The whole report as plain text of the given width."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(summary(record), soft_wrap=True)
    return captured.get()


def summary(record: RunRecord) -> RenderableType:
    """The report of a run: what was done, before and after, the verdict."""
    parts: list[RenderableType] = [stages(record.stages), *_remarks(record)]
    parts.append(_table("original", "result", [*_weights(record), *_figures(record.result)]))
    if record.verdict != record.result:
        parts += [_conclusion(record.result, "the exact result"), Text("What was asked for:", style="bold")]
        parts.append(_table("original", "candidate", list(_figures(record.verdict))))
    parts.append(_conclusion(record.verdict, "verdict"))
    if record.advice:
        parts.append(Text("More could be had:", style="bold"))
        parts += [Text(f"  {a}") for a in record.advice]
    return Group(*parts)


def _remarks(record: RunRecord) -> Iterator[RenderableType]:
    """What was taken back, what the user should know, and what the stages left alone."""
    for stage in record.stages:
        for p in stage.passes:
            if p.taken_back:
                yield Text(f"warning: pass {p.name} was taken back: {p.taken_back}", style="yellow")
    yield from (Text(f"note: {n}", style="dim") for n in record.notes)
    for stage in record.stages:
        yield from (Text(f"note: {stage.name}: {n}", style="dim") for n in stage.notes[:MOST_NOTES])
        if (more := len(stage.notes) - MOST_NOTES) > 0:
            yield Text(f"note: {stage.name}: {more} more notes are in the JSON report", style="dim")


def verdict(result: Verdict, *, layers: bool = True) -> RenderableType:
    """A comparison of two models: the figures, where the error is born if asked for, passed or not, and every reason."""
    rows = list(_figures(result))
    if result.size_ratio is not None:
        rows.insert(0, ("size", "1", f"{result.size_ratio:.3f}", ""))
    depth = [worst(result.layers)] if layers and result.layers else []
    return Group(_table("original", "candidate", rows), *depth, _conclusion(result, "verdict"))


def stages(records: tuple[StageRecord, ...]) -> RenderableType:
    """One line a stage."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for stage in records:
        mark = Text("kept", style="green") if stage.kept else Text("left", style="yellow")
        table.add_row(stage.name, mark, f"{stage.seconds:.1f} s", Text(stage.summary))
    return table


def _table(first: str, second: str, rows: list[Row]) -> Table:
    table = Table()
    table.add_column("")
    for name in (first, second, ""):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _weights(record: RunRecord) -> Iterator[Row]:
    before, after = record.before, record.after
    yield "size", size(before.bytes), size(after.bytes), change(before.bytes, after.bytes)
    yield "nodes", f"{before.nodes:,}", f"{after.nodes:,}", change(before.nodes, after.nodes)
    yield "parameters", f"{before.parameters:,}", f"{after.parameters:,}", change(before.parameters, after.parameters)


def _figures(result: Verdict) -> Iterator[Row]:
    """Rows for the worst outputs, then for speed."""
    for o in sorted(result.outputs, key=_badness)[:MOST_OUTPUTS]:
        if o.agreement is not None and o.agreement_low is not None and o.agreement_high is not None:
            interval = f"95 %: {100 * o.agreement_low:.1f} to {100 * o.agreement_high:.1f}"
            yield f"{o.name}: same decisions, {o.decisions:,}", "", share(o.agreement), interval
        if o.sqnr_db is not None:
            yield f"{o.name}: SQNR", "", decibels(o.sqnr_db), f"largest error {o.max_abs_error:.2g}"
    if (s := result.speed) is not None:
        yield f"speed, {s.pairs} paired runs", "1", f"{s.speedup:.2f}", f"95 %: {s.low:.2f} to {s.high:.2f}"


def _badness(o: OutputMetrics) -> tuple[float, float]:
    return (math.inf if o.agreement is None else o.agreement, math.inf if o.sqnr_db is None else o.sqnr_db)


def _conclusion(result: Verdict, what: str) -> RenderableType:
    parts = [Text(f"warning: {w}", style="yellow") for w in result.warnings]
    parts += [Text(f"missed: {r}", style="red") for r in result.reasons]
    return Group(*parts, _headline(result, what))


def _headline(result: Verdict, what: str) -> Text:
    if not result.passed:
        return Text(f"{what}: FAILED", style="bold red")
    if not result.verified:
        return Text(f"{what}: passed in structure only, NOT verified by numbers", style="bold yellow")
    compared = f"compared with the original on {result.samples} {result.data} samples"
    return Text(f"{what}: PASSED, {compared}", style="bold green")
