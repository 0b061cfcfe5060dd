"""Records to render."""

from __future__ import annotations

from onnxzip.checked import Checked, CheckRun
from onnxzip.records import OutputMetrics, Verdict


def verdict(**fields: object) -> Verdict:
    output = OutputMetrics(
        name="scores",
        max_abs_error=0.25,
        max_rel_error=0.01,
        sqnr_db=31.25,
        cosine=0.999,
        agreement=0.984,
        agreement_low=0.967,
        agreement_high=0.992,
        decisions=450,
    )
    given = {
        "passed": True,
        "verified": True,
        "data": "given",
        "samples": 450,
        "outputs": (output,),
        "size_ratio": 0.26,
    }
    return Verdict(**{**given, **fields})


def checked(name: str, judged: Verdict | None, **fields: object) -> Checked:
    given = {
        "model": f"{name}.onnx",
        "candidate": None,
        "seconds": 1.25,
        "expected": "passed",
        "error": None,
        "run": None,
    }
    return Checked(name=name, verdict=judged, **{**given, **fields})


def gate() -> CheckRun:
    """One model of every kind; names and reasons hold what formats take for their own."""
    missed = verdict(passed=False, reasons=("a | b <c> *d*", "second"), warnings=("few & far",))
    return CheckRun(
        settings="onnxzip.toml",
        versions={"onnxzip": "0"},
        models=(
            checked("good_one", verdict()),
            checked("pipe|name", missed),
            checked("broken", None, error="no\x00such <file>"),
            checked("known", missed, expected="missed"),
            checked("mended", verdict(), expected="missed"),
            checked("structure", verdict(verified=False, outputs=(), size_ratio=None)),
        ),
    )
