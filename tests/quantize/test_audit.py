"""The audit finds each broken form, names the node, says why, and finds nothing where all is well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from onnxzip.errors import UsageError
from onnxzip.model.save import to_proto
from onnxzip.quantize import QuantPlan, insert, make_weights_plan
from onnxzip.quantize.audit import audit
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, feeds, normal, plan_of
from tests.quantize.broken import by_hand, codes, found, plain, planned, reasons, short, with_site, without_site

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w2, b2)"
RESIDUAL = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b2) s = Add(c, r) t = Relu(s) y = Conv(t, w3)"
POOL = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2]>(r) y = Conv(p, w2, b2)"
FIRE = "a = Conv(x, w1) r = Relu(a) b = Conv(x, w2) s = Relu(b) c = Concat<axis=1>(r, s) y = Conv(c, w3)"


@pytest.mark.parametrize(
    ("body", "inner"),
    [
        (CHAIN, 16),
        (RESIDUAL, 16),
        (POOL, 16),
        (FIRE, 32),
        ("a = Conv(x, w1) r = Tanh(a) y = Conv(r, w1)", 16),  # tied weights
        ("a = Conv(x, w1) r = HardSwish(a) y = Conv(r, w2)", 16),
        ("a = Conv(x, w1) p = GlobalAveragePool(a) y = Conv(p, point)", 16),
        ("a = Conv<group=16>(x, dw) t = Transpose<perm=[0,1,3,2]>(a) y = Conv(t, w2)", 16),
    ],
)
def test_finds_nothing_where_convs_run_as_planned(body: str, inner: int) -> None:
    arrays = {"w3": normal(16, inner, 3, 3), "dw": normal(16, 1, 3, 3), "point": normal(16, 16, 1, 1)}
    assert plain(conv_net(body, **arrays)) == []


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(
    "body",
    [
        "y = MatMul(x, w)",
        "m = MatMul(x, w) y = Add(m, b)",
        "m = MatMul(x, w) a = Add(m, b) r = Relu(a) y = MatMul(r, v)",
        "m = MatMul(x, q) r = Tanh(m) y = MatMul(r, q)",  # tied weights
    ],
)
def test_finds_nothing_where_matmuls_run_as_planned(body: str, rank: int) -> None:
    columns = 32 if "q)" in body else 48
    assert plain(dense(body, rank, columns, v=normal(48, 48), q=normal(32, 32))) == []


def test_finds_nothing_where_gemms_and_tables_run_as_planned() -> None:
    assert plain(dense("g = Gemm(x, w, b) r = Relu(g) y = Gemm<transB=1>(r, v, b)", v=normal(48, 48))) == []
    net = model("agraph (int64[N,5] i) => (float[N,5,32] y) { y = Gather(t, i) }", t=normal(2000, 32))
    assert found(net, plan_of(net, [{"i": np.zeros((1, 5), np.int64)}])) == []


def test_looks_at_nothing_when_nothing_is_planned() -> None:
    assert audit(conv_net("y = Relu(x)"), QuantPlan(target="cpu", method="mse")) == ()


def test_leaves_the_model_alone() -> None:
    net = conv_net(CHAIN)
    plan = plan_of(net)
    quantized = insert(net, plan)
    before = to_proto(quantized).SerializeToString(deterministic=True)
    audit(quantized, plan)
    assert to_proto(quantized).SerializeToString(deterministic=True) == before


# Case 1: float


def test_conv_without_an_output_q() -> None:
    net = conv_net(CHAIN)
    plan = without_site(plan_of(net), "y")
    findings = audit(insert(net, plan), plan)
    assert short(findings) == [("y", "float", "Conv")]
    assert findings[0].at_fault
    assert "is dequantized at every run: no Q follows" in findings[0].reason


def test_conv_without_an_input_q() -> None:
    net = conv_net(CHAIN)
    plan = without_site(plan_of(net), "x")
    findings = audit(insert(net, plan), plan)
    assert short(findings) == [("a", "float", "Conv")]
    assert "its input 'x' is not quantized" in reasons(findings)


def test_relu_is_absorbed_only_at_zero_point_0() -> None:
    net = conv_net(CHAIN)
    plan = with_site(plan_of(net), "r", zero_point=3)
    findings = audit(insert(net, plan), plan)
    assert short(findings) == [("a", "float", "Conv")]
    assert "Relu 'r' is not absorbed: the Q behind it reaches from -" in reasons(findings)


@pytest.mark.parametrize(("high", "expected"), [(4.0, []), (6.0, []), (7.0, [("a", "float", "Conv")])])
def test_clip_is_absorbed_only_within_its_bounds(high: float, expected: list[tuple[str, str, str]]) -> None:
    net = conv_net(CHAIN.replace("Relu(a)", "Clip(a, lo, hi)"), lo=np.float32(0), hi=np.float32(6))
    plan = with_site(plan_of(net), "r", scale=float(np.float32(high / 255)))
    findings = audit(insert(net, plan), plan)
    assert short(findings) == expected
    assert not findings or "reaches from 0 to 7" in reasons(findings)


def test_add_behind_which_a_relu_is_not_absorbed() -> None:
    net = conv_net(RESIDUAL, w3=normal(16, 16, 3, 3))
    plan = with_site(plan_of(net), "t", zero_point=3)
    findings = audit(insert(net, plan), plan)
    assert ("s", "float", "Add") in short(findings)
    assert {f.node for f in findings if f.at_fault} == {"s"}


@pytest.mark.parametrize(("scale", "fused"), [(0.05 * 0.01, True), (0.001, False)])
def test_bias_scale_that_is_not_the_product(scale: float, fused: bool) -> None:
    net = by_hand(
        "(float[N,16,8,8] x) => (float[N,16,6,6] y)",
        """q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) u = DequantizeLinear(b, bs)
        c = Conv(d, v, u) r = QuantizeLinear(c, s, z) y = DequantizeLinear(r, s, z)""",
        w=codes(16, 16, 3, 3),
        b=np.arange(16, dtype=np.int32),
        bs=np.float32(0.05) * np.float32(0.01) if fused else np.float32(scale),
    )
    findings = audit(net, planned(c="Conv conv"))
    assert short(findings) == ([] if fused else [("c", "float", "Conv")])
    assert fused or "is not the product" in reasons(findings)


def test_float_bias_of_a_gemm_without_an_output_q() -> None:
    net = by_hand(
        "(float[N,32] x) => (float[N,48] y)",
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) y = Gemm(d, v, b)",
        w=codes(32, 48),
        b=normal(48),
    )
    findings = audit(net, planned(y="Gemm gemm"))
    assert short(findings) == [("y", "float", "Gemm")]
    assert "its bias 'b' is float, and no Q follows" in reasons(findings)


@pytest.mark.parametrize(("shape", "expected"), [((48,), [("m", "float", "MatMul")]), ((1, 1, 48), [])])
def test_vector_bias_behind_a_matmul_of_three_axes(
    shape: tuple[int, ...], expected: list[tuple[str, str, str]]
) -> None:
    net = by_hand(
        "(float[2,5,32] x) => (float[2,5,48] y)",
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) m = MatMul(d, v) y = Add(m, b)",
        w=codes(32, 48),
        b=normal(48).reshape(shape),
    )
    findings = audit(net, planned(m="MatMul matmul"))
    assert short(findings) == expected
    assert not findings or "made of it and the Add behind it" in reasons(findings)


def test_matmul_whose_activations_stay_float_counts_as_float() -> None:
    net = dense("y = MatMul(x, w)", 3)
    plan = plan_of(net)
    weights = make_weights_plan(net)
    findings = audit(insert(net, weights), dataclasses.replace(weights, sites=plan.sites))
    assert short(findings) == [("y", "float", "MatMul")]
    assert "MatMulNBits with float activations" in reasons(findings)


def test_activation_between_a_conv_and_its_q() -> None:
    net = conv_net("a = Conv(x, w1) r = LeakyRelu(a) y = Conv(r, w2)")
    plan = plan_of(net)
    findings = audit(insert(net, without_site(plan, "a")), plan)
    assert ("a", "float", "Conv") in short(findings)


def test_output_that_others_read_in_float() -> None:
    net = conv_net("a = Conv(x, w1) s = Sigmoid(a) c = Conv(a, w2) d = Conv(s, w1) y = Add(c, d)")
    plan = with_site(plan_of(net), "a", readers="quantized")
    findings = audit(insert(net, plan), plan)
    assert ("a", "float", "Conv") in short(findings)
    assert "its output is read beside the Q, by Sigmoid" in reasons(findings)


def test_join_with_a_float_operand() -> None:
    net = conv_net(FIRE, w3=normal(16, 32, 3, 3))
    plan = without_site(plan_of(net), "s")
    findings = audit(insert(net, plan), plan)
    assert {f.node for f in findings if f.at_fault} == {"b", "c"}


def test_pool_with_another_scale_behind_it() -> None:
    """Shared scales: a pass-through runs in integers only when scale and zero point are the same on both sides."""
    net = conv_net(POOL)
    plan = plan_of(net)
    scale = next(s.scale for s in plan.sites if s.tensor == "p")
    findings = audit(insert(net, with_site(plan, "p", scale=scale * 2)), plan)
    assert ("p", "float", "MaxPool") in short(findings)


def test_only_the_failing_reader_of_tied_weights_is_named() -> None:
    net = conv_net("a = Conv(x, w1, b1) r = Relu(a) y = Conv(r, w1, b2)")
    plan = with_site(plan_of(net), "r", zero_point=3)
    assert found(net, plan) == [("a", "float", "Conv")]


def test_conv_that_writes_an_output_is_found_under_its_planned_name() -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    plan = without_site(plan_of(net), "x")
    assert found(net, plan) == [("y", "float", "Conv")]


# Case 2: weights


def test_table_that_is_dequantized_before_it_is_read() -> None:
    net = by_hand("(int64[N] i) => (float[N,32] y)", "t = DequantizeLinear(w, ws) y = Gather(t, i)", w=codes(2000, 32))
    findings = audit(net, planned(y="Gather table"))
    assert short(findings) == [("y", "weights", "Gather")]
    assert "the whole table is dequantized at every run" in reasons(findings)


def test_weights_and_tables_that_were_never_stored_as_integers() -> None:
    table = model("agraph (int64[N] i) => (float[N,32] y) { y = Gather(t, i) }", t=normal(2000, 32))
    assert short(audit(table, planned(y="Gather table"))) == [("y", "weights", "Gather")]
    body = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) c = Conv(d, v) e = QuantizeLinear(c, s, z) y = DequantizeLinear(e, s, z)"
    conv = by_hand("(float[N,16,8,8] x) => (float[N,16,6,6] y)", body, v=normal(16, 16, 3, 3))
    assert short(audit(conv, planned(c="Conv conv"))) == [("c", "weights", "Conv")]
    untouched = conv_net("c = Conv(x, w1) y = Relu(c)")
    assert short(audit(untouched, planned(c="Conv conv"))) == [("c", "float", "Conv")]


# Case 3: pool


def test_q_that_is_moved_up_through_a_pool() -> None:
    net = conv_net(POOL)
    plan = without_site(plan_of(net), "x", "r")
    findings = audit(insert(net, plan), plan)
    assert ("y", "pool", "Conv") in short(findings)
    assert "its Q was moved up through MaxPool 'p'" in reasons(findings)


# Cases 5 and 6: notes


# Cases 4 to 7: notes


def test_float_operator_that_gets_an_integer_kernel_unasked() -> None:
    net = conv_net("a = Conv(x, w1) r = AveragePool<kernel_shape=[2,2]>(a) y = Conv(r, w2)")
    plan = plan_of(net)
    findings = audit(insert(net, plan), plan)
    assert short(findings) == [("r", "unplanned", "AveragePool")]
    assert not findings[0].at_fault


def test_stored_weights() -> None:
    matmul, conv, tied = (
        dense("y = MatMul(x, w)", 3),
        conv_net("y = Conv(x, w1, b1)"),
        dense("m = MatMul(x, q) r = Tanh(m) y = MatMul(r, q)", 3, 32, q=normal(32, 32)),
    )
    assert found(matmul, make_weights_plan(matmul)) == []
    assert found(conv, make_weights_plan(conv)) == [("y", "stored", "Conv")]
    assert found(tied, make_weights_plan(tied)) == [("m", "stored", "MatMul"), ("y", "stored", "MatMul")]


def test_role_stored_beside_integer_kernels() -> None:
    net = dense("m = MatMul(x, w) r = Tanh(m) y = MatMul(r, v)", 3, v=normal(48, 48))
    plan = plan_of(net)
    nodes = tuple(dataclasses.replace(n, role="stored") if n.output == "y" else n for n in plan.nodes)
    part = without_site(dataclasses.replace(plan, nodes=nodes), "r")
    quantized = insert(net, without_site(plan, "r"))
    assert short(audit(quantized, part)) == []
    assert short(audit(quantized, plan)) == [("y", "float", "MatMul")]


def test_scale_of_each_token() -> None:
    body = "a = Abs(x) t = ReduceMax<axes=[-1]>(a) n = Div(x, t) q = QuantizeLinear(n, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear(w, ws) m = MatMul(d, v) y = Mul(m, t)"
    net = by_hand(
        "(float[N,5,32] x) => (float[N,5,48] y)",
        body.replace("<axes=[-1]>(a)", "(a, last)"),
        w=codes(32, 48),
        last=np.array([-1]),
    )
    assert short(audit(net, planned(m="MatMul token"))) == []


def test_refuses_a_model_that_is_not_of_the_plan() -> None:
    plan = plan_of(conv_net(CHAIN))
    with pytest.raises(UsageError, match="the model is not of this plan: Conv 'a' with output 'a'"):
        audit(conv_net("b = Conv(x, w1) y = Relu(b)"), plan)


def test_two_audits_say_the_same() -> None:
    net = conv_net(RESIDUAL, w3=normal(16, 16, 3, 3))
    plan = with_site(plan_of(net, feeds(net, 1)), "t", zero_point=3)
    assert audit(insert(net, plan), plan) == audit(insert(net, plan), plan)
