"""Squeezes and Unsqueezes in a row become one node.

Exact. Legal cases:
1. Squeeze of a Squeeze: one Squeeze of all the axes. Unsqueeze of an Unsqueeze: one Unsqueeze.
2. A Squeeze and an Unsqueeze of other axes, in either order, where every axis that is dropped is known to have size 1 and
   at most one size of the result is not known: a Reshape.
Left alone: values in between that others read; axes that are left out or computed; what costs bytes (a new constant may
take more than the node it saves).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, new_node, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.axes import axes_of, with_axes
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.size import compact
from onnxzip.passes.swap import swap

_BOTH = ("Squeeze", "Unsqueeze")


@local(*_BOTH)
def merge_squeezes(second: ir.Node, context: Context) -> bool:
    """Compose nodes that insert and drop axes of size 1."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or not is_op(first, *_BOTH) or first.graph is not second.graph:
        return False
    if sole_consumer(middle) is not second:
        return False
    if first.op_type == second.op_type:
        return _same_kind(first, second, context)
    return _as_reshape(first, second, context)


def _same_kind(first: ir.Node, second: ir.Node, context: Context) -> bool:
    """Case 1."""
    one, two, source = axes_of(first, context), axes_of(second, context), first.inputs[0]
    rank, graph = context.shapes.rank(source), second.graph
    if one is None or two is None or source is None or rank is None or graph is None:
        return False
    squeezes = second.op_type == "Squeeze"
    longest = rank if squeezes else rank + len(one) + len(two)
    outer, inner = (one, two) if squeezes else (two, one)  # `outer` counts the axes of the longer shape
    named = {axis % longest for axis in outer}
    rest = [axis for axis in range(longest) if axis not in named]
    axes = sorted(named | {rest[axis] for axis in inner})
    name = second.outputs[0].name or "reshaped"
    return swap([first, second], with_axes(second.op_type, source, axes, name, graph, context), context)


def _as_reshape(first: ir.Node, second: ir.Node, context: Context) -> bool:
    """Case 2."""
    squeeze, source, graph = (first if first.op_type == "Squeeze" else second), first.inputs[0], second.graph
    before, target = context.shapes.of(squeeze.inputs[0]), context.shapes.of(second.outputs[0])
    axes = axes_of(squeeze, context)
    if before is None or target is None or axes is None or source is None or graph is None:
        return False
    if any(before[axis] != 1 for axis in axes) or sum(not isinstance(size, int) for size in target) > 1 or 0 in target:
        return False
    sizes = np.asarray([size if isinstance(size, int) else -1 for size in target], np.int64)
    constant = add_constant(graph, compact(sizes), context.names.fresh(f"{second.outputs[0].name}_shape"))
    return swap([first, second], new_node("Reshape", [source, constant], ""), context)
