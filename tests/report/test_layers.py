"""The table of where the error is born."""

from __future__ import annotations

import io
import math

from rich.console import Console

from onnxzip.records import LayerError, Verdict
from onnxzip.report.console import verdict
from onnxzip.report.layers import worst


def layer(number: int, **kwargs) -> LayerError:
    name = f"t{number}"
    given = {"sqnr_db": 40.0, "born_db": 100.0 - number, **kwargs}
    return LayerError(name=name, counterpart=name, node=f"Conv 'c{number}'", operator="Conv", **given)


def text(renderable, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def test_the_worst_ten_come_first_and_say_how_deep_they_lie():
    layers = [layer(i) for i in range(20)]
    layers[3] = layer(3, born_db=-2.5, share=0.75, suspect=True)
    lines = text(worst(layers)).splitlines()
    rows = [line for line in lines if "Conv" in line]
    assert "10 of 20" in lines[0]
    assert len(rows) == 10
    assert "'c3'" in rows[0]
    assert "-2.5 dB" in rows[0]
    assert "75.0 %" in rows[0]
    assert "'c19'" in rows[1]
    assert rows[1].count("█") == 12 > rows[0].count("█")


def test_what_is_equal_or_no_float_is_said():
    shown = text(worst([layer(0, born_db=math.inf, sqnr_db=None), layer(1, born_db=-math.inf)]))
    for words in ("equal", "not float", "none in common"):
        assert words in shown


def test_a_verdict_shows_layers_where_they_are_asked_for():
    result = Verdict(passed=True, verified=True, layers=(layer(0),))
    assert "Where the error is born" in text(verdict(result))
    assert "Where the error is born" not in text(verdict(result, layers=False))
    assert "Where the error is born" not in text(verdict(Verdict(passed=True, verified=True)))
