"""Weights of Conv, Gemm and MatMul as matrices: one row for each output channel, one column for each product that it sums up.

Conv             [O, I/g, k...]   to [g, O/g, (I/g) k...]     channels first, then the window
Gemm, transB     [N, K]           to [1, N, K]
Gemm, MatMul     [K, N]           to [1, N, K]
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.model.walk import is_op

Array = npt.NDArray[Any]


def groups_of(node: ir.Node) -> int:
    """Into how many groups a layer splits its channels: 1 unless it is a grouped Conv."""
    return node.attributes.get_int("group", 1) if is_op(node, "Conv") else 1


def to_rows(weight: Array, axis: int, groups: int) -> Array:
    """The weights, float or integer, as [groups, rows, columns]; `axis` is that of the output channels."""
    by_channel = np.moveaxis(weight, axis, 0)
    return by_channel.reshape(groups, len(by_channel) // groups, -1)


def from_rows(rows: Array, shape: tuple[int, ...], axis: int) -> Array:
    """The inverse of `to_rows`, for weights of this shape."""
    rest = tuple(n for i, n in enumerate(shape) if i != axis)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(shape[axis], *rest), 0, axis))
