"""Which form is kept: int8 where it pays, weights alone where int8 is too slow, float where neither holds."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import onnxzip
from onnxzip import Budget, Config
from onnxzip.ledger import Ledger
from onnxzip.records import Speed
from tests.helpers.graphs import model

RNG = np.random.default_rng(0)
BATCHES = [{"x": RNG.standard_normal((4, 8, 12, 12)).astype(np.float32)} for _ in range(12)]


def net() -> onnx.ModelProto:
    return model(
        """agraph (float[N,8,12,12] x) => (float[N,32,12,12] y) {
        a = Conv<pads=[1,1,1,1]>(x, v) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w) }""",
        v=RNG.standard_normal((32, 8, 3, 3)).astype(np.float32),
        w=RNG.standard_normal((32, 32, 3, 3)).astype(np.float32) / 10,
    )


def optimized(monkeypatch: pytest.MonkeyPatch, int8: float, weights: float, **settings: object) -> onnxzip.Result:
    """With a stopwatch that finds these speeds, relative to the float result."""

    def paired(
        self: Ledger, before: ir.Model, after: ir.Model, seconds: float = 2.0, confidence: float = 0.95
    ) -> Speed:
        quantized = any(n.op_type == "QuantizeLinear" for n in after.graph)
        found = int8 if quantized else weights
        return Speed(speedup=found, low=found, high=found, pairs=9)

    monkeypatch.setattr(Ledger, "paired", paired)
    return onnxzip.optimize(net(), calibration=BATCHES, config=Config(**settings))  # type: ignore[arg-type]


def stages(result: onnxzip.Result) -> dict[str, bool]:
    return {s.name: s.kept for s in result.report.record.stages}


def preset_of(result: onnxzip.Result) -> str:
    props = {p.key: p.value for p in result.to_proto().metadata_props}
    return str(json.loads(props["onnxzip"])["preset"])


def test_int8_that_is_fast_is_kept(monkeypatch):
    result = optimized(monkeypatch, int8=1.5, weights=1.0)
    assert stages(result)["quantize"]
    assert "weights" not in stages(result)
    assert preset_of(result) == "int8"


def test_where_int8_is_slow_weights_alone_are_stored(monkeypatch):
    result = optimized(monkeypatch, int8=0.7, weights=1.0)
    assert (stages(result)["quantize"], stages(result)["weights"]) == (False, True)
    assert preset_of(result) == "weights8"
    assert result.verdict.passed
    assert result.plan is not None
    assert not result.plan.sites
    assert result.verdict.size_ratio is not None
    assert result.verdict.size_ratio < 0.4
    assert "so it is not kept" in " ".join(result.report.record.notes)


def test_where_both_are_slow_the_model_stays_float(monkeypatch):
    result = optimized(monkeypatch, int8=0.7, weights=0.8)
    assert (stages(result)["quantize"], stages(result)["weights"]) == (False, False)
    assert {n.op_type for n in result.model.graph} == {"Conv", "Relu"}
    assert "1.25 of the time" in result.report.record.stages[-1].summary


def test_stored_weights_that_miss_the_budget_are_taken_back(monkeypatch):
    result = optimized(monkeypatch, int8=0.7, weights=1.0, budget=Budget(max_size=1.0, min_speedup=1.1))
    assert not any(kept for name, kept in stages(result).items() if name in ("quantize", "weights"))


def test_for_size_speed_does_not_count(monkeypatch):
    result = optimized(monkeypatch, int8=0.7, weights=1.0, objective="size")
    assert stages(result)["quantize"]
    assert "weights" not in stages(result)
