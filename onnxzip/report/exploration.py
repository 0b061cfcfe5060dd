"""An exploration as a table: one row a point, the front marked; then what to say of points, and the command line of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.explored import Exploration, Point
from onnxzip.report.words import decibels, share, size

COLUMNS = ("point", "front", "size", "of original", "speed", "95 %", "agreement", "SQNR", "budget", "time")
SHOWN = ("point", "of original", "speed", "95 %", "agreement", "SQNR", "budget")
"""Those of the console."""

FRONT = "★"


def row(point: Point) -> tuple[str, ...]:
    """The cells of `COLUMNS`."""
    speed = point.speed
    return (
        point.name,
        FRONT if point.on_front else "",
        "-" if point.bytes is None else size(point.bytes),
        "-" if point.size_ratio is None else share(point.size_ratio),
        "-" if speed is None else f"{speed.speedup:.2f}",
        "-" if speed is None else f"{speed.low:.2f}–{speed.high:.2f}",
        "-" if point.agreement is None else share(point.agreement),
        decibels(point.sqnr_db),
        word(point),
        f"{point.seconds:.1f} s",
    )


def word(point: Point) -> str:
    """How it stands to the budget, or why it has no figures."""
    if point.state != "judged":
        return point.state
    return "holds" if point.passed else "missed"


def headline(record: Exploration) -> str:
    """How many points there are, and which of those that hold the budget are best."""
    judged = [p for p in record.points if p.state == "judged"]
    if not judged and record.interrupted:
        return f"interrupted after {record.seconds:.0f} s, before the first point"
    left = sum(p.state == "not run" for p in record.points)
    parts = [
        f"{len(judged)} point{'' if len(judged) == 1 else 's'} in {record.seconds:.0f} s, {sum(p.on_front for p in judged)} on the front"
    ]
    parts += [f"{left} not run"] if left else []
    parts += ["interrupted"] if record.interrupted else []
    if record.smallest is None:
        return f"{', '.join(parts)}; none holds the budget"
    best = [f"smallest {record.smallest}"] + ([f"fastest {record.fastest}"] if record.fastest else [])
    return f"{', '.join(parts)}; within the budget: {', '.join(best)}"


def remarks(record: Exploration) -> Iterator[str]:
    """What there is to say of points, those that say the same together."""
    told: dict[str, list[str]] = {}
    for point in record.points:
        for note in (*point.notes, *([f"the same model as {point.same_as}"] if point.same_as else [])):
            told.setdefault(note, []).append(point.name)
        if point.verdict is None or point.same_as is not None:
            continue
        for problem in (*point.verdict.problems, *point.verdict.warnings):
            told.setdefault(problem, []).append(point.name)
    yield from (f"{', '.join(names)}: {note}" for note, names in told.items())


def commands(points: Sequence[Point]) -> list[tuple[Point, str]]:
    """The command lines of what was made, those of the front first."""
    made = [(p, p.command) for p in points if p.command is not None and p.state == "judged" and p.same_as is None]
    return sorted(made, key=lambda m: not m[0].on_front)


def summary(record: Exploration) -> RenderableType:
    """The table, remarks, commands, and the conclusion. It fits into 80 columns."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in SHOWN:
        table.add_column("" if name == "point" else name, justify="left" if name in ("point", "budget") else "right")
    for point in record.points:
        cells = dict(zip(COLUMNS, row(point), strict=True))
        cells["point"] = f"{cells['front'] or ' '} {cells['point']}"
        budget = {"missed": "red", "holds": "green"}.get(cells["budget"], "")
        texts = [Text(cells[n], style=budget if n == "budget" else "") for n in SHOWN]
        table.add_row(*texts, style="bold" if point.on_front else "dim" if point.state != "judged" else "")
    notes = [Text(f"note: {n}", style="dim") for n in (*record.notes, *remarks(record))]
    lines = [Text(c, style="" if p.on_front else "dim") for p, c in commands(record.points)]
    head = [Text("Command lines, those of the front first:", style="bold")] if lines else []
    good = record.smallest is not None
    conclusion = Text(f"explore: {headline(record)}", style="bold green" if good else "bold red")
    legend = Text(f"{FRONT} on the front: none is at least as small, fast and faithful, and better in one", style="dim")
    return Group(table, legend, *notes, *head, *lines, conclusion)
