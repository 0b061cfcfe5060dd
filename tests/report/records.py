"""Records to render."""

from __future__ import annotations

import dataclasses

from onnxzip.checked import Checked, CheckRun
from onnxzip.config import Config
from onnxzip.explored import Exploration, Point, figures, front
from onnxzip.records import OutputMetrics, Speed, Verdict

SCORES = OutputMetrics(
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


def verdict(**fields: object) -> Verdict:
    given = {
        "passed": True,
        "verified": True,
        "data": "given",
        "samples": 450,
        "outputs": (SCORES,),
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


def judged(name: str, size: float, speed: float, agreement: float | None, sqnr: float, **fields: object) -> Point:
    """A point of an exploration."""
    output = dataclasses.replace(verdict().outputs[0], agreement=agreement, sqnr_db=sqnr)
    missed = agreement is not None and agreement < 0.9
    reasons = (f"output 'scores' agrees in {agreement} of 450 decisions, below the limit 0.9",) if missed else ()
    interval = Speed(speedup=speed, low=0.9 * speed, high=1.1 * speed, pairs=40)
    given = verdict(outputs=(output,), size_ratio=size, speed=interval, passed=not missed, reasons=reasons)
    command = f"onnxzip optimize 'my model.onnx' -c data/ --preset {name.split()[-1]} -o 'my model.{name}.onnx'"
    made = {"verdict": given, "bytes": int(902_000 * size), "seconds": 2.5, "command": command}
    return Point(name=name, settings={"preset": "int8"}, state="judged", **{**made, **fields})


def exploration(*, decisions: bool = True, **fields: object) -> Exploration:
    """Eight points of all kinds, two of them on the front."""
    points = [
        judged("exact", 0.99, 1.02, 1.0, 135.0),
        judged("int8", 0.26, 2.1, 0.991, 31.0),
        judged("weights8", 0.26, 0.7, 0.98, 30.0),
        judged("prune 0.3", 0.7, 1.3, 0.94, 20.0),
        judged("prune 0.5 + int8", 0.3, 1.9, 0.62, 9.0),
        judged("prune 0.2 + int8", 0.26, 2.1, 0.991, 31.0, same_as="int8", seconds=0.1),
        Point(name="fp16", settings={"preset": "fp16"}, state="refused", notes=("nothing to do",), seconds=0.2),
        Point(name="weights4", settings={"preset": "weights4"}, state="not run", notes=("no time left: so it is",)),
    ]
    if not decisions:
        points = [_without_decisions(p) for p in points]
    on = front([figures(p) for p in points])
    given = {
        "source": "my model.onnx",
        "source_digest": "00",
        "versions": {"onnxzip": "1"},
        "config": dataclasses.asdict(Config()),
        "bytes": 902_000,
        "time_limit": 60.0,
        "seconds": 31.4,
        "interrupted": False,
        "points": tuple(dataclasses.replace(p, on_front=f) for p, f in zip(points, on, strict=True)),
        "notes": ("'label' in the data is no input of the model and was ignored",),
    }
    return Exploration(**{**given, **fields})


def _without_decisions(point: Point) -> Point:
    if point.verdict is None:
        return point
    outputs = tuple(dataclasses.replace(o, agreement=None) for o in point.verdict.outputs)
    return dataclasses.replace(point, verdict=dataclasses.replace(point.verdict, outputs=outputs))
