"""Slices of Slices, and of what a Concat or Split put together or took apart.

Exact. Legal cases:
1. A Slice of a Slice that nobody else reads: one Slice. On one axis both must have a known range: the size is known, or
   nothing is counted from the end and all steps are 1.
2. A Slice of a Concat, on its axis with step 1, all sizes known, that takes exactly one part: the part itself.
3. The same, within one part or of several whole ones, and nobody else reads the Concat: a Slice of the part, or a Concat
   of those parts.
Left alone: what would add bytes.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.slices import TO_THE_END, Cut, Taken, needed_bytes, slice_node, taken_by


@local("Slice")
def merge_slices(node: ir.Node, context: Context) -> bool:
    """Let a Slice read what is before a Slice or a Concat."""
    source = node.inputs[0] if node.inputs else None
    before, taken = source.producer() if source is not None else None, taken_by(node, context)
    if source is None or before is None or taken is None or not isinstance(node.graph, ir.Graph):
        return False
    if before.graph is not node.graph:
        return False
    if is_op(before, "Slice"):
        return sole_consumer(source) is node and _slice_of_slice(before, node, taken, context)
    return is_op(before, "Concat") and _slice_of_concat(before, node, taken, context)


def _slice_of_slice(first: ir.Node, second: ir.Node, taken: Taken, context: Context) -> bool:
    """Case 1."""
    inner, shape, source = taken_by(first, context), context.shapes.of(first.inputs[0]), first.inputs[0]
    if inner is None or source is None:
        return False
    merged = dict(inner)
    for axis, cut in taken.items():
        both = cut
        if axis in inner:
            size = shape[axis] if shape is not None and axis < len(shape) else None
            composed = _composed(inner[axis], cut, size if isinstance(size, int) else None)
            if composed is None:
                return False
            both = composed
        merged[axis] = both
    return _put(second, [first], source, merged, context)


def _composed(first: Cut, second: Cut, size: int | None) -> Cut | None:
    """The range of a range."""
    if size is not None:
        picked = range(size)[slice(*first)][slice(*second)]
        return (picked.start, picked.stop, picked.step) if len(picked) and picked.step > 0 else None
    if min(*first, *second) < 0 or first[2] != 1 or second[2] != 1:
        return None
    start, end = first[0] + second[0], min(first[1], first[0] + second[1])
    return start, end if end < TO_THE_END else first[1], 1


def _slice_of_concat(concat: ir.Node, node: ir.Node, taken: Taken, context: Context) -> bool:
    """Cases 2 and 3."""
    rank = context.shapes.rank(concat.outputs[0])
    axis = concat.attributes.get_int("axis", 0)
    axis = axis % rank if rank else axis
    sizes = [shape[axis] if (shape := context.shapes.of(v)) is not None else None for v in concat.inputs]
    known = [size for size in sizes if isinstance(size, int)]
    if axis not in taken or taken[axis][2] != 1 or len(known) != len(sizes):
        return False
    picked = range(sum(known))[slice(*taken[axis])]
    ends = [sum(known[: i + 1]) for i in range(len(known))]
    spans = list(zip([0, *ends], ends, concat.inputs, strict=False))
    inside = [(low, high, v) for low, high, v in spans if v is not None and low < picked.stop and high > picked.start]
    if not len(picked) or not inside:
        return False
    low, part = inside[0][0], inside[0][2]
    if (picked.start, picked.stop) == (low, inside[-1][1]) and len(taken) == 1:
        return _whole_parts(concat, node, [v for _, _, v in inside], axis, context)
    if len(inside) > 1 or sole_consumer(concat.outputs[0]) is not node:
        return False
    shifted = {**taken, axis: (picked.start - low, picked.stop - low, 1)}
    return _put(node, [concat], part, shifted, context)


def _whole_parts(concat: ir.Node, node: ir.Node, parts: list[ir.Value], axis: int, context: Context) -> bool:
    result, old, graph = node.outputs[0], node.inputs, node.graph
    if len(parts) == 1:  # case 2
        if not can_replace(result, parts[0]):
            return False
        replace(result, parts[0])
    else:  # case 3
        if sole_consumer(concat.outputs[0]) is not node or not isinstance(graph, ir.Graph):
            return False
        shorter = new_node(
            "Concat", parts, context.names.fresh(result.name or "concat"), name=node.name or "", axis=axis
        )
        graph.append(shorter)
        replace(result, shorter.outputs[0])
    remove(node)
    discard(old)
    return True


def _put(node: ir.Node, others: list[ir.Node], source: ir.Value, taken: Taken, context: Context) -> bool:
    """Let one Slice of `source` stand in the place of all these nodes."""
    graph, result, old = node.graph, node.outputs[0], node.inputs
    if not isinstance(graph, ir.Graph) or not taken:
        return False
    added = needed_bytes(taken, context) + len(source.name or "") + len(result.name or "")
    if not context.affords(added - bytes_freed([node, *others])):
        return False
    cut = slice_node(source, taken, graph, context, result.name or "slice")
    graph.append(cut)
    replace(result, cut.outputs[0])
    remove(node)
    discard(old)
    return True
