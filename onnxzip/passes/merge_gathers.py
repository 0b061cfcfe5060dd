"""Taking one element of an axis, and the axis with it, in one node.

Exact. Legal cases:
1. Gather of one index (of no axes), then Unsqueeze of that same axis, which alone reads it: Gather of a list of one index.
2. Slice of one element of one axis, then Squeeze of that axis, which alone reads it: Gather of one index.
Left alone: an index or axes that are computed; what would add bytes; case 2 where single numbers lie apart from each other
in a large tensor (a Gather copies them one by one, a Slice does better).
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.axes import axes_of
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import compact
from onnxzip.passes.slices import TO_THE_END, taken_by

_BLOCK = 32
"""Numbers next to each other that are worth a copy of their own."""

_SMALL = 1024
_UNKNOWN = 64
"""A tensor of this many numbers is small, whatever lies where; axes of unknown size count as this."""

_NEW_BYTES = 58
"""Bytes of a Gather and its index, besides names."""


@local("Squeeze", "Unsqueeze")
def merge_gathers(second: ir.Node, context: Context) -> bool:
    """Let one Gather do it."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or first.graph is not second.graph or sole_consumer(middle) is not second:
        return False
    axes, source = axes_of(second, context), first.inputs[0]
    if axes is None or len(axes) != 1 or source is None or not isinstance(second.graph, ir.Graph):
        return False
    found = _taken_axis(first, context) if is_op(second, "Unsqueeze") else _taken_element(first, context)
    rank = context.shapes.rank(second.outputs[0] if is_op(second, "Unsqueeze") else middle)
    if found is None or rank is None or axes[0] % rank != found[0] % rank:
        return False
    axis, index = found
    operand = np.array([index] if is_op(second, "Unsqueeze") else index, np.int64)
    result = second.outputs[0]
    added = _NEW_BYTES + len(result.name or "") + len(source.name or "") + len(first.name or "")
    if not context.affords(added - bytes_freed([first, second])):
        return False
    constant = add_constant(second.graph, compact(operand), context.names.fresh("index"))
    name = context.names.fresh(result.name or "element")
    merged = new_node("Gather", [source, constant], name, name=first.name or "", axis=axis)
    second.graph.append(merged)
    dropped = second.inputs
    replace(result, merged.outputs[0])
    remove(second)
    discard(dropped)
    return True


def _taken_axis(node: ir.Node, context: Context) -> tuple[int, int] | None:
    """Case 1: axis and index of a Gather that takes its axis away."""
    index = array(node.inputs[1]) if is_op(node, "Gather") else None
    axis, rank = node.attributes.get_int("axis", 0), context.shapes.rank(node.inputs[0])
    if index is None or index.ndim != 0 or rank is None or rank == 0:
        return None
    return axis % rank, int(index)


def _taken_element(node: ir.Node, context: Context) -> tuple[int, int] | None:
    """Case 2: axis and index of a Slice that takes one element."""
    taken = taken_by(node, context)
    if taken is None or len(taken) != 1:
        return None
    axis, (start, end, step) = next(iter(taken.items()))
    sizes = context.shapes.of(node.inputs[0]) or ()
    behind = math.prod(size if isinstance(size, int) else 1 for size in sizes[axis + 1 :])
    if behind < _BLOCK and math.prod(size if isinstance(size, int) else _UNKNOWN for size in sizes) > _SMALL:
        return None
    one = end == start + 1 and start != -1
    return (axis, start) if step == 1 and (one or (start == -1 and end >= TO_THE_END)) else None
