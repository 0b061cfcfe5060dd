"""JUnit XML as a CI system reads it."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from onnxzip.checked import Comparison
from onnxzip.report import Report, junit
from tests.report.records import gate, verdict
from tests.report.test_report import record


def cases(text: str) -> dict[str, ET.Element]:
    return {case.get("name"): case for case in ET.fromstring(text.encode()).iter("testcase")}


def test_every_model_is_a_case_that_ended_as_it_did():
    found = cases(junit.checks(gate()))
    ends = {name: [e.tag for e in case if e.tag not in ("properties", "system-out")] for name, case in found.items()}
    assert ends == {
        "good_one": [],
        "pipe|name": ["failure"],
        "broken": ["error"],
        "known": ["skipped"],
        "mended": ["failure"],
        "structure": [],
    }
    failure = found["pipe|name"].find("failure")
    assert failure.get("message") == "a | b <c> *d*; second"
    assert failure.get("type") == "missed"
    assert failure.text == "a | b <c> *d*\nsecond"
    assert found["broken"].find("error").text == "no\N{REPLACEMENT CHARACTER}such <file>"


def test_the_counts_are_those_of_the_cases():
    root = ET.fromstring(junit.checks(gate()).encode())
    (suite,) = root
    for element in (root, suite):
        counts = [element.get(k) for k in ("tests", "failures", "errors", "skipped", "time")]
        assert counts == ["6", "2", "1", "1", "7.500"]
    assert {case.get("classname") for case in suite} == {"onnxzip.check"}


def test_figures_are_properties_and_text():
    case = cases(junit.checks(gate()))["good_one"]
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties["agreement"] == "0.984"
    assert properties["size_ratio"] == "0.26"
    text = case.find("system-out").text
    assert text.startswith("verdict: PASSED, compared with the original on 450 given samples")
    assert "95 %: 96.7 to 99.2" in text


@pytest.mark.parametrize("passed", [True, False])
def test_one_run_is_one_case(passed):
    given = record(passed=passed, reasons=() if passed else ("too far off",))
    (case,) = cases(Report(given).to_junit()).values()
    assert (case.get("name"), case.get("time")) == ("model.onnx", "0.200")
    assert (case.find("failure") is None) == passed


def test_one_comparison_is_one_case_of_its_candidate():
    given = Comparison(original="a", candidate="b", versions={}, budget={}, verdict=verdict())
    assert list(cases(junit.comparison(given))) == ["b"]


def test_a_verdict_that_says_more_than_missed_is_heard(monkeypatch):
    """Verdicts may know a third outcome: too few samples to decide."""
    undecided = verdict(passed=False, reasons=("too few",))
    monkeypatch.setattr(type(undecided), "outcome", property(lambda self: "undecided"), raising=False)
    given = Comparison(original="a", candidate="b", versions={}, budget={}, verdict=undecided)
    (case,) = cases(junit.comparison(given)).values()
    assert case.find("failure").get("type") == "undecided"
