"""Charts: every number in place, names as they are, colours of the page, the same bytes each time."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tests.report.pages import HOSTILE, LONG

pytest.importorskip("matplotlib")

from onnxzip.report.charts import Bar, Span, bars, course, parts, spans
from onnxzip.report.labels import cut_off, short_names

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return ["".join(t.itertext()) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def widths(svg: str, ink: str) -> list[float]:
    """Widths of the bars of a colour, in units of the picture."""
    found = []
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if f"fill: var(--{ink})" in path.get("style", ""):
            across = [float(x) for x, _ in re.findall(r"([0-9.]+) ([0-9.]+)", path.get("d", ""))]
            found.append(max(across) - min(across))
    return found


def test_bars_are_as_long_as_their_numbers():
    svg = bars("k", [Bar("a", (100.0, 25.0), "100 → 25"), Bar("b", (50.0, 0.0), "50 → 0")], "title", "words")
    before, after = widths(svg, "before"), widths(svg, "after")
    assert before[1] / before[0] == pytest.approx(0.5, abs=0.01)
    assert after[0] / before[0] == pytest.approx(0.25, abs=0.01)
    assert after[1:] in ([], [0.0])
    assert texts(svg) == ["a", "100 → 25", "b", "50 → 0"]


def test_what_is_not_nothing_can_be_seen_and_nothing_divides_by_zero():
    assert widths(bars("k", [Bar("a", (1e9, 1.0), "")], "t", "d"), "after")[0] >= 0.8
    assert widths(bars("k", [Bar("a", (0.0,), "0")], "t", "d"), "after") in ([], [0.0])


def test_names_are_shown_as_they_are_or_without_their_middle():
    svg = bars("k", [Bar(HOSTILE, (1.0,), ""), Bar(LONG, (1.0,), "1 MB → 2 MB")], "t", "d")
    first, _, second, _ = [*texts(svg)[:1], "", *texts(svg)[1:]]
    assert first == HOSTILE
    assert "…" in second
    assert len(second) < 60
    assert second.startswith("a/a/")
    assert second.endswith("break_")


def test_a_label_stays_on_its_line_and_characters_that_the_font_lacks_are_the_readers_font():
    svg = bars("k", [Bar("one\n two\t漢字 🙂", (1.0,), "")], "t", "d")  # a warning would fail the test
    assert texts(svg)[0] == "one two 漢字 🙂"


def test_a_chart_is_named_and_takes_the_colours_and_the_font_of_the_page():
    svg = parts("k", [Bar("a", (3.0, 1.0), "4 → 3")], "a <title>", "what & why")
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "k-title k-desc"
    assert [root.find(f"{SVG}{n}").text for n in ("title", "desc")] == ["a <title>", "what & why"]
    assert not re.search(r"#[0-9a-f]{6}\b(?!\))", svg)
    assert "font-family" not in svg
    assert root.get("width") is None


def test_identifiers_carry_the_name_of_their_chart():
    first, second = (parts(k, [Bar("a", (3.0, 1.0), "")], "t", "d") for k in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", first)) <= ids[0]


def test_the_same_numbers_give_the_same_bytes():
    def draw() -> str:
        return spans("k", [Span("a", (-1.0, 0.5), (-0.8, 0.6), "1 %")], "t", "d") + course(
            "c", [1.0, 2.0], [1.0, 0.5], "error, %", "t", "d"
        )

    assert draw() == draw()


def test_the_course_has_whole_layers_at_its_foot():
    assert {t for t in texts(course("c", [1.0, 2.0, 3.0], [1.0, 0.5, 0.1], "error", "t", "d")) if "." in t} <= {
        f"{i / 2:.1f}" for i in range(9)
    }
    assert {"1", "2", "3"} <= set(texts(course("c", [1.0, 2.0, 3.0], [1.0, 0.5, 0.1], "error", "t", "d")))


@pytest.mark.parametrize(
    ("names", "operators", "short"),
    [
        (["/m/a/MatMul", "/m/b/MatMul"], ["MatMul"] * 2, ["a", "b"]),
        (["/m/a/MatMul", "/m/a/Add"], ["MatMul", "Add"], ["MatMul", "Add"]),
        (["x;1", "x;2"], ["Conv"] * 2, ["x;1", "x;2"]),
        (["one"], ["Conv"], ["one"]),
        (["398", "layer"], ["Conv", "Conv"], ["Conv 398", "layer"]),
        (["398"], [], ["398"]),
        (["/Conv", "/"], ["Conv", "Relu"], ["Conv", ""]),
        ([], [], []),
    ],
)
def test_short_names_still_tell_layers_apart(names, operators, short):
    assert short_names(names, operators) == short


def test_rows_that_are_next_to_nothing_are_summed_up():
    rows = [Bar(str(i), (v, v / 2), "") for i, v in enumerate((1000.0, 900.0, 0.5, 0.4, 0.1))]
    shown = cut_off(rows, str)
    assert [b.label for b in shown] == ["0", "1", "3 more together"]
    assert shown[-1].values == (1.0, 0.5)
    assert shown[-1].text == "1.0 → 0.5"


def test_rows_beyond_the_limit_are_summed_up_and_few_rows_are_left_alone():
    rows = [Bar(str(i), (10.0,), "") for i in range(30)]
    assert [b.label for b in cut_off(rows, str, most=5)] == ["0", "1", "2", "3", "26 more together"]
    assert cut_off(rows[:5], str, most=5) == rows[:5]
