"""Records as tables for the console."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.records import OutputMetrics, RunRecord, StageRecord, Verdict
from onnxzip.report.words import change, decibels, share, size

MOST_OUTPUTS = 6
"""Outputs shown; the worst come first, all of them are in the JSON."""

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
    parts: list[RenderableType] = [stages(record.stages)]
    parts += [Text(f"note: {n}", style="dim") for n in record.notes]
    parts.append(_table("original", "result", [*_weights(record), *_figures(record.verdict)]))
    parts.append(_conclusion(record.verdict))
    if record.advice:
        parts.append(Text("More could be had:", style="bold"))
        parts += [Text(f"  {a}") for a in record.advice]
    return Group(*parts)


def verdict(result: Verdict) -> RenderableType:
    """A comparison of two models: the figures, passed or not, and every reason."""
    rows = list(_figures(result))
    if result.size_ratio is not None:
        rows.insert(0, ("size", "1", f"{result.size_ratio:.3f}", ""))
    return Group(_table("original", "candidate", rows), _conclusion(result))


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


def _conclusion(result: Verdict) -> RenderableType:
    parts = [Text(f"warning: {w}", style="yellow") for w in result.warnings]
    parts += [Text(f"missed: {r}", style="red") for r in result.reasons]
    return Group(*parts, _headline(result))


def _headline(result: Verdict) -> Text:
    if not result.passed:
        return Text("verdict: FAILED", style="bold red")
    if not result.verified:
        return Text("verdict: passed in structure only, NOT verified by numbers", style="bold yellow")
    return Text(
        f"verdict: PASSED, compared with the original on {result.samples} {result.data} samples", style="bold green"
    )
