"""Weights that several nodes read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnxzip.quantize import insert
from tests.helpers.graphs import model, op_types
from tests.quantize.audit import (
    audit,
    conv_net,
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
