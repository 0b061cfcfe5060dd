"""What a report shows beside the figures of every run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import onnxzip
from onnxzip.details import paired
from onnxzip.errors import ModelError
from tests.helpers import graphs

TEXT = """
agraph (float[N, 8] x) => (float[N, 4] y) {
    [first] hidden = Gemm(x, w, b)
    [act] active = Relu(hidden)
    [second] y = Gemm(active, v, c)
}
"""


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(0)
    shapes = {"w": (8, 32), "b": (32,), "v": (32, 4), "c": (4,)}
    return graphs.model(TEXT, **{n: rng.normal(size=s).astype(np.float32) for n, s in shapes.items()})


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(16, 8)).astype(np.float32)} for _ in range(6)]


@pytest.fixture(scope="module")
def result(net, batches):
    budget = onnxzip.Budget(min_sqnr_db=20, min_agreement=None)
    config = onnxzip.Config(preset="int8", details=True, budget=budget, objective="size", target="cpu-avx2")
    return onnxzip.optimize(net, batches, config=config)


def test_bytes_are_those_of_the_weights(result):
    found = {h.name: (h.before, h.after) for h in result.report.record.details.by_layer}
    assert found["first"][0] == 4 * (8 * 32 + 32)
    assert found["second"][0] == 4 * (32 * 4 + 4)
    assert 8 * 32 < found["first"][1] < 0.7 * found["first"][0]
    operators = {h.name: h.before for h in result.report.record.details.by_operator}
    assert operators["Gemm"] == found["first"][0] + found["second"][0]


def test_each_layer_was_tried_alone(result):
    found = result.report.record.details
    assert [s.node for s in found.sensitivity] == ["first", "second"]
    assert all(20 < s.sqnr_db < 80 for s in found.sensitivity)
    assert found.untried == 0
    assert found.samples == 16


def test_ranges_are_what_the_values_were(result, batches):
    record = result.report.record
    entrance = next(r for r in record.details.ranges if r.tensor == "x")
    assert entrance.dtype == "uint8"
    held_out = next(b["x"] for b in batches[::-1] if np.isclose(b["x"].min(), entrance.low))
    assert entrance.high == pytest.approx(held_out.max())
    assert entrance.clip_low < 0 < entrance.clip_high
    outside = (held_out < entrance.clip_low) | (held_out > entrance.clip_high)
    assert entrance.clipped <= outside.mean()
    assert record.details.method


def test_the_depth_is_there_and_digests_name_what_was_used(result):
    found = result.report.record.details
    assert found.layers
    assert found.unseen == ""
    assert {d.partition(":")[0] for d in found.digests} == {"result, in memory", "data that tuned", "data that judged"}


def test_the_report_of_a_run_shows_them(result):
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = result.report.to_html()
    assert all(t in page for t in ("Sensitivity by layer", "Activation ranges", "Error through the depth"))


def test_an_exact_run_has_no_losses(net, batches):
    found = onnxzip.optimize(net, batches, config=onnxzip.Config(preset="exact", details=True)).report.record.details
    assert found.by_layer
    assert (found.ranges, found.sensitivity, found.layers, found.method) == ((), (), (), "")
    assert {row.operator for row in found.latency} >= {"Gemm"}
    assert all(row.before > 0 for row in found.latency if row.operator == "Gemm")


def test_nothing_is_gathered_unless_asked(net):
    assert onnxzip.optimize(net).report.record.details is None


def test_a_depth_that_cannot_be_seen_is_said(net, batches, monkeypatch):
    def fails(*_: object) -> None:
        raise ModelError("inner values cannot be outputs")

    monkeypatch.setattr("onnxzip.details.look", fails)
    config = onnxzip.Config(preset="weights8", details=True)
    found = onnxzip.optimize(net, batches, config=config).report.record.details
    assert found.unseen == "inner values cannot be outputs"
    assert found.layers == ()
    assert found.ranges == ()
    assert len(found.sensitivity) == 2


def test_a_plan_that_was_taken_back_is_looked_at_all_the_same(net, batches):
    budget = onnxzip.Budget(max_abs_error=1e-9)
    config = onnxzip.Config(preset="int8", details=True, budget=budget, measure_speed=False)
    result = onnxzip.optimize(net, batches, config=config)
    assert not result.verdict.passed
    assert result.report.record.details.sensitivity
    held = {h.name: h for h in result.report.record.details.by_layer}
    assert held["first"].after == held["first"].before


def test_kernels_stand_for_their_operators():
    rows = paired({"Conv": 90.0, "FusedConv": 10.0, "Add": 5.0}, {"QLinearConv": 40.0, "MatMulIntegerToFloat": 1.0})
    assert [(r.operator, r.before, r.after) for r in rows] == [
        ("Conv", 100.0, 40.0),
        ("Add", 5.0, 0.0),
        ("MatMul", 0.0, 1.0),
    ]
    assert rows[0].kernels == ("Conv", "FusedConv", "QLinearConv")


def test_the_record_goes_into_json(result):
    assert '"by_layer"' in result.report.to_json()
    assert dataclasses.asdict(result.report.record)["details"]["samples"] == 16
