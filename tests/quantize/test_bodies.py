"""Integer kernels inside bodies of If, Loop and Scan: planned, put in, found by onnxruntime, close to float."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.calibrate.collect import collect
from onnxzip.calibrate.gather import Gathering, View
from onnxzip.calibrate.probe import Passes
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.model.signature import signature
from onnxzip.model.walk import all_nodes, bodies_of
from onnxzip.quantize import QuantPlan, insert, make_weights_plan, observe
from onnxzip.quantize.audit import audit as look
from onnxzip.quantize.deployed import deploy
from onnxzip.quantize.forms import Rows
from onnxzip.quantize.refine import look_at, refine
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import model
from tests.quantize.audit import Feed, normal, plan_of, sqnr

IF = """agraph (bool c, float[N,16,8,8] x) => (float[N,16,8,8] y) {
    y = If (c) <
        then_branch = then () => (float[N,16,8,8] a) {
            c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
            r1 = Relu (c1)
            a = Conv <pads = [1,1,1,1]> (r1, w2)
        },
        else_branch = else () => (float[N,16,8,8] b) {
            c2 = Conv <pads = [1,1,1,1]> (x, w3)
            b = Sigmoid (c2)
        }>
}"""

LOOP = """agraph (int64 n, float[N,%s64] x) => (float[N,%s64] y) {
    t = Constant <value = bool {1}> ()
    y = Loop (n, t, x) <body = body (int64 i, bool go, float[N,%s64] s) => (bool go_on, float[N,%s64] next) {
        go_on = Identity (go)
        h = MatMul (s, w)
        k = Add (h, b)
        e = Tanh (k)
        next = Add (e, x)
    }>
}"""

SCAN = """agraph (float[N,64] s0, float[T,N,64] x) => (float[N,64] y, float[T,N,64] z) {
    y, z = Scan <num_scan_inputs = 1, body = body (float[N,64] s, float[N,64] xi) => (float[N,64] next, float[N,64] kept) {
        h = MatMul (xi, w)
        e = Tanh (h)
        g = Gemm (s, v, b)
        sum = Sub (e, g)
        next = Tanh (sum)
        kept = Neg (next)
    }> (s0, x)
}"""

NESTED = """agraph (bool c, int64 n, float[N,64] x) => (float[N,64] y) {
    t = Constant <value = bool {1}> ()
    p = MatMul (x, u)
    y = If (c) <
        then_branch = then () => (float[N,64] a) {
            a = Loop (n, t, p) <body = body (int64 i, bool go, float[N,64] s) => (bool go_on, float[N,64] next) {
                go_on = Identity (go)
                odd = Mod (i, two)
                flag = Cast <to = 9> (odd)
                r = If (flag) <
                    then_branch = odds () => (float[N,64] q1) { h1 = MatMul (s, w) q1 = Tanh (h1) },
                    else_branch = evens () => (float[N,64] q2) { h2 = MatMul (s, v) q2 = Tanh (h2) }>
                next = Add (r, p)
            }>
        },
        else_branch = else () => (float[N,64] d) { d = MatMul (p, w) }>
}"""


def if_net() -> ir.Model:
    return model(IF, **{n: normal(16, 16, 3, 3) for n in ("w1", "w2", "w3")}, b1=normal(16))


def loop_net(middle: str = "") -> ir.Model:
    return model(LOOP % ((middle,) * 4), w=normal(64, 64), b=normal(64))


def nested_net() -> ir.Model:
    return model(NESTED, w=normal(64, 64), v=normal(64, 64), u=normal(64, 64), two=np.array(2))


def images(*taken: bool) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [{"c": np.array(c), "x": rng.standard_normal((8, 16, 8, 8)).astype(np.float32)} for c in taken]


def rows(*counts: int, middle: tuple[int, ...] = ()) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [{"n": np.array(n), "x": rng.standard_normal((8, *middle, 64)).astype(np.float32)} for n in counts]


def runs(net: ir.Model) -> Counter[str]:
    """The operators that onnxruntime runs, bodies included."""
    return Counter(n.op_type for n in all_nodes(deploy(net).model))


def check(before: ir.Model, batches: list[Feed], **expected: int) -> tuple[QuantPlan, ir.Model]:
    """Quantized on these batches: close to float, as planned, with these operators and no float weights left."""
    plan = plan_of(before, batches)
    after = insert(before, plan)
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert (plan.left, plan.notes) == ((), ())
    assert look(after, plan) == ()
    ops = runs(after)
    assert {k: ops[k] for k in expected} == expected, ops
    assert signature(after) == signature(before)
    assert min(sqnr(before, after, b) for b in batches) > 25
    assert model_bytes(after) < 0.45 * model_bytes(before)
    return plan, after


def test_failure_8_convs_inside_if_are_quantized() -> None:
    """`quantize_static` writes this model without one Q or DQ and says nothing."""
    net = if_net()
    plan, after = check(net, images(True, False), QLinearConv=3, Conv=0, FusedConv=0)
    assert [(n.op, n.output, n.role) for n in plan.nodes] == [("Conv", o, "conv") for o in ("c1", "a", "c2")]
    assert observe(net, "cpu") == ("x", "r1", "a", "c2")
    (condition,) = after.graph
    for body in bodies_of(condition):
        assert {"QuantizeLinear", "DequantizeLinear"} <= {n.op_type for n in body}


def test_a_branch_that_no_data_takes_stays_float_and_is_counted() -> None:
    net = if_net()
    plan = plan_of(net, images(True, True))
    assert [(n.output, n.reason) for n in plan.left] == [
        ("c2", "tensor 'c2' cannot be quantized: no calibration value reached it")
    ]
    assert plan.notes == ("33% of the weights stay float inside If, Loop and Scan bodies: 1 Conv",)
    assert runs(insert(net, plan))["QLinearConv"] == 2


def test_loop() -> None:
    check(loop_net(), rows(3, 0, 5), QGemm=1, MatMul=0, Gemm=0, DequantizeLinear=0)
    check(loop_net("3,"), rows(3, 1, middle=(3,)), MatMulIntegerToFloat=1, MatMul=0)


def test_scan() -> None:
    rng = np.random.default_rng(0)
    batches = [
        {"s0": rng.standard_normal((8, 64)).astype(np.float32), "x": rng.standard_normal((t, 8, 64)).astype(np.float32)}
        for t in (5, 2)
    ]
    net = model(SCAN, w=normal(64, 64), v=normal(64, 64), b=normal(64))
    check(net, batches, Scan=1, QGemm=1, MatMulIntegerToFloat=1, MatMul=0, Gemm=0)


def test_bodies_in_bodies_and_weights_that_two_of_them_read() -> None:
    net = nested_net()
    batches = [{**b, "c": np.array(c)} for b, c in zip(rows(3, 2, 4), (True, False, True), strict=True)]
    plan, after = check(net, batches, MatMulIntegerToFloat=4, MatMul=0)
    assert [w.initializer for w in plan.weights] == ["u", "w", "v"]
    assert insert(net, QuantPlan.from_json(plan.to_json())).graph.num_nodes() == after.graph.num_nodes()
    assert to_proto(insert(net, QuantPlan.from_json(plan.to_json()))) == to_proto(after)


def test_values_of_integer_kernels_outside_are_quantized_again_inside() -> None:
    net = model(
        """agraph (bool c, float[N,16,8,8] x) => (float[N,16,8,8] y) {
            o = Conv <pads = [1,1,1,1]> (x, w1)
            y = If (c) <
                then_branch = then () => (float[N,16,8,8] a) { a = Conv <pads = [1,1,1,1]> (o, w2) },
                else_branch = else () => (float[N,16,8,8] b) { b = Neg (o) }>
        }""",
        w1=normal(16, 16, 3, 3),
        w2=normal(16, 16, 3, 3),
    )
    plan, _ = check(net, images(True, False), QLinearConv=2, Conv=0)
    assert [(s.tensor, s.readers) for s in plan.sites] == [("x", "quantized"), ("o", "all"), ("a", "all")]


def test_a_scale_for_each_token_inside_a_loop() -> None:
    net, batches = loop_net("3,"), rows(3, 2, middle=(3,))
    plan = plan_of(net, batches)
    (site,) = plan.sites
    nodes = tuple(n if n.role == "row_bias" else dataclasses.replace(n, role="token") for n in plan.nodes)
    token = dataclasses.replace(
        plan, sites=(dataclasses.replace(site, per_token=True, scale=2 / 255, zero_point=128),), nodes=nodes
    )
    after = insert(net, token)
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert runs(after)["MatMulIntegerToFloat"] == 1
    assert min(sqnr(net, after, b) for b in batches) > 25


def test_rounding_is_fitted_to_what_iterations_read() -> None:
    net, batches = nested_net(), [{**b, "c": np.array(True)} for b in rows(3, 2, 4, 1)]
    plan = plan_of(net, batches)
    view = View(batches, None, 4096, Passes())
    layers = [n for n in net.graph.all_nodes() if n.op_type == "MatMul"]
    seen = Gathering([k for n in layers if (k := look_at(n, 1)) is not None], view, single=True)
    kept = Rows(["s", "p"], view)
    collect(net, ["p"], batches, watchers=[seen, kept])
    assert {n: a.count + b.count for n, (a, b) in seen.halves.items()} == {"p": 32, "h1": 80, "h2": 80, "d": 32}
    assert (kept.of("s").shape, kept.of("p").shape) == ((80, 64), (32, 64))
    moments = {n: a for n, (a, _) in seen.halves.items()}
    refined = refine(net, plan, target_row("cpu"), moments)
    assert [bool(w.rounding) for w in refined.weights] == [True, False, True]  # two layers read the second
    assert min(sqnr(net, insert(net, refined), b) for b in batches) > 25


def test_what_did_not_run_gives_no_rows() -> None:
    net, batches = nested_net(), [{**b, "c": np.array(False)} for b in rows(3, 2)]
    view = View(batches, None, 4096, Passes())
    kept = Rows(["s"], view)
    collect(net, ["p"], batches, watchers=[kept])
    assert kept.of("s").shape == (0, 0)


@pytest.mark.parametrize(("net", "kernels"), [(loop_net, 1), (nested_net, 4)])
def test_weights_alone(net: object, kernels: int) -> None:
    float_net: ir.Model = net()  # type: ignore[operator]
    plan = make_weights_plan(float_net)
    after = insert(float_net, plan)
    assert plan.notes == ()
    ops = runs(after)
    assert ops["MatMulNBits"] + ops["DequantizeLinear"] == kernels
    batches = [{**b, "c": np.array(True)} if kernels > 1 else b for b in rows(3, 1)]
    assert min(sqnr(float_net, after, b) for b in batches) > 30
    assert model_bytes(after) < 0.45 * model_bytes(float_net)


def test_weights_that_too_many_bodies_read_stay_float() -> None:
    branch = "If (c) <then_branch = t{0} () => (a{0}) {{ a{0} = MatMul (x, w) }}, else_branch = e{0} () => (b{0}) {{ b{0} = MatMul (x, w) }}>"
    text = " ".join(f"y{i} = {branch.format(i)}" for i in range(2))
    net = model(f"agraph (bool c, float[N,64] x) => (float[N,64] y0, float[N,64] y1) {{ {text} }}", w=normal(64, 64))
    (reason,) = {n.reason for n in make_weights_plan(net).left}
    assert reason == "its weights 'w' are read in more than 3 bodies, each of which would hold a copy"


def test_leaves_a_body_alone_that_holds_no_weights() -> None:
    net = model(
        """agraph (bool c, float[N,32] x) => (float[N,48] y) {
            z = If (c) <then_branch = t () => (float[N,32] a) { a = Neg (x) }, else_branch = e () => (float[N,32] b) { b = Abs (x) }>
            y = MatMul (z, w)
        }""",
        w=normal(32, 48),
    )
    rng = np.random.default_rng(0)
    batch = {"c": np.array(True), "x": rng.standard_normal((8, 32)).astype(np.float32)}
    after = insert(net, plan_of(net, [batch]))
    assert [[n.op_type for n in b] for n in after.graph for b in bodies_of(n)] == [["Neg"], ["Abs"]]
