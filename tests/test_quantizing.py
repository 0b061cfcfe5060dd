"""Which form is kept: int8 where it pays, weights alone where int8 is too slow, float where neither holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

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


def stopwatch(monkeypatch: pytest.MonkeyPatch, int8: float, weights: float) -> None:
    """One that finds these speeds, relative to the float result."""

    def paired(
        self: Ledger, before: ir.Model, after: ir.Model, seconds: float = 2.0, confidence: float = 0.95
    ) -> Speed:
        quantized = any(n.op_type == "QuantizeLinear" for n in after.graph)
        found = int8 if quantized else weights
        return Speed(speedup=found, low=found, high=found, pairs=9)

    monkeypatch.setattr(Ledger, "paired", paired)


def optimized(monkeypatch: pytest.MonkeyPatch, int8: float, weights: float, **settings: object) -> onnxzip.Result:
    stopwatch(monkeypatch, int8, weights)
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


def planned(float_model: onnx.ModelProto, path: Path) -> tuple[onnxzip.Result, Config]:
    """What data gives, and settings that replay its plan."""
    first = onnxzip.optimize(float_model, BATCHES, evaluation=BATCHES, config=Config(objective="size"))
    assert first.plan is not None
    path.write_text(first.plan.to_json(), encoding="utf-8")
    return first, Config(objective="size", plan=path)


def test_a_plan_needs_data_for_the_verdict_alone(tmp_path):
    float_model = net()
    first, config = planned(float_model, tmp_path / "plan.json")
    again = onnxzip.optimize(float_model, evaluation=BATCHES, config=config)
    assert first.to_proto().SerializeToString() == again.to_proto().SerializeToString()
    assert preset_of(again) == "int8"
    assert not any("made-up" in n for n in again.report.record.notes)
    with pytest.raises(onnxzip.UsageError, match="a plan of int8 needs data for the verdict"):
        onnxzip.optimize(float_model, config=config)
    unseen = onnxzip.optimize(float_model, config=dataclasses.replace(config, allow_unverified=True))
    assert stages(unseen)["quantize"]
    assert any("made up" in w for w in unseen.verdict.warnings)


def test_without_data_a_plan_that_is_slow_gives_way_to_weights_alone(monkeypatch, tmp_path):
    float_model = net()
    _, config = planned(float_model, tmp_path / "plan.json")
    stopwatch(monkeypatch, int8=0.7, weights=1.0)
    config = dataclasses.replace(config, objective="speed")
    result = onnxzip.optimize(float_model, evaluation=BATCHES, config=config)
    assert (stages(result)["quantize"], stages(result)["weights"]) == (False, True)
