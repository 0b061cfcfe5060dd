"""One layer quantized, all others float."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.progress import SILENT
from onnxzip.quantize import alone
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site, Weight
from tests.helpers import graphs

TEXT = """agraph (float[N, 8] x) => (float[N, 8] y) {
    [first] h = MatMul(x, w) [second] y = MatMul(h, v) }"""


@pytest.fixture(scope="module")
def net():
    rng = np.random.default_rng(0)
    return graphs.model(TEXT, w=rng.normal(size=(8, 8)).astype(np.float32), v=np.eye(8, dtype=np.float32))


def plan() -> QuantPlan:
    """The site of the second layer is far too narrow."""
    sites = (("x", 8 / 255, 128), ("h", 1e-4, 128))
    return QuantPlan(
        target="cpu-avx2",
        method="minmax",
        sites=tuple(Site(tensor=t, dtype="uint8", scale=s, zero_point=z, readers="all") for t, s, z in sites),
        weights=tuple(Weight(initializer=n, dtype="int8", axis=1, zero_points=False) for n in "wv"),
        nodes=(
            PlannedNode(node="first", op="MatMul", output="h", role="matmul", weight="w"),
            PlannedNode(node="second", op="MatMul", output="y", role="matmul", weight="v"),
        ),
    )


def data():
    return [{"x": np.random.default_rng(1).normal(size=(32, 8)).astype(np.float32)}]


def test_the_guilty_layer_is_told_from_the_innocent_one(net):
    found, left = alone.layers_alone(net, plan(), data(), SILENT)
    assert [s.node for s in found] == ["first", "second"]
    assert left == 0
    assert found[0].sqnr_db > 30
    assert found[1].sqnr_db < 2
    assert {s.output for s in found} == {"y"}


def test_of_many_layers_those_with_the_largest_weights_are_tried(net, monkeypatch):
    monkeypatch.setattr(alone, "MOST_LAYERS", 1)
    found, left = alone.layers_alone(net, plan(), data(), SILENT)
    assert len(found) == 1
    assert left == 1


def test_a_plan_cut_down_holds_nothing_of_the_others(net):
    entry = plan().nodes[1]
    small = alone.only(plan(), entry, next(n for n in net.graph if n.name == "second"))
    assert [s.tensor for s in small.sites] == ["h"]
    assert [w.initializer for w in small.weights] == ["v"]
    assert small.nodes == (entry,)


def test_a_plan_without_weights_gives_nothing(net):
    empty = QuantPlan(target="cpu-avx2", method="minmax")
    assert alone.layers_alone(net, empty, data(), SILENT) == ((), 0)
