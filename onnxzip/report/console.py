"""Records as tables for the console."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.records import OutputMetrics, RunRecord, StageRecord, Verdict, WorstSample
from onnxzip.report import layers as depth
from onnxzip.report.words import change, decibels, samples, share, size

MOST_OUTPUTS = 6
"""Outputs shown; the worst come first, all of them are in the JSON."""

MOST_WORST = 5
"""Worst samples shown."""

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
    parts += [*worst(record.verdict), _conclusion(record.verdict, "verdict")]
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
    born = [depth.worst(result.layers)] if layers and result.layers else []
    rows = verdict_rows(result)
    figures = [_table("original", "candidate", rows)] if rows else []  # none where the interfaces differ
    return Group(*figures, *born, *worst(result), _conclusion(result, "verdict"))


def run_rows(record: RunRecord) -> list[Row]:
    """Before and after: what the returned model weighs and does."""
    return [*_weights(record), *_figures(record.result)]


def verdict_rows(result: Verdict) -> list[Row]:
    """The figures of a comparison."""
    whole = (("size", result.size_ratio), ("nodes", result.node_ratio))
    return [*((n, "1", f"{v:.3f}", "") for n, v in whole if v is not None), *_figures(result)]


def headline(result: Verdict, what: str = "verdict") -> str:
    """Passed or not, in one line."""
    return _headline(result, what).plain


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
            interval = f"{_level(result)}: {100 * o.agreement_low:.1f} to {100 * o.agreement_high:.1f}"
            yield f"{o.name}: same decisions, {o.decisions:,}", "", share(o.agreement), interval
        if o.sqnr_db is not None:
            yield f"{o.name}: SQNR", "", decibels(o.sqnr_db), f"largest error {o.max_abs_error:.2g}"
    for a in result.accuracy:
        interval = f"{_level(result)}: lost {100 * a.drop_low:.1f} to {100 * a.drop_high:.1f}"
        yield f"{a.output}: accuracy, {a.decisions:,}", share(a.original), share(a.candidate), interval
    if (m := result.metric) is not None:
        between = (
            "" if m.candidate_low is None else f"{_level(result)}: {m.candidate_low:.4g} to {m.candidate_high:.4g}"
        )
        yield m.name, f"{m.original:.5g}", f"{m.candidate:.5g}", between
    if (memory := result.memory) is not None:
        yield "peak memory", size(memory.original), size(memory.candidate), change(memory.original, memory.candidate)
    if (s := result.speed) is not None:
        yield f"speed, {s.pairs} paired runs", "1", f"{s.speedup:.2f}", f"{_level(result)}: {s.low:.2f} to {s.high:.2f}"


def worst(result: Verdict) -> Iterator[RenderableType]:
    """One line for the worst samples of a verdict that did not pass; all of them, with their errors, are in the JSON."""
    if result.passed or not result.worst:
        return
    shown = ", ".join(f"{w.index} ({_how_wrong(w)})" for w in result.worst[:MOST_WORST])
    yield Text(f"worst samples: {shown}")


def _how_wrong(sample: WorstSample) -> str:
    if sample.lost:
        return "right before, wrong now"
    if sample.disagreement:
        return "other decision" if sample.disagreement == 1 else f"{share(sample.disagreement)} other decisions"
    return decibels(-10 * math.log10(sample.error)) if sample.error > 0 else "equal"


def _level(result: Verdict) -> str:
    return f"{100 * result.confidence:g} %"


def _badness(o: OutputMetrics) -> tuple[float, float]:
    return (math.inf if o.agreement is None else o.agreement, math.inf if o.sqnr_db is None else o.sqnr_db)


def _conclusion(result: Verdict, what: str) -> RenderableType:
    parts = [Text(f"warning: {w}", style="yellow") for w in result.warnings]
    parts += [Text(f"missed: {r}", style="red") for r in result.reasons]
    parts += [Text(f"not settled: {u}", style="yellow") for u in result.undecided]
    return Group(*parts, _headline(result, what))


def _headline(result: Verdict, what: str) -> Text:
    if result.outcome == "undecided":
        needed = "what was measured does not settle the budget"
        if result.samples_needed is not None:
            needed = f"not enough samples to decide: about {result.samples_needed:,} are needed, there are {result.samples:,}"
        return Text(f"{what}: UNDECIDED, {needed}", style="bold yellow")
    if not result.passed:
        return Text(f"{what}: FAILED", style="bold red")
    if not result.verified:
        return Text(f"{what}: passed in structure only, NOT verified by numbers", style="bold yellow")
    compared = f"compared with the original on {samples(result.samples, result.data)}"
    return Text(f"{what}: PASSED, {compared}", style="bold green")
