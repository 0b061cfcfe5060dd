"""An exploration as people read it: the table of the console, and Markdown."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from onnxzip.report import exploration as report
from onnxzip.report import markdown
from tests.report.records import exploration
from tests.report.test_markdown import tables


def text(record) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(report.summary(record), soft_wrap=True, markup=False)
    return console.file.getvalue()


def test_the_table_fits_into_80_columns_and_marks_the_front():
    lines = text(exploration()).splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if "on the front:" in line)]
    assert max(map(len, table)) <= 80
    assert not any("…" in line for line in table)
    rows = {line[2:20].strip(): line for line in table[2:]}
    assert {name for name, line in rows.items() if line.startswith("★")} == {"exact", "int8"}
    assert rows["int8"].split()[-9:] == ["26.0", "%", "2.10", "1.89–2.31", "99.1", "%", "31.0", "dB", "holds"]
    assert rows["prune 0.5 + int8"].split()[-1] == "missed"
    assert rows["fp16"].split() == ["fp16", "-", "-", "-", "-", "-", "refused"]
    assert rows["weights4"].split()[-2:] == ["not", "run"]


def test_everything_else_is_said_below():
    shown = text(exploration())
    for line in (
        "note: 'label' in the data is no input of the model and was ignored",
        "note: fp16: nothing to do",
        "note: weights4: no time left: so it is",
        "note: prune 0.2 + int8: the same model as int8",
        "note: prune 0.5 + int8: output 'scores' agrees in 0.62 of 450 decisions, below the limit 0.9",
        "explore: 6 points in 31 s, 2 on the front, 1 not run; within the budget: smallest int8, fastest int8",
    ):
        assert f"\n{line}\n" in shown


def test_commands_are_lines_to_be_copied_those_of_the_front_first():
    shown = [line for line in text(exploration()).splitlines() if line.startswith("onnxzip optimize")]
    assert [line.split("my model.")[-1] for line in shown] == [
        f"{name}.onnx'" for name in ("exact", "int8", "weights8", "prune 0.3", "prune 0.5 + int8")
    ]


def test_notes_that_say_the_same_are_one():
    points = [dataclasses.replace(p, notes=("slow",)) for p in exploration().points[:2]]
    assert list(report.remarks(exploration(points=tuple(points), notes=()))) == ["exact, int8: slow"]


def test_nothing_that_holds_the_budget_and_an_interrupt_are_in_the_conclusion():
    missed = exploration(points=(exploration().points[4],), interrupted=True)
    assert report.headline(exploration(points=(), interrupted=True)) == "interrupted after 31 s, before the first point"
    assert report.headline(missed) == "1 point in 31 s, 0 on the front, interrupted; none holds the budget"


def test_markdown_is_a_table_and_a_block_of_commands():
    points = list(exploration().points)
    points[0] = dataclasses.replace(points[0], command="onnxzip optimize '```.onnx'")
    written = markdown.exploration(exploration(points=tuple(points)))
    (table,) = tables(written)
    assert table[0] == list(report.COLUMNS)
    assert [row[0] for row in table[1:]] == [p.name for p in points]
    assert [row[0] for row in table if row[1] == "★"] == ["exact", "int8"]
    assert written.count("\n````\n") == 2
    assert "# exact\nonnxzip optimize '```.onnx'\n# int8\n" in written


def test_without_commands_there_is_no_block():
    points = tuple(dataclasses.replace(p, command=None) for p in exploration().points)
    assert "```" not in markdown.exploration(exploration(points=points))
    assert "Command lines" not in text(exploration(points=points))
