"""A Softmax or LogSoftmax that is spelled out becomes one operator.

    d = x - max(x),  e = exp(d):      Softmax(x) = e / sum(e)      LogSoftmax(x) = d - log(sum(e))

Rounds, by units in the last place. Legal cases, in floats, over one axis (before opset 13 the last one, where the operator
means the same):
1. Softmax.
2. LogSoftmax, d - log(sum(e)); not in float64, where that of onnxruntime makes numbers of NaN.
Maximum and sum may be reshaped to the axis that was reduced, and the maximum be held against -inf.
Left alone: values in between that others read; exp(x) / sum(exp(x)), which overflows where Softmax does not; the logarithm of
a Softmax, which is -inf where LogSoftmax is not.

Latency against the chain (onnxruntime 1.32, all optimizations on): Softmax .48-.88, LogSoftmax .49-.97,
over the last axis or another.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.passes.affine import FLOATS
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.moments import reduction
from onnxzip.passes.pattern import between, given_by, is_reduced, keeps_shape, peel, product, raise_to, total

_SHAPE_ONLY = ("Reshape", "Unsqueeze", "Squeeze")
_ANY_AXIS_SINCE = 13


@local("Div", "Mul", "Sub")
def raise_softmax(node: ir.Node, context: Context) -> bool:
    """Put Softmax or LogSoftmax in the place of its formula."""
    output = node.outputs[0]
    dtype = context.shapes.dtype(output)
    if dtype is None or dtype not in [ir.DataType.from_numpy(d) for d in FLOATS]:
        return False
    return _log_softmax(node, context) if node.op_type == "Sub" else _softmax(node, context)


def _softmax(node: ir.Node, context: Context) -> bool:
    """Case 1."""
    factors = product(node.outputs[0])
    if len(factors.over) != 1 or len(factors.under) != 1 or factors.scalar != 1.0:
        return False
    return _put("Softmax", node.outputs[0], factors.over[0], factors.under[0], context)


def _log_softmax(node: ir.Node, context: Context) -> bool:
    """Case 2."""
    distance, reduced = node.inputs
    if context.shapes.dtype(node.outputs[0]) == ir.DataType.DOUBLE:
        return False
    logarithm = given_by(peel(reduced, *_SHAPE_ONLY), "Log") if reduced is not None else None
    summed = logarithm.inputs[0] if logarithm is not None else None
    found = reduction(peel(summed, *_SHAPE_ONLY), "ReduceSum", context) if summed is not None else None
    exponential = given_by(found[0], "Exp") if found is not None else None
    if distance is None or reduced is None or found is None or exponential is None:
        return False
    if exponential.inputs[0] is not distance or not is_reduced(reduced, found[0], found[1], context):
        return False
    source = _shifted(distance, found[1], context)
    return source is not None and _finish("LogSoftmax", node.outputs[0], source, found[1], context)


def _put(op_type: str, output: ir.Value, exponential: ir.Value, summed: ir.Value, context: Context) -> bool:
    found = reduction(peel(summed, *_SHAPE_ONLY), "ReduceSum", context)
    node = given_by(exponential, "Exp")
    if found is None or node is None or node.inputs[0] is None or found[0] is not exponential:
        return False
    if not is_reduced(summed, exponential, found[1], context):
        return False
    source = _shifted(node.inputs[0], found[1], context)
    return source is not None and _finish(op_type, output, source, found[1], context)


def _shifted(distance: ir.Value, axes: tuple[int, ...], context: Context) -> ir.Value | None:
    """x, when this value is x - max(x)."""
    terms = total(distance)
    if terms.number != 0.0 or len(terms.plus) != 1 or len(terms.minus) != 1:
        return None
    source, largest = terms.plus[0], terms.minus[0]
    value = peel(largest, *_SHAPE_ONLY)
    held = given_by(value, "Max")
    if held is not None:
        inner = [v for v in held.inputs if v is not None and scalar(v) != -math.inf]
        value = peel(inner[0], *_SHAPE_ONLY) if len(inner) == 1 else value
    same = reduction(value, "ReduceMax", context) == (source, axes)
    return source if same and is_reduced(largest, source, axes, context) else None


def _finish(op_type: str, output: ir.Value, source: ir.Value, axes: tuple[int, ...], context: Context) -> bool:
    rank = context.shapes.rank(source) or 0
    if len(axes) != 1 or not keeps_shape(output, source, context):
        return False
    if context.opset < _ANY_AXIS_SINCE and axes[0] != rank - 1:
        return False
    nodes = between(output, [source])
    return nodes is not None and raise_to(op_type, output, nodes, [source], context, axis=axes[0] - rank)
