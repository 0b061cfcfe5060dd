"""Q and DQ that are pure cost are found and named; those that have their place are not."""

from __future__ import annotations

import numpy as np

from onnxzip.quantize import insert
from onnxzip.quantize.audit import audit
from tests.quantize.audit import conv_net, plan_of
from tests.quantize.broken import by_hand, codes, planned, reasons, short


def test_integers_that_are_scaled_anew() -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = QuantizeLinear(d, s2, z) f = DequantizeLinear(e, s2, z) v = DequantizeLinear(w, ws) m = MatMul(f, v) h = Sigmoid(d) y = Add(m, h)"
    net = by_hand("(float[N,5,32] x) => (float[N,5,32] y)", body, w=codes(32, 32), s2=np.float32(0.5))
    findings = audit(net, planned(m="MatMul matmul"))
    assert {f.kind for f in findings} == {"stray"}
    assert "integers are dequantized and quantized again" in reasons(findings)


def test_q_and_dq_between_integers_and_float_have_their_place() -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) m = MatMul(d, v) e = QuantizeLinear(m, s, z) f = DequantizeLinear(e, s, z) y = Erf(f)"
    net = by_hand("(float[N,5,32] x) => (float[N,5,32] y)", body, w=codes(32, 32))
    assert short(audit(net, planned(m="MatMul matmul"))) == []


def test_tensor_far_from_all_planned_nodes_is_named_itself() -> None:
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) y = MatMul(d, v) t = Tanh(k) e = QuantizeLinear(t, s, z) f = DequantizeLinear(e, s, z) u = Erf(f)"
    net = by_hand("(float[N,5,32] x, float[N,5] k) => (float[N,5,32] y, float[N,5] u)", body, w=codes(32, 32))
    findings = audit(net, planned(y="MatMul matmul"))
    assert short(findings) == [("t", "stray", "")]
    assert "rounded and read in float, by Erf" in reasons(findings)


def test_integers_that_are_dequantized_for_each_float_reader() -> None:
    net = conv_net("a = Conv(x, w1) s = Sigmoid(a) r = Mul(a, s) y = Conv(r, w2)")
    plan = plan_of(net)
    findings = audit(insert(net, plan), plan)
    assert short(findings) == [("a", "stray", "Conv")]
    assert "dequantized once more" in reasons(findings)


def test_value_that_is_dequantized_only_to_be_moved() -> None:
    net = conv_net("a = Conv(x, w1) p = Pad(a, pads) y = Conv(p, w2)", pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    plan = plan_of(net)
    findings = audit(insert(net, plan), plan)
    assert [f.kind for f in findings] == ["stray"]
    assert "dequantized to be moved by Pad 'p' and quantized again" in reasons(findings)
