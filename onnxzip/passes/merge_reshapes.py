"""Nodes in a row that only change the shape become one, or none.

Reshape, Flatten, Squeeze and Unsqueeze keep all elements in order, so that only the last shape counts. Exact. Cases:
1. The shape after the chain is provably the one before it: readers read the value before the chain.
2. Squeeze and Unsqueeze by the same constant axes, in either order: as case 1, under any shape.
3. The chain ends in a Reshape whose constant target copies no axis of its input (no 0, or `allowzero`): it reads the
   value before the chain.
4. It copies axes (0), and each of them is provably the same axis before the chain: as case 3.
Left alone: a Reshape whose target is computed; a chain that others read in the middle (it would stay anyway).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import can_replace, discard, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.axes import axes_of
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.noops import same_shape

_SHAPE_ONLY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@local(*_SHAPE_ONLY, since=1)
def merge_reshapes(second: ir.Node, context: Context) -> bool:
    """Compose nodes that only change the shape."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or not is_op(first, *_SHAPE_ONLY) or first.inputs[0] is None:
        return False
    source = first.inputs[0]
    if _round_trip(first, second, context) and can_replace(second.outputs[0], source):
        replace(second.outputs[0], source)
        remove(second)
    elif _needs_no_first(first, second, context) and sole_consumer(middle) is second and first.graph is second.graph:
        second.replace_input_with(0, source)
    else:
        return False
    discard([middle])
    return True


def _round_trip(first: ir.Node, second: ir.Node, context: Context) -> bool:
    """Cases 1 and 2."""
    shapes = context.shapes
    if same_shape(shapes.of(first.inputs[0]), shapes.of(second.outputs[0])):
        return True
    if {first.op_type, second.op_type} != {"Squeeze", "Unsqueeze"}:
        return False
    one, two = (axes_of(node, context) for node in (first, second))
    # both count axes of the longer shape
    return one is not None and two is not None and sorted(one) == sorted(two)


def _needs_no_first(first: ir.Node, second: ir.Node, context: Context) -> bool:
    """Cases 3 and 4."""
    target = array(second.inputs[1]) if is_op(second, "Reshape") and context.opset >= 5 else None
    if target is None:
        return False
    copied = [] if second.attributes.get_int("allowzero", 0) else [i for i, size in enumerate(target) if size == 0]
    if not copied:
        return True
    before, between = context.shapes.of(first.inputs[0]), context.shapes.of(second.inputs[0])
    if before is None or between is None:
        return False
    return all(
        axis < len(before) and axis < len(between) and before[axis] is not None and before[axis] == between[axis]
        for axis in copied
    )
