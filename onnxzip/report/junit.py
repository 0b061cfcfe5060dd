"""Verdicts as JUnit XML, the format that CI systems show as test results: one test case a model.

A missed budget is a `failure` (its type says whether it was missed or could not be decided), a model that could not be judged an
`error`, a miss that the settings expect a `skipped`. Figures are `property` elements; the table is in `system-out`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

from onnxzip.checked import Checked, CheckRun, Comparison
from onnxzip.records import RunRecord, Verdict
from onnxzip.report.console import headline, verdict_rows

_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even as a reference."""


@dataclass(frozen=True)
class Case:
    """One test case.

    Attributes:
        name: of the model.
        seconds: how long it took; 0 where that was not measured.
        kind: the element that says how it ended: failure, error or skipped; None: passed.
        type: why in a word (missed, undecided, error).
        reasons: why, one sentence each.
        verdict: the figures, where there are some.
    """

    name: str
    seconds: float
    kind: str | None
    type: str
    reasons: Sequence[str]
    verdict: Verdict | None


def run(record: RunRecord) -> str:
    """One `optimize`: one case, on what was asked for."""
    seconds = sum(stage.seconds for stage in record.stages)
    return _document("onnxzip.optimize", [_case(record.source, seconds, record.verdict)])


def comparison(record: Comparison) -> str:
    """One `compare`: one case, named after the candidate."""
    return _document("onnxzip.compare", [_case(record.candidate, 0.0, record.verdict)])


def checks(record: CheckRun) -> str:
    """One `check`: one case a model."""
    return _document("onnxzip.check", [_checked(model) for model in record.models])


def _case(name: str, seconds: float, verdict: Verdict) -> Case:
    kind = None if verdict.passed else "failure"
    return Case(name, seconds, kind, verdict.outcome, verdict.problems, verdict)


def _checked(model: Checked) -> Case:
    if model.error is not None:
        kind: str | None = "error"
    elif not model.accepted:
        kind = "failure"
    else:
        kind = None if model.outcome == "passed" else "skipped"
    return Case(model.name, model.seconds, kind, model.outcome, model.reasons, model.verdict)


def _document(suite: str, cases: Sequence[Case]) -> str:
    counts = {"tests": str(len(cases)), "time": f"{sum(c.seconds for c in cases):.3f}"}
    for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        counts[key] = str(sum(c.kind == kind for c in cases))
    root = ET.Element("testsuites", {"name": "onnxzip", **counts})
    element = ET.SubElement(root, "testsuite", {"name": suite, **counts})
    for case in cases:
        _add(element, suite, case)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _add(suite: ET.Element, classname: str, case: Case) -> None:
    attributes = {"classname": classname, "name": _legal(case.name), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(suite, "testcase", attributes)
    if case.verdict is not None and case.verdict.metrics:
        properties = ET.SubElement(element, "properties")
        for name, value in case.verdict.metrics.items():
            ET.SubElement(properties, "property", {"name": name, "value": f"{value:.6g}"})
    if case.kind is not None:
        message = _legal("; ".join(case.reasons))
        attributes = {"message": message} if case.kind == "skipped" else {"message": message, "type": case.type}
        ET.SubElement(element, case.kind, attributes).text = _legal("\n".join(case.reasons))
    if case.verdict is not None:
        ET.SubElement(element, "system-out").text = _legal(_text(case.verdict))


def _text(verdict: Verdict) -> str:
    lines = ["  ".join(cell for cell in row if cell) for row in verdict_rows(verdict)]
    return "\n".join([headline(verdict), *lines, *(f"warning: {w}" for w in verdict.warnings)])


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", text)
