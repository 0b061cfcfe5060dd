"""Weights that several nodes read; what a plan adds to integers and biases."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.packed import pack
from onnxzip.quantize.targets import target_row
from onnxzip.quantize.weights import bias_of, float_weight, integer_weights
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import run
from tests.quantize.audit import (
    audit,
    conv_net,
    dense,
    feeds,
    normal,
    plan_of,
    quantized,
    runtime_ops,
    sqnr,
)


def test_tied_weights_are_stored_once_failure_29(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w1, b2)")
    after = audit(net, tmp_path, QLinearConv=2)
    assert sum(v.dtype == ir.DataType.INT8 for v in after.graph.initializers.values()) == 1
    assert "w1" not in after.graph.initializers


def test_embedding_tied_with_the_classifier_is_stored_once_failure_29(tmp_path: Path) -> None:
    net = model(
        "agraph (int64[N] i) => (float[N,2000] y) { e = Gather(t, i) h = Tanh(e) y = Gemm<transB=1>(h, t) }",
        t=normal(2000, 32),
    )
    batch = {"i": np.arange(9) * 200}
    after = insert(net, plan_of(net, [batch]))
    assert [v.const_value.size for v in after.graph.initializers.values() if v.dtype == ir.DataType.INT8].count(
        64000
    ) == 1  # type: ignore[union-attr]
    assert runtime_ops(after, tmp_path)["QGemm"] == 1
    assert sqnr(net, after, batch) > 25


def test_tied_weights_along_different_axes_stay_float_failure_29() -> None:
    net = model(
        "agraph (float[N,48] x) => (float[N,48] y) { h = MatMul(x, t) y = Gemm<transB=1>(h, t) }", t=normal(48, 32)
    )
    plan = plan_of(net)
    assert plan.nodes == ()
    assert "another axis" in plan.left[0].reason


def test_weights_that_a_float_node_reads_stay_float() -> None:
    net = model(
        "agraph (float[N,32] x) => (float[N,32] y, float[32,32] z) { y = MatMul(x, w) z = Exp(w) }", w=normal(32, 32)
    )
    plan = plan_of(net)
    assert plan.nodes == ()
    assert plan.left[0].reason == "its weights 'w' are read in float by Exp 'z' too"


def test_weights_from_constant_nodes(tmp_path: Path) -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    value = net.graph.initializers["w1"]
    node = ir.node("Constant", [], attributes={"value": value.const_value})
    node.outputs[0].name = "k"
    net.graph.insert_before(net.graph[0], node)
    net.graph[1].replace_input_with(1, node.outputs[0])
    del net.graph.initializers["w1"]
    after = quantized(net)
    assert "Constant" not in op_types(after)
    assert runtime_ops(after, tmp_path)["QLinearConv"] == 1


def test_the_scale_of_a_shared_weight_leaves_room_for_every_bias_failure_28(tmp_path: Path) -> None:
    weight = normal(16, 16, 3, 3)
    weight[5] *= 1e-13
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, wt, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, wt, big)",
        wt=weight,
        big=np.full(16, 9.0, np.float32),
    )
    audit(net, tmp_path, QLinearConv=2)


def with_rounding(plan: QuantPlan, rounding: np.ndarray) -> QuantPlan:
    (weight,) = plan.weights
    return dataclasses.replace(plan, weights=(dataclasses.replace(weight, rounding=pack(rounding)),))


def with_bias(plan: QuantPlan, output: str, shift: np.ndarray) -> QuantPlan:
    nodes = tuple(dataclasses.replace(p, bias=pack(shift)) if p.output == output else p for p in plan.nodes)
    return dataclasses.replace(plan, nodes=nodes)


def integers(net: ir.Model, plan: QuantPlan) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scales of the one weight."""
    ((_, found),) = integer_weights(plan, find_nodes(net, plan), target_row(plan.target)).values()
    return found.codes.astype(np.int16), found.scales


@pytest.mark.parametrize("target", ["cpu", "cpu-avx2"])
def test_the_rounding_of_a_plan_is_added_to_the_nearest_integers(target: str) -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    plan = plan_of(net, target=target)
    codes, scales = integers(net, plan)
    rounding = np.where(np.abs(codes) < 100, np.random.default_rng(0).integers(-1, 2, codes.shape), 0).astype(np.int8)
    found, same = integers(net, with_rounding(plan, rounding))
    np.testing.assert_array_equal(found, codes + rounding)
    np.testing.assert_array_equal(same, scales)


def test_a_rounding_that_does_not_fit_is_refused() -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    plan = plan_of(net)
    up = np.ones((16, 16, 3, 3), np.int8)
    with pytest.raises(UsageError, match="the rounding of weight 'w1' of the plan leaves the range of int8"):
        insert(net, with_rounding(plan, up * 2))
    with pytest.raises(UsageError, match="the rounding of weight 'w1' of the plan does not have the shape"):
        insert(net, with_rounding(plan, up[:15]))


@pytest.mark.parametrize("inputs", ["x, w1, b1", "x, w1"])
def test_corrections_are_added_to_biases_and_scales_do_not_depend_on_them(inputs: str) -> None:
    net, output = conv_net(f"y = Conv<pads=[1,1,1,1]>({inputs})"), "y"
    plan = plan_of(net)
    shift = np.linspace(-1e4, 1e4, 16).astype(np.float32)
    new = with_bias(plan, output, shift)
    nodes = find_nodes(net, plan)
    before, after = (bias_of(nodes[output], p.nodes[0], p) for p in (plan, new))
    np.testing.assert_array_equal(after, shift if before is None else before + shift)
    for one, two in zip(integers(net, plan), integers(net, new), strict=True):
        np.testing.assert_array_equal(one, two)


MATMULS = ("m = MatMul(x, w) y = Add(m, b)", "m = MatMul(x, w) y = Add(b, m)")


@pytest.mark.parametrize(("body", "rank"), [("y = Gemm(x, w, b)", 2), *((m, r) for m in MATMULS for r in (2, 3))])
def test_corrections_move_the_output_by_as_much(body: str, rank: int) -> None:
    net = dense(body, rank=rank)
    plan = plan_of(net)
    shift = np.linspace(-1, 1, 48).astype(np.float32)
    before, after = insert(net, plan), insert(net, with_bias(plan, "y", shift))
    batch = feeds(net)[0]
    moved = run(after, batch)["y"] - run(before, batch)["y"]
    np.testing.assert_allclose(moved, np.broadcast_to(shift, moved.shape), rtol=0, atol=1e-4)


def test_a_correction_of_another_width_is_refused() -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    with pytest.raises(UsageError, match="the bias of Conv 'y' of the plan does not have the shape"):
        insert(net, with_bias(plan_of(net), "y", np.ones(15, np.float32)))


def test_float_weights_are_multiplied_by_the_smoothing_of_what_their_reader_reads() -> None:
    net = dense("y = MatMul(x, w)", rank=3)
    plan = plan_of(net)
    factors = np.linspace(0.5, 2, 32).astype(np.float32)
    (site,) = plan.sites
    node = net.graph[0]
    value, weight = node.inputs[1], initializer(net, "w")
    assert value is not None
    smooth = {"x": dataclasses.replace(site, smooth=pack(factors))}
    np.testing.assert_array_equal(float_weight(value, node, smooth), weight * factors[:, None])
    for reader, sites in ((node, {"x": site}), (None, smooth), (node, {})):
        np.testing.assert_array_equal(float_weight(value, reader, sites), weight)
