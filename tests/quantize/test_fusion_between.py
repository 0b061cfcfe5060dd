"""What runs in integers between Convs, audited by reading back the graph that onnxruntime runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxzip.quantize import insert
from tests.helpers.graphs import model
from tests.quantize.audit import (
    audit,
    conv_net,
    deployed,
    feeds,
    normal,
    plan_of,
    runtime_ops,
)


def test_residual_add_with_relu(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b2) s = Add(c, r) t = Relu(s) y = Conv(t, w3)",
        w3=normal(16, 16, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, QLinearAdd=1, Relu=0, DequantizeLinear=1)


def test_add_of_a_conv_and_a_tensor_that_is_quantized_anyway(tmp_path: Path) -> None:
    net = conv_net("c = Conv<pads=[1,1,1,1]>(x, w1, b1) s = Add(x, c) y = Conv(s, w2)")
    audit(net, tmp_path, QLinearConv=2, QLinearAdd=1, Add=0)


def test_add_whose_result_no_integer_operator_wants_stays_float(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) c = Conv<pads=[1,1,1,1]>(a, w2, b2) y = Add(a, c)")
    audit(net, tmp_path, QLinearConv=2, QLinearAdd=0, Add=1)


def test_max_pool_between_convs(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) y = Conv(p, w2, b2)"
    )
    after = audit(net, tmp_path, QLinearConv=2, NhwcMaxPool=1, MaxPool=0, DequantizeLinear=1)
    pool = next(n for n in after.graph if n.op_type == "MaxPool")
    before, behind = pool.inputs[0].producer(), next(iter(pool.outputs[0].uses())).node  # type: ignore[union-attr]
    assert list(before.inputs[1:]) == list(behind.inputs[1:])  # the same scale and zero point


def test_conv_behind_a_max_pool_behind_a_float_conv_stays_float(tmp_path: Path) -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) c = Conv<pads=[1,1,1,1]>(p, w2, b2) y = Conv(c, w3)"
    net = conv_net(body, w3=normal(16, 16, 3, 3))
    plan = plan_of(net, keep=("a",))
    assert [(n.output, n.reason.split(";")[0]) for n in plan.left] == [
        ("a", "kept float as asked (keep_float)"),
        ("c", "it reads MaxPool 'p' behind a float operator"),
    ]
    ops = runtime_ops(insert(net, plan), tmp_path)
    assert ops["QLinearConv"] == 1
    assert ops["NhwcMaxPool"] == 0


def test_max_pool_of_the_input_keeps_its_conv_float() -> None:
    plan = plan_of(conv_net("p = MaxPool<kernel_shape=[2,2]>(x) y = Conv(p, w1)"))
    assert plan.nodes == ()
    assert "behind a float operator" in plan.notes[0]


def test_fire_module_concat_shares_one_scale(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) s = Relu(b) c = Concat<axis=1>(r, s) y = Conv(c, w3)",
        w3=normal(16, 32, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, QLinearConcat=1, Concat=0, DequantizeLinear=1)
    scales = {s.tensor: s.scale for s in plan_of(net).sites}
    assert scales["r"] == scales["s"] == scales["c"]


def test_concat_of_a_relu_and_a_signed_tensor_keeps_the_sign(tmp_path: Path) -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) c = Concat<axis=1>(r, b) y = Conv(c, w3)"
    net = conv_net(body, w3=normal(16, 32, 3, 3))
    audit(net, tmp_path, QLinearConv=3, QLinearConcat=1, Relu=0)
    sites = {s.tensor: s for s in plan_of(net).sites}
    assert sites["r"].zero_point == 0
    assert sites["c"].zero_point > 50


def test_chained_concats_of_different_activations_keep_the_sign(tmp_path: Path) -> None:
    net = conv_net(
        """a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) s = Relu(b) c = Concat<axis=1>(r, s)
        t = Reshape(c, shape) d = Conv<pads=[1,1,1,1]>(x, w3) e = Concat<axis=1>(t, d) y = Conv(e, w4)""",
        w3=normal(16, 16, 3, 3),
        w4=normal(16, 48, 3, 3),
        shape=np.array([0, 32, 8, 8], np.int64),
    )
    audit(net, tmp_path, QLinearConv=4, QLinearConcat=2)
    assert {s.tensor: s.zero_point for s in plan_of(net).sites}["e"] > 50


def test_average_pool_and_last_global_pool_stay_float(tmp_path: Path) -> None:
    audit(
        conv_net("a = Conv(x, w1) r = Relu(a) y = GlobalAveragePool(r)"), tmp_path, QLinearConv=1, GlobalAveragePool=1
    )
    audit(
        conv_net("a = Conv(x, w1) r = Relu(a) y = AveragePool<kernel_shape=[2,2]>(r)"),
        tmp_path,
        QLinearConv=1,
        AveragePool=1,
    )


def test_global_pool_before_a_gemm_runs_in_integers(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,8,8] x) => (float[N,32] y) { a = Conv(x, w) r = Relu(a) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, b) }",
        w=normal(16, 16, 3, 3),
        v=normal(16, 32),
        b=normal(32),
    )
    audit(net, tmp_path, QLinearConv=1, QLinearGlobalAveragePool=1, QGemm=1, Gemm=0)


def test_split_passes_through_as_a_whole(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1) l, r = Split<axis=1, num_outputs=2>(a) c = Conv(l, w3) s = Sigmoid(r) d = Conv(s, w3) y = Concat<axis=1>(c, d)",
        w3=normal(16, 8, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, Conv=0)


def test_detection_heads_keep_their_own_scales_failure_30(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, boxes) b = Conv<pads=[1,1,1,1]>(x, w1) s = Sigmoid(b) y = Concat<axis=1>(a, s)",
        boxes=normal(16, 16, 3, 3) * 300,
    )
    after = audit(net, tmp_path, QLinearConv=2, QLinearConcat=0, Concat=1)
    batch = feeds(net)[0]
    expected, actual = (deployed(m).run(batch)["y"][:, 16:] for m in (net, after))
    assert np.abs(expected - actual).max() < 0.02
