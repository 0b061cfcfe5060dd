"""Whether the floats in a value are provably not negative (NaN set aside): pure analysis, a few operators deep."""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.noops import broadcasts_into, clip_bounds

_DEPTH = 8
_ALWAYS = ("Relu", "Sigmoid", "Softmax", "Exp", "Sqrt", "HardSigmoid", "Softplus", "Abs")
_ALWAYS_REDUCED = ("ReduceL1", "ReduceL2", "ReduceSumSquare")
_AS_GIVEN = (
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice", "Gather"),
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
)
_AS_ALL_GIVEN = ("Add", "Mul", "Div", "Sum", "Min", "Concat")


def not_negative(value: ir.Value | None, context: Context, depth: int = _DEPTH) -> bool:
    """Whether no element can be below zero."""
    content, node = array(value), value.producer() if value is not None else None
    if content is not None:
        return content.dtype.kind == "f" and not bool((content < 0).any())
    dtype = context.shapes.dtype(value)
    if node is None or not depth or dtype is None or not dtype.is_floating_point():
        return False
    if is_op(node, *_ALWAYS, *_ALWAYS_REDUCED) or _is_square(node):
        return True
    if is_op(node, "Clip"):
        low, high = clip_bounds(node, context)
        return low is not None and high is not None and low >= 0 and high >= 0
    if is_op(node, *_AS_GIVEN):
        return not_negative(node.inputs[0], context, depth - 1)
    if is_op(node, "Max"):
        return any(not_negative(v, context, depth - 1) for v in node.inputs)
    return is_op(node, *_AS_ALL_GIVEN) and all(not_negative(v, context, depth - 1) for v in node.inputs)


def _is_square(node: ir.Node) -> bool:
    if is_op(node, "Mul"):
        return node.inputs[0] is node.inputs[1]
    exponent = scalar(node.inputs[1]) if is_op(node, "Pow") else None
    return exponent is not None and exponent % 2 == 0


def squares(node: ir.Node, context: Context) -> bool:
    """Whether a Mul or Pow gives the square of its first input."""
    if is_op(node, "Mul"):
        return node.inputs[0] is node.inputs[1]
    base, exponent = node.inputs[0], array(node.inputs[1])
    if base is None or exponent is None or exponent.size != 1 or exponent.item() != 2:
        return False
    return exponent.ndim == 0 or broadcasts_into(exponent.shape, base, context.shapes)
