"""Bounds in a row become one: Clip, Relu, and Max and Min with a number.

    min(max(min(max(x, a), b), c), d) = min(max(x, a'), b'), a' and b' being a and b clipped to [c, d]

Exact; for float types and bounds that are constant numbers, lower ones not above upper ones. A bound that a Clip leaves
out is the last finite number: it does bound infinity, so that Clip(x, 0) is not Relu(x). Legal cases:
1. Two in a row, the first read by the second only: one Relu, Max, Min or Clip.
2. Max(x, 0): a Relu, which runtimes run as part of what gives x.
3. A Clip by infinities: readers read x.
Left alone: bounds per channel; a Clip in float64 before opset 12; a single Max or Min with another number; what would
take more bytes than it frees.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, can_replace, discard, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.noops import broadcasts_into, clip_bounds
from onnxzip.passes.size import constant_bytes, tensor_bytes

_BOUNDING = ("Clip", "Relu", "Max", "Min")
_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_DOUBLE_SINCE = 12
"""The opset from which on onnxruntime has a Clip for float64; the attributes before opset 11 would round its bounds."""

_NONE, _RELU = (-np.inf, np.inf), (0.0, np.inf)

Bounds = tuple[float, float]


@local(*_BOUNDING)
def merge_clips(last: ir.Node, context: Context) -> bool:
    """Compose bounds, and give them the plainest operator."""
    dtype = context.shapes.dtype(last.outputs[0])
    found = _bounded(last, context) if dtype in _FLOATS else None
    if found is None or dtype is None:
        return False
    value, bounds = found
    if is_op(last, "Clip") and bounds == _NONE and can_replace(last.outputs[0], value):  # case 3
        replace(last.outputs[0], value)
        discard([last.outputs[0]])
        return True
    chain = [last]
    first = value.producer()
    inner = _bounded(first, context) if first is not None and first.graph is last.graph else None
    if first is not None and inner is not None and sole_consumer(value) is last:
        low, high = (min(max(b, bounds[0]), bounds[1]) for b in inner[1])
        value, bounds, chain = inner[0], (low, high), [first, last]
    elif bounds != _RELU or is_op(last, "Relu") or is_op(sole_consumer(last.outputs[0]), *_BOUNDING):
        return False  # bounds that follow will take it, and its constant
    return _replace(chain, value, bounds, dtype, context)


def _bounded(node: ir.Node, context: Context) -> tuple[ir.Value, Bounds] | None:
    """What a node bounds, and the bounds; None where it does another thing."""
    source = node.inputs[0] if node.inputs else None
    if source is None:
        return None
    if is_op(node, "Relu"):
        return source, _RELU
    if is_op(node, "Clip"):
        bounds = _clip_bounds(node, context)
        return None if bounds is None else (source, bounds)
    if not is_op(node, "Max", "Min") or len(node.inputs) != 2:
        return None
    for kept, other in (node.inputs, reversed(node.inputs)):
        number = _number(other, kept, context)
        if kept is not None and number is not None:
            return kept, (number, np.inf) if is_op(node, "Max") else (-np.inf, number)
    return None


def _clip_bounds(node: ir.Node, context: Context) -> Bounds | None:
    low, high = clip_bounds(node, context)
    dtype = context.shapes.dtype(node.outputs[0])
    if low is None or high is None or dtype not in _FLOATS:
        return None
    last = float(np.finfo(dtype.numpy()).max)
    given = [*node.inputs[1:], None, None][:2] if context.opset >= 11 else [None, None]
    low, high = (
        b if v is not None or np.isfinite(b) else s * last for b, v, s in zip((low, high), given, (-1, 1), strict=True)
    )
    return (low, high) if low <= high else None


def _number(value: ir.Value | None, beside: ir.Value | None, context: Context) -> float | None:
    """The number that a constant repeats, where it does not change the shape of the value beside it."""
    found = array(value)
    if found is None or beside is None or found.size == 0 or found.dtype.kind != "f" or np.isnan(found).any():
        return None
    if not (found == found.flat[0]).all() or not (
        found.ndim == 0 or broadcasts_into(found.shape, beside, context.shapes)
    ):
        return None
    return float(found.flat[0])


def _replace(chain: list[ir.Node], value: ir.Value, bounds: Bounds, dtype: ir.DataType, context: Context) -> bool:
    """Make the last node of the chain all of it, if that takes no more bytes. Its output is what it was."""
    last, graph = chain[-1], chain[-1].graph
    if graph is None or np.inf in (bounds[0], -bounds[1]):
        return False
    op_type, operands, attributes = _plainest(bounds, dtype, context)
    if op_type == "Clip" and dtype == ir.DataType.DOUBLE and context.opset < _DOUBLE_SINCE:
        return False
    there = {
        c.item(): v for n in chain for v in n.inputs if v is not None and (c := array(v)) is not None and not c.ndim
    }
    hint = f"{last.outputs[0].name}_bound"
    missing = [b for b in operands if b is not None and b not in there]
    kept = [there[b] for b in operands if b is not None and b in there]
    names = [last.name, last.outputs[0].name, value.name, *(v.name for v in kept), *(hint for _ in missing)]
    added = len(op_type) + sum(len((n or "").encode()) + 2 for n in names) + 14 * len(attributes) + 6
    added += sum(tensor_bytes(dtype, (), hint) for _ in missing) + sum(constant_bytes(v) for v in kept)
    if not context.may_add(added - bytes_freed(chain)):
        return False
    for bound in missing:
        there[bound] = add_constant(graph, np.array(bound, dtype.numpy()), context.names.fresh(hint))
    read = list(last.inputs)
    last.op_type = op_type
    last.attributes.clear()
    for key, bound in attributes.items():
        last.attributes[key] = ir.AttrFloat32(key, bound)
    inputs = [value, *(None if b is None else there[b] for b in operands)]
    last.resize_inputs(len(inputs))
    for index, each in enumerate(inputs):
        last.replace_input_with(index, each)
    discard(read)
    return True


def _plainest(bounds: Bounds, dtype: ir.DataType, context: Context) -> tuple[str, list[float | None], dict[str, float]]:
    """The operator for these bounds, its operands behind the first (None: left out), and its attributes."""
    low, high = bounds
    if bounds == _RELU:
        return "Relu", [], {}
    if np.inf in (-low, high):
        return ("Max", [low], {}) if high == np.inf else ("Min", [high], {})
    last = float(np.finfo(dtype.numpy()).max)
    needed = [None if abs(b) == last else b for b in bounds]
    if context.opset < 11:
        return "Clip", [], {k: b for k, b in zip(("min", "max"), needed, strict=True) if b is not None}
    while needed and needed[-1] is None:
        needed.pop()
    return "Clip", needed, {}
