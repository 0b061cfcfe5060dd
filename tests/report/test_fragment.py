"""What a notebook shows of a run."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np

import onnxzip
from onnxzip.report import Report
from tests.helpers import graphs
from tests.report.pages import HOSTILE, full, verdict


class Words(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style"}

    def handle_data(self, data):
        self.words.append(data)


def test_verdict_and_figures_are_there_and_names_are_text():
    missed = verdict(passed=False, reasons=(f"output {HOSTILE} is too far off",))
    found = Words(Report(full(verdict=missed)).to_fragment())
    text = " ".join(found.words)
    assert found.tags == {"div", "b"}
    assert "✗ Failed" in text
    assert f"output {HOSTILE} is too far off" in text
    assert all(w in text for w in ("260 kB", "2.10×", "98.4 %", "164 nodes become 54", f"a warning about {HOSTILE}"))


def test_a_result_shows_itself_in_a_notebook():
    net = graphs.model(
        "agraph (float[N,4] x) => (float[N,4] y) { h = Identity(x) y = Add(h, w) }", w=np.ones(4, np.float32)
    )
    assert "✓ Passed" in onnxzip.optimize(net)._repr_html_()
