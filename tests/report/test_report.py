"""The report: everything a user needs to see, in text and in JSON that any parser reads."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from onnxzip.records import Facts, OutputMetrics, PassRecord, RunRecord, Speed, StageRecord, Verdict
from onnxzip.report import Report
from tests.report.records import SCORES


def record(**verdict: object) -> RunRecord:
    exact = OutputMetrics(name="boxes", max_abs_error=0.0, max_rel_error=0.0, sqnr_db=math.inf, cosine=1.0)
    fields = {
        "passed": True,
        "verified": True,
        "data": "held-out",
        "samples": 450,
        "outputs": (SCORES, exact),
        "size_ratio": 0.26,
        "speed": Speed(speedup=2.1, low=2.0, high=2.2, pairs=40),
        **verdict,
    }
    passes = (PassRecord(name="fold_constants", changes=3, seconds=0.1, nodes=54),)
    return RunRecord(
        source="model.onnx",
        source_digest="0123456789abcdef",
        versions={"onnxzip": "0"},
        config={"preset": "int8"},
        before=Facts(bytes=1_000_000, nodes=164, parameters=250_000, opset=13, operators={"Conv": 20}),
        after=Facts(bytes=260_000, nodes=54, parameters=250_000, opset=13, operators={"Conv": 20}),
        stages=(StageRecord(name="rewrite", kept=True, summary="164 nodes become 54", seconds=0.2, passes=passes),),
        verdict=Verdict(**fields),
        result=Verdict(**fields),
        notes=("a note",),
        advice=("an advice",),
    )


def test_the_text_shows_what_matters():
    text = Report(record()).to_text()
    for words in (
        "164 nodes become 54",
        "1 MB",
        "260 kB",
        "-74 %",
        "same decisions, 450",
        "98.4 %",
        "96.7 to 99.2",
        "31.2 dB",
        "equal",
        "2.10",
        "verdict: PASSED, compared with the original on 450 held-out samples",
        "a note",
        "an advice",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"passed": False, "reasons": ("too far off",)}, ("verdict: FAILED", "missed: too far off")),
        (
            {"verified": False, "outputs": (), "warnings": ("not verified",)},
            ("NOT verified by numbers", "warning: not verified"),
        ),
        ({"speed": None}, ("PASSED",)),
    ],
)
def test_the_text_says_what_went_wrong(fields, words):
    text = Report(record(**fields)).to_text()
    assert all(w in text for w in words)
    assert ("paired runs" in text) == (fields.get("speed", 1) is not None)


def test_names_with_brackets_are_shown_as_they_are():
    weird = OutputMetrics(name="y[bold]", max_abs_error=0, max_rel_error=0, sqnr_db=1.0, cosine=None)
    assert "y[bold]" in Report(record(outputs=(weird,))).to_text()


def test_json_is_strict_and_complete():
    content = json.loads(Report(record()).to_json(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert content["schema"] == 1
    assert content["verdict"]["outputs"][1]["sqnr_db"] == "inf"
    assert content["verdict"]["metrics"]["agreement"] == 0.984
    assert content["stages"][0]["passes"][0]["changes"] == 3


def test_a_candidate_that_was_taken_back_is_shown_apart_from_the_result():
    asked = record(passed=False, reasons=("too far off",)).verdict
    exact = OutputMetrics(name="scores", max_abs_error=1e-6, max_rel_error=1e-7, sqnr_db=130.0, cosine=1.0)
    kept = Verdict(passed=True, verified=True, data="held-out", samples=450, outputs=(exact,))
    text = Report(dataclasses.replace(record(), verdict=asked, result=kept)).to_text()
    result, candidate = text.split("What was asked for:")
    assert "130.0 dB" in result
    assert "the exact result: PASSED" in result
    assert "31.2 dB" in candidate
    assert "verdict: FAILED" in candidate


def test_passes_that_were_taken_back_and_notes_of_stages_are_shown():
    bad = PassRecord(name="wrong_pass", changes=0, seconds=0.1, nodes=54, taken_back="it changed numbers")
    stage = StageRecord(
        name="rewrite", kept=True, summary="done", seconds=0.1, passes=(bad,), notes=("one", "2", "3", "4", "5", "6")
    )
    text = Report(dataclasses.replace(record(), stages=(stage,))).to_text()
    assert "warning: pass wrong_pass was taken back: it changed numbers" in text
    assert "note: rewrite: one" in text
    assert "note: rewrite: 2 more notes are in the JSON report" in text
