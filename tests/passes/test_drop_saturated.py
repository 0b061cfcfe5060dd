"""Clips that quantization repeats."""

import numpy as np
import pytest

from onnxzip.passes.drop_saturated import drop_saturated
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

X = {"x": np.array([[-1e30, -7, -0.26, -0.1, 0, 0.3, 5.9, 6.1, 1e30, np.inf, -np.inf, 6]], np.float32)}
ARRAYS = {
    "low": np.float32(0),
    "high": np.float32(6),
    "scale": np.float32(6 / 256),
    "zero": np.uint8(0),
    "middle": np.uint8(128),
    "bottom": np.int8(-128),
}


def graph(nodes, y="uint8[N,12] y", opset=18, **arrays):
    used = {k: v for k, v in (ARRAYS | arrays).items() if k in nodes}
    return model(f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,12] x) => ({y}) {{ {nodes} }}', **used)


@pytest.mark.parametrize(
    ("nodes", "y"),
    [
        ("c = Clip(x, low, high) y = QuantizeLinear(c, scale, zero)", "uint8[N,12] y"),
        ("c = Clip(x, low) y = QuantizeLinear(c, scale)", "uint8[N,12] y"),
        ("c = Relu(x) y = QuantizeLinear(c, scale, zero)", "uint8[N,12] y"),
        ("c = Relu(x) y = QuantizeLinear(c, scale, bottom)", "int8[N,12] y"),
    ],
)
def test_what_saturates_anyway_goes(nodes, y):
    before = graph(nodes, y)
    after, outcome = apply(before, drop_saturated)
    assert outcome.changes == 1
    assert op_types(after) == ["QuantizeLinear"]
    assert_equivalent(before, after, rtol=0, batch=X)


def test_every_channel_must_saturate():
    scales = np.full(12, 6 / 256, np.float32)
    nodes = "c = Clip(x, low, high) y = QuantizeLinear<axis = 1>(c, scale, zero)"
    before = graph(nodes, scale=scales, zero=np.zeros(12, np.uint8))
    after, _ = apply(before, drop_saturated)
    assert op_types(after) == ["QuantizeLinear"]
    assert_equivalent(before, after, rtol=0, batch=X)
    scales[3] = 1
    assert_untouched(graph(nodes, scale=scales, zero=np.zeros(12, np.uint8)), drop_saturated)


@pytest.mark.parametrize(
    "nodes",
    [
        "c = Clip(x, low, high) y = QuantizeLinear(c, scale, middle)",  # negative numbers would survive
        "c = Clip(x, low, high) y = QuantizeLinear(c, high, zero)",  # large ones too
        "c = Relu(x) y = QuantizeLinear(c, scale, middle)",
        "s = Abs(scale) c = Relu(x) y = QuantizeLinear(c, s, zero)",
        "c = Relu(x) a = ReduceMax<keepdims = 0>(c) s = Abs(a) y = QuantizeLinear(c, s, zero)",
    ],
)
def test_what_still_cuts_off_is_left_alone(nodes):
    assert_untouched(graph(nodes), drop_saturated)
