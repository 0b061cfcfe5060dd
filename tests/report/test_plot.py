"""The picture of an exploration: all points, legible, the same bytes each time."""

from __future__ import annotations

import dataclasses
import io
import itertools
import re
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxzip.errors import UsageError
from onnxzip.report.label_places import places
from onnxzip.report.plot import check_plot, plot
from tests.report.records import exploration

SVG = "{http://www.w3.org/2000/svg}"


def texts(record) -> list[str]:
    root = ET.fromstring(plot(record))
    return ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib")


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_name_may_hold_characters_that_the_font_lacks(kind):
    assert plot(dataclasses.replace(exploration(), source="漢字 🙂.onnx"), kind)  # a warning would fail the test


@pytest.mark.usefixtures("matplotlib")
def test_points_that_are_all_alike_have_an_axis_that_can_be_read():
    same = []
    for p in exploration().points:
        if p.verdict is not None:
            outputs = tuple(dataclasses.replace(o, agreement=1.0) for o in p.verdict.outputs)
            same.append(dataclasses.replace(p, verdict=dataclasses.replace(p.verdict, outputs=outputs)))
    assert {p.agreement for p in same} == {1.0}
    words = texts(dataclasses.replace(exploration(), points=tuple(same)))
    assert any(float(w) == 100 for w in words if re.fullmatch(r"[0-9.]+", w))
    assert not [w for w in words if re.match(r"[+−][0-9]", w)]  # no offset, nothing below 0 %


@pytest.mark.usefixtures("matplotlib")
def test_both_panels_name_every_point_that_was_judged():
    shown = texts(exploration())
    for name in ("exact", "int8", "weights8", "prune 0.3", "prune 0.5 + int8"):
        assert shown.count(name) == 2
    assert "prune 0.2 + int8" not in shown  # the same model as int8
    assert "fp16" not in shown
    assert "same decisions, %" in shown
    assert "my model.onnx" in shown


@pytest.mark.usefixtures("matplotlib")
def test_without_decisions_fidelity_is_sqnr_and_without_speed_there_is_one_panel():
    record = exploration(decisions=False)
    assert "SQNR, dB (equal: 90)" in texts(record)
    points = [
        p if p.verdict is None else dataclasses.replace(p, verdict=dataclasses.replace(p.verdict, speed=None))
        for p in record.points
    ]
    shown = texts(dataclasses.replace(record, points=tuple(points)))
    assert shown.count("int8") == 1
    assert not any("speed-up, ×" in t for t in shown)


@pytest.mark.usefixtures("matplotlib")
def test_the_same_record_gives_the_same_bytes():
    assert plot(exploration()) == plot(exploration())
    assert plot(exploration(), "png") == plot(exploration(), "png")


@pytest.mark.usefixtures("matplotlib")
def test_a_png_is_one_and_not_empty():
    from matplotlib.image import imread

    picture = imread(io.BytesIO(plot(exploration(), "png")))
    assert picture.shape[:2] == (750, 1680)
    assert 0.001 < (picture[..., :3].min(axis=2) < 0.9).mean() < 0.3


@pytest.mark.usefixtures("matplotlib")
def test_names_are_text_not_markup_or_formulas():
    record = exploration(source="a<b>&$x^2$.onnx")
    assert "a<b>&$x^2$.onnx" in texts(record)
    assert not re.search(rb"dc:date|Created with", plot(record))


@pytest.mark.usefixtures("matplotlib")
def test_nothing_to_draw_is_said():
    with pytest.raises(UsageError, match="nothing to plot"):
        plot(exploration(points=exploration().points[-2:]))


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'onnxzip\[report\]'"):
        check_plot()


def overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


coordinates = st.floats(50, 450, allow_nan=False, width=32)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=10))
def test_a_dozen_labels_find_room_inside_the_frame(points):
    boxes = places(points, [(70.0, 10.0)] * len(points), (0, 0, 500, 500), 7)
    assert all(b[0] >= 0 and b[1] >= 0 and b[2] <= 500 and b[3] <= 500 for b in boxes)
    spread = all(max(abs(a[0] - b[0]) / 100, abs(a[1] - b[1]) / 30) > 1 for a, b in itertools.combinations(points, 2))
    if spread:  # no two points within a label's reach of each other
        assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))


def test_labels_of_points_on_one_spot_are_apart():
    boxes = places([(250.0, 250.0)] * 8, [(80.0, 10.0)] * 8, (0, 0, 500, 500), 7)
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
