"""Quantizing again by the same scale."""

import numpy as np
import pytest

from onnxzip.passes.cancel_requantization import cancel_requantization
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def graph(nodes, kind="uint8", opset=18, **arrays):
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({kind}[N,256] x) => ({kind}[N,256] y) {{ {nodes} }}'
    return model(text, **{k: v for k, v in arrays.items() if k in nodes})


PAIR = "d = DequantizeLinear(x, scale, zero) q = QuantizeLinear(d, scale2, zero2) y = Identity(q)"


@pytest.mark.parametrize("scale", [0.1, 1 / 3, 0.0078431377, 1e-9, 123.456])
@pytest.mark.parametrize(("kind", "zero"), [("uint8", 128), ("int8", -7), ("uint8", 0)])
def test_the_same_integers_come_back(kind, zero, scale):
    dtype = np.dtype(kind)
    numbers = {
        "scale": np.float32(scale),
        "scale2": np.float32(scale),
        "zero": dtype.type(zero),
        "zero2": dtype.type(zero),
    }
    before = graph(PAIR, kind, **numbers)
    after, outcome = apply(before, cancel_requantization)
    assert outcome.changes == 1
    assert op_types(after) == ["Identity"]
    everything = np.arange(256, dtype=np.uint8).view(dtype)[None]
    assert_equivalent(before, after, rtol=0, batch={"x": everything})


def test_sixteen_bits():
    numbers = {"scale": np.float32(1 / 3), "scale2": np.float32(1 / 3), "zero": np.uint16(999), "zero2": np.uint16(999)}
    before = graph(PAIR, "uint16", opset=21, **numbers)
    after, _ = apply(before, cancel_requantization)
    assert op_types(after) == ["Identity"]
    assert_equivalent(before, after, rtol=0, batch={"x": np.arange(65536, dtype=np.uint16).reshape(256, 256)})


def test_other_scales_and_axes_are_left_alone():
    numbers = {"scale": np.float32(0.1), "scale2": np.float32(0.2), "zero": np.uint8(3), "zero2": np.uint8(3)}
    assert_untouched(graph(PAIR, **numbers), cancel_requantization)
    assert_untouched(graph(PAIR, **numbers | {"scale2": np.float32(0.1), "zero2": np.uint8(4)}), cancel_requantization)
    assert_untouched(
        graph(PAIR, **{k: np.float32(0) if k.startswith("s") else v for k, v in numbers.items()}), cancel_requantization
    )
    assert_untouched(
        graph("d = DequantizeLinear(x, s) a = Abs(s) y = QuantizeLinear(d, a)", s=np.float32(1)), cancel_requantization
    )


def test_a_graph_output_is_not_an_input():
    same = {"scale": np.float32(1), "scale2": np.float32(1), "zero": np.uint8(0), "zero2": np.uint8(0)}
    assert_untouched(
        graph("d = DequantizeLinear(x, scale, zero) y = QuantizeLinear(d, scale2, zero2)", **same),
        cancel_requantization,
    )


@pytest.mark.parametrize(
    "nodes",
    [
        "d = DequantizeLinear<output_dtype = 10>(x, scale, zero) q = QuantizeLinear(d, scale2, zero2) y = Identity(q)",
        "d = DequantizeLinear(x, scale, zero) q = QuantizeLinear<precision = 10>(d, scale2, zero2) y = Identity(q)",
    ],
)
def test_half_precision_in_between_is_left_alone(nodes):
    numbers = {"scale": np.float32(0.1), "scale2": np.float32(0.1), "zero": np.uint16(0), "zero2": np.uint16(0)}
    assert_untouched(graph(nodes, "uint16", opset=23, **numbers), cancel_requantization)
