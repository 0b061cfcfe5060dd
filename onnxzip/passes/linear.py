"""What the fusions need to know of Conv, ConvTranspose, Gemm and MatMul: where their channels are in the weight.

| operator      | weight                    | out-channels                  | in-channels                   |
|---------------|---------------------------|-------------------------------|-------------------------------|
| Conv          | [M, C / groups, k...]     | axis 0                        | axis 1, one block a group     |
| ConvTranspose | [C, M / groups, k...]     | axis 1, one block a group     | axis 0                        |
| Gemm          | [K, N], [N, K] if transB  | N                             | K                             |
| MatMul        | [K, N]                    | N                             | K                             |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.walk import is_op
from onnxzip.passes.affine import FLOATS, Layout
from onnxzip.passes.context import Context

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Linear:
    """One such node with constant weight (and constant bias, or none).

    `out_view` and `in_view`: the shape to see the weight in, and the shape a vector of channels takes beside it.
    """

    node: ir.Node
    weight: np.ndarray
    bias: np.ndarray | None
    out_layout: Layout
    in_layout: Layout
    out_view: tuple[tuple[int, ...], tuple[int, ...]]
    in_view: tuple[tuple[int, ...], tuple[int, ...]]

    def scaled_out(self, scale: np.ndarray) -> np.ndarray:
        """The weight (float64) for an output that is `scale` times as large, per out-channel."""
        return self._scaled(scale, self.out_view, self.out_layout.channels)

    def scaled_in(self, scale: np.ndarray) -> np.ndarray:
        """The weight (float64) for an input that was multiplied by `scale`, per in-channel."""
        return self._scaled(scale, self.in_view, self.in_layout.channels)

    def response(self, shift: np.ndarray) -> np.ndarray:
        """What the node adds to each out-channel when `shift` is added to each in-channel everywhere (no padding)."""
        shifted = self.scaled_in(shift)
        if is_op(self.node, "Conv"):
            return np.asarray(shifted.reshape(shifted.shape[0], -1).sum(axis=1))
        total = shifted.sum(axis=1 if self.node.attributes.get_int("transB", 0) else 0)
        return np.asarray(total * self.node.attributes.get_float("alpha", 1.0))

    def stored(self, weight: np.ndarray) -> np.ndarray | None:
        """The float64 weight in the type of the model, or None where that type cannot hold it (float16 may not)."""
        with np.errstate(all="ignore"):
            rounded = weight.astype(self.weight.dtype)
        view, vector = self.out_view
        others = tuple(axis for axis, size in enumerate(vector) if size == 1)
        if not np.isfinite(rounded).all():
            return None
        wrong = np.abs(rounded.astype(np.float64) - weight).reshape(view).max(axis=others, initial=0.0)
        peak = np.abs(weight).reshape(view).max(axis=others, initial=0.0)
        close = wrong <= 4 * np.finfo(self.weight.dtype).eps * peak + 1e-30
        return rounded if bool(np.all(close)) else None

    def _scaled(self, scale: np.ndarray, view: tuple[tuple[int, ...], tuple[int, ...]], channels: int) -> np.ndarray:
        vector = np.broadcast_to(scale, (channels,)).reshape(view[1])
        with np.errstate(all="ignore"):
            return np.asarray((self.weight.astype(np.float64).reshape(view[0]) * vector).reshape(self.weight.shape))


def linear_of(node: ir.Node, context: Context) -> Linear | None:
    """The node as a `Linear`; None for other operators, and for weights that are computed, quantized or inputs."""
    if context.opset < 7 or not is_op(node, *LINEAR) or len(node.inputs) < 2:
        return None
    weight = array(node.inputs[1])
    if weight is None or weight.dtype not in FLOATS or weight.size == 0:
        return None
    third = node.inputs[2] if len(node.inputs) > 2 else None
    bias = array(third)
    if third is not None and (bias is None or bias.dtype != weight.dtype):
        return None
    if is_op(node, "Conv", "ConvTranspose"):
        return _convolution(node, weight, bias)
    return _product(node, weight, bias, context)


def _convolution(node: ir.Node, weight: np.ndarray, bias: np.ndarray | None) -> Linear | None:
    groups, rank = node.attributes.get_int("group", 1), weight.ndim
    first, second, *kernel = weight.shape
    if rank < 3 or first % groups:
        return None
    plain = (weight.shape, (first,) + (1,) * (rank - 1))
    blocks = (groups, first // groups, second, *kernel), (groups, 1, second, *(1 for _ in kernel))
    here, there = Layout(1, first, rank), Layout(1, second * groups, rank)
    if is_op(node, "Conv"):
        return Linear(node, weight, bias, here, there, out_view=plain, in_view=blocks)
    return Linear(node, weight, bias, there, here, out_view=blocks, in_view=plain)


def _product(node: ir.Node, weight: np.ndarray, bias: np.ndarray | None, context: Context) -> Linear | None:
    if weight.ndim != 2 or node.attributes.get_int("transA", 0) == 1:
        return None
    rows = (weight.shape, (weight.shape[0], 1))
    columns = (weight.shape, (1, weight.shape[1]))
    inner, outer = weight.shape
    if node.attributes.get_int("transB", 0):
        rows, columns, inner, outer = columns, rows, outer, inner
    if bias is not None and bias.shape not in ((), (1,), (outer,), (1, 1), (1, outer)):
        return None
    if is_op(node, "Gemm"):
        out_rank: int | None = 2
        in_rank: int | None = 2
    else:
        out_rank, in_rank = context.shapes.rank(node.outputs[0]), context.shapes.rank(node.inputs[0])
    out_layout = Layout(1 if out_rank == 2 else -1, outer, out_rank)
    in_layout = Layout(1 if in_rank == 2 else -1, inner, in_rank)
    return Linear(node, weight, bias, out_layout, in_layout, out_view=columns, in_view=rows)
