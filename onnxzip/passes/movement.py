"""Where channels go when a value is transposed, reshaped or cut: pure analysis.

An affine map per channel gives the same numbers before and behind such a node, so that it may be taken to either side.
Legal cases, `axis` being the axis of the channels:
1. Transpose: the axis moves as `perm` says.
2. Reshape, Flatten, Squeeze, Unsqueeze: an axis of as many channels, behind which there are as many elements as before
   (known numbers, or the same symbolic axes in the same order). Elements stay in order, so that each keeps its channel.
3. Slice of other axes (constant axes).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op
from onnxzip.passes.affine import Layout
from onnxzip.passes.context import Context

MOVEMENT = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice")
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def carried(node: ir.Node, layout: Layout, context: Context) -> Layout | None:
    """Where the channels of the first input are in the output; None where they are not one axis, or it is not known."""
    if layout.rank is None or not is_op(node, *MOVEMENT):
        return None
    axis = layout.axis % layout.rank
    if is_op(node, "Transpose"):
        return Layout(_perm(node, layout.rank).index(axis), layout.channels, layout.rank)
    if is_op(node, "Slice"):
        return layout if _spares(node, axis, layout.rank, context) else None
    return _same_axis(context.shapes.of(node.inputs[0]), axis, context.shapes.of(node.outputs[0]), layout.channels)


def traced(node: ir.Node, layout: Layout, context: Context) -> Layout | None:
    """Where the channels of the output are in the first input."""
    if layout.rank is None or not is_op(node, *MOVEMENT):
        return None
    axis = layout.axis % layout.rank
    if is_op(node, "Transpose"):
        return Layout(_perm(node, layout.rank)[axis], layout.channels, layout.rank)
    if is_op(node, "Slice"):
        return layout if _spares(node, axis, layout.rank, context) else None
    return _same_axis(context.shapes.of(node.outputs[0]), axis, context.shapes.of(node.inputs[0]), layout.channels)


def _perm(node: ir.Node, rank: int) -> list[int]:
    return list(node.attributes.get_ints("perm", tuple(reversed(range(rank)))))


def _spares(node: ir.Node, axis: int, rank: int, context: Context) -> bool:
    """Whether a Slice leaves this axis as it is."""
    if context.opset < 10:
        count = len(node.attributes.get_ints("starts", ()))
        axes: Sequence[int] = node.attributes.get_ints("axes", tuple(range(count)))
    else:
        given = array(node.inputs[3]) if len(node.inputs) > 3 else None
        if given is None:
            return False
        axes = [int(a) for a in given]
    return axis not in [a % rank for a in axes]


def _same_axis(here: tuple[Dim, ...] | None, axis: int, there: tuple[Dim, ...] | None, channels: int) -> Layout | None:
    if here is None or there is None or here[axis] != channels or channels == 1:
        return None
    behind = _elements(here[axis + 1 :])
    for place, size in enumerate(there):
        if size == channels and behind is not None and behind == _elements(there[place + 1 :]):
            return Layout(place, channels, len(there))
    return None


def _elements(sizes: Sequence[Dim]) -> tuple[int, tuple[str, ...]] | None:
    """How many elements there are along these axes: a number, and symbolic axes; None where that is not known."""
    if any(size is None or size == 0 for size in sizes):
        return None
    return math.prod(s for s in sizes if isinstance(s, int)), tuple(sorted(s for s in sizes if isinstance(s, str)))
