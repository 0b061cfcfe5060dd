"""Why there is no integer kernel, seen in the quantized model alone."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.quantize.audit import audit
from onnxzip.quantize.causes import cause
from tests.quantize.audit import conv_net, dense, normal, plan_of, quantized
from tests.quantize.broken import by_hand, codes, found, planned


def causes(net: ir.Model, *op_types: str) -> list[str]:
    return [cause(n) for n in net.graph if n.op_type in op_types]


@pytest.mark.parametrize(
    "body", ["y = Gemm(x, w, b)", "m = MatMul(x, w) y = Add(m, b)", "m = MatMul(x, w) y = Relu(m)"]
)
def test_says_nothing_of_good_dense_layers(body: str) -> None:
    assert causes(quantized(dense(body)), "Gemm", "MatMul") == [""]


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.0, 0.2), (-0.1, 0.3), (-1.0, 1.0)])
def test_says_nothing_of_clips_within_their_bounds(low: float, high: float) -> None:
    net = conv_net("a = Conv(x, w1) r = Clip(a, lo, hi) y = Conv(r, w2)", lo=np.float32(low), hi=np.float32(high))
    assert causes(quantized(net), "Conv") == ["", ""]


@pytest.mark.parametrize(("factor", "expected"), [(1.0, ""), (2.0, "is not the product")])
def test_bias_of_the_add_behind_a_matmul(factor: float, expected: str) -> None:
    net = by_hand(
        "(float[4,32] x) => (float[4,48] y)",
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) m = MatMul(d, v) c = DequantizeLinear(bias, bs) y = Add(m, c)",
        w=codes(32, 48),
        bias=codes(48).astype(np.int32),
        bs=np.float32(0.05) * np.float32(0.01) * np.float32(factor),
    )
    (seen,) = causes(net, "MatMul")
    assert expected in seen
    assert bool(seen) == bool(expected)


def test_split_with_an_output_that_nobody_reads() -> None:
    """Found in plans as they are made: the unread half has no Q, and onnxruntime wants one behind each."""
    net = conv_net("a = Conv(x, w1) l, r = Split<axis=2, num_outputs=2>(a) y = Conv(r, w2)")
    assert cause(next(n for n in quantized(net).graph if n.op_type == "Split")) == "no Q follows its output 'l'"
    both = conv_net(
        "a = Conv(x, w1) l, r = Split<axis=2, num_outputs=2>(a) c = Conv(l, w2) d = Conv(r, w2) y = Sub(c, d)"
    )
    assert found(both, plan_of(both)) == []


def test_weights_that_are_not_dequantized() -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = MatMul(d, v)"
    net = by_hand("(float[4,32] x) => (float[4,48] y)", body, v=normal(32, 48))
    assert causes(net, "MatMul") == ["its weights 'v' are stored in float"]
    assert [f.node for f in audit(net, planned(y="MatMul matmul"))] == ["y"]
