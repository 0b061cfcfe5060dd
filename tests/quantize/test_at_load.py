"""Convs with stored weights run as the float Convs that they are, and the numbers are those of DequantizeLinear."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.config import Config
from onnxzip.model.save import model_bytes
from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.at_load import at_load
from onnxzip.quantize.choose_weights import quantize_weights
from onnxzip.quantize.targets import target_row
from onnxzip.runtime import Session
from tests.helpers.graphs import model, op_types
from tests.quantize.audit import conv_net, dense, feeds, normal, runtime_ops

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) y = Conv(r, w2, b2)"


def stored(net: ir.Model, target: str = "cpu") -> tuple[QuantPlan, ir.Model]:
    choice = quantize_weights(net, Config(preset="weights8", target=target))
    assert choice.plan is not None
    assert choice.model is not None
    return choice.plan, choice.model


def test_the_runtime_runs_the_float_convs(tmp_path: Path) -> None:
    net = conv_net(CHAIN)
    _, after = stored(net)
    assert model_bytes(after) < 0.3 * model_bytes(net)
    assert runtime_ops(after, tmp_path) == runtime_ops(net, tmp_path)


def test_the_numbers_are_those_of_dequantize_linear() -> None:
    net = conv_net(CHAIN)
    plan, after = stored(net)
    other = insert(net, dataclasses.replace(plan, target="openvino"))
    assert op_types(other).count("DequantizeLinear") == 2
    assert op_types(other).count("Mul") == 0
    batch = feeds(net)[0]
    found, expected = (Session(m, level="none").run(batch)["y"] for m in (after, other))
    np.testing.assert_array_equal(found, expected)


def test_half_scales_and_groups() -> None:
    """64 channels: their scales are stored as float16."""
    net = model("g (float[N,64,8,8] x) => (float[N,64,6,6] y) { y = Conv<group=64>(x, w) }", w=normal(64, 1, 3, 3))
    plan, after = stored(net)
    assert plan.weights[0].half
    batch = feeds(net)[0]
    found, expected = (Session(m, level="none").run(batch)["y"] for m in (after, net))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_dense_layers_keep_dequantize_linear() -> None:
    plan, after = stored(dense("y = MatMul(x, w)"))
    assert at_load(plan, target_row("cpu-avx2")) == frozenset()
    assert op_types(after)[-2:] == ["DequantizeLinear", "MatMul"]
    assert "Mul" not in op_types(after)


@pytest.mark.parametrize("target", ["tensorrt", "openvino", "qnn"])
def test_compilers_are_left_their_dequantize_linear(target: str) -> None:
    plan, _ = stored(conv_net(CHAIN))
    assert at_load(plan, target_row("cpu-avx2")) == {"w1", "w2"}
    assert at_load(plan, target_row(target)) == frozenset()


def test_weights_that_something_in_integers_reads_too_are_left_alone() -> None:
    plan, _ = stored(conv_net(CHAIN))
    nodes = tuple(dataclasses.replace(n, role="conv") if n.weight == "w1" else n for n in plan.nodes)
    assert at_load(dataclasses.replace(plan, nodes=nodes), target_row("cpu-avx2")) == {"w2"}
    blocks = tuple(dataclasses.replace(w, dtype="uint4", block=16) for w in plan.weights)
    assert at_load(dataclasses.replace(plan, weights=blocks), target_row("cpu-avx2")) == frozenset()
