"""Blocks of 4-bit weights against onnxruntime's own DequantizeLinear."""

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.quantize import blocks as b4
from onnxzip.quantize.matrix import to_rows
from onnxzip.runtime import Session
from tests.quantize.audit import normal


def in_runtime(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, axis: int, size: int) -> np.ndarray:
    """What onnxruntime's DequantizeLinear makes of codes."""
    small = ir.DataType.UINT4.numpy()
    constants = [
        ir.val(name, const_value=ir.tensor(array, name=name))
        for name, array in (("q", codes.astype(small)), ("s", scales), ("z", zeros.astype(small)))
    ]
    node = ir.node("DequantizeLinear", constants, attributes={"axis": axis, "block_size": size})
    node.outputs[0].name = "y"
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=constants, opset_imports={"": 21}, name="g")
    found: np.ndarray = Session(ir.Model(graph, ir_version=10), level="none").run({})["y"]
    return found


@pytest.mark.parametrize(
    ("shape", "axis"), [((96, 24), 1), ((24, 96), 0), ((100, 6), 1), ((8, 40, 3, 3), 0), ((8, 96, 1, 1), 0)]
)
def test_layout_is_that_of_dequantize_linear(shape: tuple[int, ...], axis: int) -> None:
    weights = normal(*shape)
    rows = to_rows(weights.astype(np.float64), axis, 1)[0]
    numbers = b4.blocks_of(shape, axis, 32)
    scales, zeros = b4.grid(rows, numbers)
    codes = b4.nearest(rows, numbers, scales, zeros)
    small = b4.scale_shape(shape, axis, 32)
    assert scales.shape == (shape[axis], numbers.max() + 1)
    stored = [b4.laid_out(a, s, axis) for a, s in ((codes, shape), (scales, small), (zeros, small))]
    expected = b4.laid_out(b4.dequantized(codes, numbers, scales, zeros), shape, axis)
    np.testing.assert_allclose(in_runtime(*stored, 1 - axis, 32), expected, rtol=1e-6)


def test_grid_is_never_worse_than_without_clipping() -> None:
    rows = normal(16, 128).astype(np.float64) ** 3
    numbers = b4.blocks_of((16, 128), 0, 128)
    scales, zeros = b4.grid(rows, numbers)
    span = np.maximum(rows.max(1, keepdims=True), 0) - np.minimum(rows.min(1, keepdims=True), 0)
    plain = (span / 15).astype(np.float32)
    offset = np.rint(-np.minimum(rows.min(1, keepdims=True), 0) / plain).astype(np.int64)
    errors = [
        ((rows - b4.dequantized(b4.nearest(rows, numbers, s, z), numbers, s, z)) ** 2).sum(1)
        for s, z in ((scales, zeros), (plain, offset))
    ]
    assert (errors[0] <= errors[1] + 1e-9).all()
    assert errors[0].sum() < 0.98 * errors[1].sum()


def test_grid_follows_what_counts() -> None:
    rng = np.random.default_rng(0)
    rows, weight = rng.standard_normal((16, 64)) ** 3, rng.standard_normal(64) ** 4
    numbers = b4.blocks_of((16, 64), 0, 64)
    errors = [
        ((rows - b4.dequantized(b4.nearest(rows, numbers, *g), numbers, *g)) ** 2 * weight).sum()
        for g in (b4.grid(rows, numbers), b4.grid(rows, numbers, weight))
    ]
    assert errors[1] < errors[0]


def test_zeros_stay_zero_and_codes_in_range() -> None:
    rows = np.array([[0.0] * 16 + [5.0] * 16, [0.0] * 32])
    numbers = b4.blocks_of((2, 32), 0, 32)
    scales, zeros = b4.grid(rows, numbers)
    codes = b4.nearest(rows, numbers, scales, zeros)
    assert codes.min() >= 0
    assert codes.max() <= 15
    back = b4.dequantized(codes, numbers, scales, zeros)
    assert (back[rows == 0] == 0).all()


def test_cost_counts_the_last_block_in_full() -> None:
    assert b4.cost(128, 128, 1) == pytest.approx(4 + 20 / 128)
    assert b4.cost(130, 128, 1) == pytest.approx(4 + 40 / 130)
    assert b4.cost(9 * 64, 64, 9) == pytest.approx(4 + 20 / 64)
