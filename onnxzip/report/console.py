"""Records as tables for the console."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.records import OutputMetrics, RunRecord, StageRecord, Verdict
from onnxzip.report.words import change, decibels, share, size


def render(record: RunRecord, width: int) -> str:
    """The whole report as plain text of the given width."""
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(summary(record))
    return captured.get()


def summary(record: RunRecord) -> RenderableType:
    """The report of a run: what was done, before and after, the verdict."""
    parts: list[RenderableType] = [stages(record.stages), before_after(record), verdict(record.verdict)]
    parts += [Text(f"note: {n}", style="dim") for n in record.notes]
    parts += [Text(a) for a in record.advice]
    return Group(*parts)


def stages(records: tuple[StageRecord, ...]) -> RenderableType:
    """One line a stage."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for stage in records:
        mark = Text("kept", style="green") if stage.kept else Text("left", style="yellow")
        table.add_row(stage.name, mark, f"{stage.seconds:.1f} s", stage.summary)
    return table


def before_after(record: RunRecord) -> RenderableType:
    """Size, nodes and parameters of the original and of the result."""
    table = Table(title=None)
    table.add_column("")
    for name in ("original", "result", "change"):
        table.add_column(name, justify="right")
    before, after = record.before, record.after
    table.add_row("size", size(before.bytes), size(after.bytes), change(before.bytes, after.bytes))
    table.add_row("nodes", f"{before.nodes:,}", f"{after.nodes:,}", change(before.nodes, after.nodes))
    table.add_row(
        "parameters", f"{before.parameters:,}", f"{after.parameters:,}", change(before.parameters, after.parameters)
    )
    return table


def verdict(result: Verdict) -> RenderableType:
    """Passed or not, the figures behind it, and every reason."""
    parts: list[RenderableType] = []
    if result.outputs:
        parts.append(_outputs(result))
    if result.speed is not None:
        s = result.speed
        parts.append(
            Text(
                f"measured speed: {s.speedup:.2f} times the original's ({s.low:.2f} to {s.high:.2f}, {s.pairs} paired runs, one thread)"
            )
        )
    parts += [Text(f"warning: {w}", style="yellow") for w in result.warnings]
    parts += [Text(f"missed: {r}", style="red") for r in result.reasons]
    parts.append(_headline(result))
    return Group(*parts)


def _headline(result: Verdict) -> Text:
    if not result.passed:
        return Text("verdict: FAILED", style="bold red")
    if not result.verified:
        return Text("verdict: passed in structure only, NOT verified by numbers", style="bold yellow")
    return Text(f"verdict: PASSED on {result.samples} {result.data} samples", style="bold green")


def _outputs(result: Verdict) -> RenderableType:
    table = Table(title=f"Compared with the original on {result.samples} {result.data} samples", title_justify="left")
    table.add_column("output")
    for name in ("same decisions (95 % interval)", "SQNR", "largest error"):
        table.add_column(name, justify="right")
    for output in result.outputs:
        table.add_row(output.name, _agreement(output), decibels(output.sqnr_db), f"{output.max_abs_error:.3g}")
    return table


def _agreement(output: OutputMetrics) -> str:
    if output.agreement is None:
        return "-"
    return f"{share(output.agreement, output.agreement_low, output.agreement_high)} of {output.decisions:,}"
