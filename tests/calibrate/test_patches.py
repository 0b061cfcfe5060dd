"""Rows of layers against the runtime's own outputs: W · row + b must be what the layer computes at that place."""

from __future__ import annotations

import itertools

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.patches import sample, site_of
from onnxzip.prune.rules import analyse
from onnxzip.runtime import Session
from tests.prune.nets import Net


def assert_rows_explain_outputs(model: ir.Model, x: np.ndarray) -> None:
    read = analyse(model).reads[0]
    site = site_of(read.node)
    assert site is not None
    y = next(iter(Session(model, level="none").run({"x": x}).values()))
    grid = site.grid(x.shape)
    assert grid == site.grid_of_outputs(y.shape)
    assert site.shape_of_outputs(grid, len(read.taps)) == y.shape
    where = sample(grid, 50, 0)
    rows = site.rows(x, where).reshape(len(where), read.groups, -1)
    weights = read.taps.astype(np.float64).reshape(read.groups, len(read.taps) // read.groups, -1)
    bias = read.node.inputs[2]
    assert bias is not None
    assert bias.const_value is not None
    found = np.einsum("ngk,gmk->ngm", rows, weights).reshape(len(where), -1) + bias.const_value.numpy()
    np.testing.assert_allclose(found, site.targets(y, where), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (1, 2, 1), (3, 2, 2), (2, 1, 4)])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 2, 0, 3]])
def test_conv(stride: int, dilation: int, groups: int, pads: list[int]) -> None:
    net = Net(2, 8, 11, 9)
    y = net.op(
        "Conv", "x", net.weight(net.random(12, 8 // groups, 3, 2)), net.weight(net.random(12)),
        strides=[stride, stride], dilations=[dilation, 1], group=groups, pads=pads,
    )  # fmt: skip
    assert_rows_explain_outputs(net.model(y), net.random(2, 8, 11, 9))


@pytest.mark.parametrize(("mode", "stride"), [*itertools.product(["SAME_UPPER", "SAME_LOWER", "VALID"], [1, 2, 3])])
def test_conv_that_pads_by_itself(mode: str, stride: int) -> None:
    net = Net(2, 3, 10, 7)
    weights = [net.weight(net.random(4, 3, 4, 2)), net.weight(net.random(4))]
    y = net.op("Conv", "x", *weights, strides=[stride, stride], auto_pad=mode)
    assert_rows_explain_outputs(net.model(y), net.random(2, 3, 10, 7))


def test_conv_over_one_axis() -> None:
    net = Net(2, 3, 10)
    y = net.op("Conv", "x", net.weight(net.random(4, 3, 5)), net.weight(net.random(4)), pads=[2, 1], strides=[2])
    assert_rows_explain_outputs(net.model(y, ranks=(3,)), net.random(2, 3, 10))


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(transposed: int) -> None:
    net = Net(*((6, 9) if transposed else (9, 6)))
    y = net.op("Gemm", "x", net.weight(net.random(6, 5)), net.weight(net.random(5)), transA=transposed)
    assert_rows_explain_outputs(net.model(y, ranks=(2,)), net.random(*((6, 9) if transposed else (9, 6))))


def test_samples_are_the_same_for_the_same_batch_and_differ_between_batches() -> None:
    grid = (4, 10, 10)
    assert np.array_equal(sample(grid, 30, 1), sample(grid, 30, 1))
    assert not np.array_equal(sample(grid, 30, 1), sample(grid, 30, 2))
    assert np.array_equal(sample(grid, 500, 1), np.arange(400))
    allowed = np.arange(400) % 3 == 0
    assert (sample(grid, 30, 1, allowed) % 3 == 0).all()
