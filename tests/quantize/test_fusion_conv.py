"""Traps of the integer Conv, each audited by reading back the graph that onnxruntime runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.opset import opset_of
from tests.helpers.graphs import initializer, model, op_types
from tests.quantize.audit import (
    audit,
    conv_net,
    normal,
    quantized,
)


def test_conv_chain_runs_in_integers(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w2, b2)")
    after = audit(net, tmp_path, QLinearConv=2, Conv=0, FusedConv=0, QuantizeLinear=1, DequantizeLinear=1)
    assert op_types(after).count("QuantizeLinear") == 3  # x, r, y: none between Conv and Relu


def test_weights_are_signed_and_activations_are_not_failure_26() -> None:
    after = quantized(conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(a, w2)"))
    dtypes = {n: v.dtype for n, v in after.graph.initializers.items()}
    assert {d for n, d in dtypes.items() if n.startswith("weight")} == {ir.DataType.INT8}
    assert {d for n, d in dtypes.items() if n.startswith("zero")} == {ir.DataType.UINT8}
    assert initializer(after, "weight").min() == -127


@pytest.mark.parametrize("opset", [9, 11, 12, 13])
def test_per_channel_is_valid_from_every_opset_failure_23(opset: int, tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)", opset=opset)
    after = audit(net, tmp_path, QLinearConv=2, Conv=0)
    assert opset_of(after) == 13


def test_newer_opset_is_left_alone() -> None:
    assert opset_of(quantized(conv_net("y = Conv(x, w1, b1)", opset=18))) == 18


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        ("y = Conv<group=16, pads=[1,1,1,1]>(x, dw)", {"dw": normal(16, 1, 3, 3)}),
        ("y = Conv<group=4>(x, g)", {"g": normal(32, 4, 3, 3)}),
        ('y = Conv<strides=[2,2], auto_pad="SAME_UPPER">(x, w1)', {}),
    ],
)
def test_depthwise_and_grouped_convs(body: str, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    audit(conv_net(body, **arrays), tmp_path, QLinearConv=1, Conv=0)


def test_one_dimensional_conv(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,20] x) => (float[N,32,18] y) { y = Conv(x, w, b) }", w=normal(32, 16, 3), b=normal(32)
    )
    audit(net, tmp_path, QLinearConv=1, Conv=0)


def test_relu_that_others_read_too_is_not_absorbed(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) s = Sigmoid(a) p = Mul(r, s) y = Conv(p, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.0, 0.2), (-0.1, 0.3), (-1.0, 1.0)])
def test_clip_is_absorbed_with_its_bounds(low: float, high: float, tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip(a, lo, hi) y = Conv(r, w2, b2)",
        lo=np.float32(low),
        hi=np.float32(high),
    )
    audit(net, tmp_path, QLinearConv=2, Clip=0, DequantizeLinear=1)


def test_relu6_of_old_opsets(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip<min=0.0, max=6.0>(a) y = Conv(r, w2, b2)", opset=9)
    audit(net, tmp_path, QLinearConv=2, Clip=0, DequantizeLinear=1)


def test_clip_that_excludes_zero_stays_between_integers(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip(a, lo, hi) y = Conv(r, w2, b2)",
        lo=np.float32(0.5),
        hi=np.float32(6),
    )
    audit(net, tmp_path, QLinearConv=2, Clip=1)


@pytest.mark.parametrize("activation", ["LeakyRelu(a)", "Sigmoid(a)", "HardSwish(a)", "Tanh(a)"])
def test_other_activations_get_a_pair_before_them(activation: str, tmp_path: Path) -> None:
    net = conv_net(f"a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = {activation} y = Conv(r, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


def test_x_times_sigmoid(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) s = Sigmoid(a) r = Mul(a, s) y = Conv(r, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


def test_bias_stays_float_and_is_stored_once(tmp_path: Path) -> None:
    """The runtime makes it int32 when it loads; int32 with scales of its own would take twice the bytes."""
    after = audit(
        conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b1)"), tmp_path, QLinearConv=2
    )
    assert after.graph.initializers["b1"].dtype == ir.DataType.FLOAT


def test_bias_of_a_tiny_channel_does_not_overflow_failure_28(tmp_path: Path) -> None:
    weight, bias = normal(16, 16, 3, 3), np.full(16, 5.0, np.float32)
    weight[3] *= 1e-12
    weight[4] = 0
    audit(conv_net("y = Conv(x, wt, bt)", wt=weight, bt=bias), tmp_path, decibels=35, QLinearConv=1)


def test_conv_that_writes_an_output_keeps_its_name_and_its_other_readers(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,8,8] x) => (float[N,16,6,6] a, float[N,16,4,4] y) { a = Conv(x, w) y = Conv(a, v) }",
        w=normal(16, 16, 3, 3),
        v=normal(16, 16, 3, 3),
    )
    after = audit(net, tmp_path, QLinearConv=2, Conv=0)
    assert [o.name for o in after.graph.outputs] == ["a", "y"]
