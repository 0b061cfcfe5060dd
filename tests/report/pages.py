"""Records with everything in them, and with names that break what is not careful."""

from __future__ import annotations

import dataclasses
import math

from onnxzip.records import (
    Details,
    Facts,
    Held,
    Latency,
    LayerError,
    OutputMetrics,
    PassRecord,
    Range,
    RunRecord,
    Sensitivity,
    Speed,
    StageRecord,
    Verdict,
    Width,
)
from tests.report.records import SCORES

HOSTILE = "<script>alert('x')</script>&\"$\\alpha$"
LONG = "a/" * 40 + "very_long_name_without_any_break_" * 6


def verdict(**fields: object) -> Verdict:
    output = dataclasses.replace(SCORES, name=HOSTILE)
    exact = OutputMetrics(name=LONG, max_abs_error=0.0, max_rel_error=0.0, sqnr_db=math.inf, cosine=1.0)
    known = {
        "passed": True,
        "verified": True,
        "data": "held-out",
        "samples": 450,
        "outputs": (output, exact),
        "warnings": (f"a warning about {HOSTILE}",),
        "size_ratio": 0.26,
        "speed": Speed(speedup=2.1, low=2.0, high=2.2, pairs=40),
        **fields,
    }
    return Verdict(**known)


def details(layers: int = 24) -> Details:
    names = [HOSTILE, LONG, *(f"/net/block{i}/conv/Conv" for i in range(layers))]
    return Details(
        samples=16,
        source="held-out",
        digests={"result, in memory": "SHA-256 0f0f0f0f", f"data that judged: {HOSTILE}": "12ab"},
        by_operator=(Held(name="Conv", operator="Conv", before=900_000, after=230_000),),
        by_layer=tuple(Held(name=n, operator="Conv", before=20_000 - 50 * i, after=5_000) for i, n in enumerate(names)),
        latency=(
            Latency(operator="Conv", kernels=("Conv", "QLinearConv"), before=9000.0, after=4000.0),
            Latency(operator=HOSTILE, kernels=(HOSTILE,), before=0.0, after=300.0),
        ),
        method="mse",
        ranges=tuple(
            Range(tensor=n, dtype="uint8", low=-1.0, high=2.0, clip_low=-0.5, clip_high=2.5, clipped=0.01 / (1 + i))
            for i, n in enumerate(names)
        ),
        sensitivity=tuple(
            Sensitivity(node=n, operator="Conv", output="scores", sqnr_db=40.0 + i) for i, n in enumerate(names)
        ),
        untried=3,
        layers=tuple(
            LayerError(name=n, counterpart=n, node=f"Conv {n!r}", operator="Conv", sqnr_db=50.0 - i / 2, born_db=60.0)
            for i, n in enumerate(names)
        ),
    )


def full(**fields: object) -> RunRecord:
    """A run that did everything."""
    passes = (
        PassRecord(name="fold_constants", changes=3, seconds=0.1, nodes=54),
        PassRecord(name="fuse_pads", changes=0, seconds=0.1, nodes=54, taken_back=f"it broke {HOSTILE}"),
        PassRecord(name="square", changes=0, seconds=0.1, nodes=54),
    )
    widths = (
        Width(name=f"Conv '{HOSTILE}'", before=64, after=40, tied=("Conv '/b'",), stayed=("40: in use",)),
        Width(name="Conv '/b'", before=64, after=40, tied=(f"Conv '{HOSTILE}'",), stayed=("40: in use",)),
        Width(name=f"Conv '{LONG}'", before=32, after=32),
    )
    known = {
        "source": f"folder/{HOSTILE.replace('/', '')}{LONG[-60:]}.onnx",
        "source_digest": "0123456789abcdef",
        "versions": {"onnxzip": "0", "onnx": "1"},
        "config": {"preset": "int8", "budget": {"min_agreement": 0.9}, "keep_float": (HOSTILE,)},
        "before": Facts(bytes=1_000_000, nodes=164, parameters=250_000, opset=13, operators={"Conv": 20}),
        "after": Facts(bytes=260_000, nodes=54, parameters=250_000, opset=13, operators={"Conv": 20}),
        "stages": (
            StageRecord(name="rewrite", kept=True, summary="164 nodes become 54", seconds=0.2, passes=passes),
            StageRecord(name="eliminate", kept=True, summary="48 channels went", seconds=0.2, widths=widths),
            StageRecord(name="quantize", kept=True, summary="20 in int8", seconds=2.0, notes=(f"{LONG} stays float",)),
        ),
        "verdict": verdict(),
        "result": verdict(),
        "notes": (f"a note about {LONG}",),
        "advice": ("an advice",),
        "details": details(),
        **fields,
    }
    return RunRecord(**known)


def bare() -> RunRecord:
    """A run without data and without details."""
    structure = Verdict(passed=True, verified=False, warnings=("not verified by numbers",), data="none")
    return full(details=None, verdict=structure, result=structure, stages=(), notes=(), advice=(), config={})
