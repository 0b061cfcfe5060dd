"""Markdown as a reader of GitHub's dialect sees it: parsed, not compared with text."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from markdown_it import MarkdownIt

from onnxzip.checked import CheckRun, Comparison
from onnxzip.report import Report, markdown
from tests.report.records import checked, gate, verdict
from tests.report.test_report import record


def tables(text: str) -> list[list[list[str]]]:
    """Every table: its rows, each a list of what is read in its cells."""
    found: list[list[list[str]]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for before, token in itertools.pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif before.type in ("th_open", "td_open"):
            assert all(t.type in ("text", "text_special") for t in token.children)  # nothing was taken for markup
            found[-1][-1].append("".join(t.content for t in token.children))
    return found


def test_a_check_is_one_table_with_a_row_for_each_model():
    text = markdown.checks(gate())
    (table,) = tables(text)
    assert table[0] == ["model", "verdict", "agreement", "SQNR", "size", "speed", "why"]
    assert {len(row) for row in table} == {7}
    assert table[1] == ["good_one", "passed", "98.4 %", "31.2 dB", "26.0 %", "-", ""]
    assert table[2][0] == "pipe|name"
    assert table[2][-1] == "a | b <c> *d*; second"
    assert [row[1] for row in table[1:]] == [
        "passed",
        "missed",
        "error",
        "missed, as expected",
        "passed, not expected",
        "passed in structure only",
    ]
    assert text.startswith("## ❌ onnxzip check: 3 of 6 models passed, 1 could not be judged\n")
    assert "- pipe\\|name: few \\& far" in text


def test_a_check_that_passed_has_no_warnings_to_unfold():
    text = markdown.checks(CheckRun(settings="s", versions={}, models=(checked("a", verdict()),)))
    assert text.startswith("## ✅ onnxzip check: 1 of 1 models passed\n")
    assert "<details>" not in text


def test_a_run_shows_the_verdict_before_and_after_and_stages():
    text = Report(record()).to_markdown()
    figures, stages = tables(text)
    assert ["size", "1 MB", "260 kB", "-74 %"] in figures
    assert ["speed, 40 paired runs", "1", "2.10", "95 %: 2.00 to 2.20"] in figures
    assert stages[1] == ["rewrite", "kept", "0.2 s", "164 nodes become 54"]
    assert "✅ **verdict: PASSED, compared with the original on 450 held-out samples**" in text
    assert "<summary>Notes (1)</summary>" in text


def test_a_candidate_that_was_taken_back_has_a_table_of_its_own():
    asked = verdict(passed=False, reasons=("too far off",))
    text = Report(dataclasses.replace(record(), verdict=asked)).to_markdown()
    assert len(tables(text)) == 3
    assert "❌ **verdict: FAILED**" in text
    assert "- missed: too far off" in text


@pytest.mark.parametrize(("passed", "mark"), [(True, "✅"), (False, "❌")])
def test_a_comparison_names_both_models(passed, mark):
    given = Comparison(original="a_b.onnx", candidate="c.onnx", versions={}, budget={}, verdict=verdict(passed=passed))
    text = markdown.comparison(given)
    assert text.startswith(f"## onnxzip: c.onnx for a\\_b.onnx\n\n{mark} ")
    (table,) = tables(text)
    assert ["size", "1", "0.260", ""] in table
