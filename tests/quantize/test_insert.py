"""Bytes, order, refusals. What onnxruntime makes of an insertion: test_fusion_*."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxzip.errors import UsageError
from onnxzip.model.opset import opset_of
from onnxzip.model.save import to_proto
from onnxzip.quantize import QuantPlan, Site, insert
from tests.helpers.graphs import model
from tests.helpers.numerics import assert_equivalent, run
from tests.quantize.audit import (
    conv_net,
    feeds,
    normal,
    plan_of,
    quantized,
    runtime_graph,
    sqnr,
)


def test_equal_scales_and_zero_points_are_stored_once() -> None:
    after = quantized(
        conv_net("a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) p = MaxPool<kernel_shape=[2,2]>(r) y = Conv(p, w2)")
    )
    contents = [
        (v.dtype, v.const_value.numpy().shape, v.const_value.numpy().tobytes())
        for v in after.graph.initializers.values()
    ]  # type: ignore[union-attr]
    assert len(set(contents)) == len(contents)


def test_two_insertions_give_the_same_bytes_and_leave_the_model_alone() -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")
    original = to_proto(net).SerializeToString(deterministic=True)
    plan = plan_of(net)
    replayed = QuantPlan.from_json(plan.to_json())
    first, second = (to_proto(insert(net, p)).SerializeToString(deterministic=True) for p in (plan, replayed))
    assert first == second
    assert to_proto(net).SerializeToString(deterministic=True) == original


def test_empty_plan_leaves_it_alone() -> None:
    net = conv_net("y = Conv(x, w1)", opset=11)
    after = insert(net, QuantPlan(target="cpu", method="mse"))
    assert opset_of(after) == 11
    assert_equivalent(net, after, rtol=0)


def test_plan_of_another_model_is_refused_by_name() -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(a, w2)")
    plan = plan_of(net)
    with pytest.raises(UsageError, match="Conv 'a' with output 'a' is planned, there is none"):
        insert(conv_net("k = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(k, w2)"), plan)
    with pytest.raises(UsageError, match="is planned, there it is Relu"):
        insert(conv_net("a = Relu(x) y = Conv(a, w2)"), plan)
    with pytest.raises(UsageError, match="does not read the constant weights 'w1'"):
        insert(conv_net("a = Conv<pads=[1,1,1,1]>(x, other, b1) y = Conv(a, w2)", other=normal(16, 16, 3, 3)), plan)
    ghost = Site(tensor="ghost", dtype="uint8", scale=1.0, zero_point=0, readers="all")
    with pytest.raises(UsageError, match="tensor 'ghost' is planned, there is none"):
        insert(net, QuantPlan(target="cpu", method="mse", sites=(ghost,), nodes=plan.nodes, weights=plan.weights))


def test_control_flow_bodies_read_the_dequantized_value() -> None:
    net = model(
        """agraph (float[N,16,8,8] x, bool c) => (float[N,16,6,6] y) {
          a = Conv(x, w)
          y = If (c) <then_branch = left () => (t) { t = Exp(a) }, else_branch = right () => (e) { e = Identity(a) }>
        }""",
        w=normal(16, 16, 3, 3),
    )
    batches = [{"x": f["x"], "c": np.array(True)} for f in feeds(net)]
    after = insert(net, plan_of(net, batches))
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert sqnr(net, after, batches[0]) > 25


def test_runtime_graph_of_a_float_model_has_no_integers(tmp_path: Path) -> None:
    """The audit itself can fail."""
    net = conv_net("y = Conv(x, w1)")
    assert not [n for n in runtime_graph(net, tmp_path).node if n.op_type.startswith("QLinear")]


@pytest.mark.parametrize("shape", [(1, 1, 48), (1, 1, 1, 48)])
def test_a_bias_with_more_axes_than_the_product_keeps_them(shape: tuple[int, ...]) -> None:
    rng, rank = np.random.default_rng(0), len(shape) - 1
    axes = ",".join((*"NST"[: rank - 1], "32"))
    before = model(
        f"g (float[{axes}] x) => (float[{','.join('abcd'[:rank])},48] y) {{ m = MatMul(x, w) y = Add(m, b) }}",
        w=rng.standard_normal((32, 48)).astype(np.float32),
        b=np.ones(shape, np.float32),
    )
    feed = {"x": rng.standard_normal([2] * (rank - 1) + [32]).astype(np.float32)}
    after = quantized(before)
    assert run(after, feed)["y"].shape == run(before, feed)["y"].shape
