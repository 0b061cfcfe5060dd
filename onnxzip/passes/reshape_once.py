"""Reshapes in front of a Concat become one behind it: Concat(Reshape(a), Reshape(b)) = Reshape(Concat(a, b)).

Exact. Legal case:
1. All that a Concat reads is given by Reshape, Squeeze, Unsqueeze or Flatten, each read by it alone. The axes before the
   concatenated one are those of the sources, and so the elements of each of them stand in one piece behind each other,
   before and after: the sources are concatenated along that axis, if their axes behind it are alike, and reshaped once.
Left alone: sources that differ in more than that axis; sizes behind the axis that are not known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, discard, new_node, replace, sole_consumer
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.noops import same_shape
from onnxzip.passes.size import compact, initializer_bytes, node_bytes

_SHAPE_ONLY = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


@local("Concat")
def reshape_once(node: ir.Node, context: Context) -> bool:
    """Concatenate before reshaping."""
    axis, sources = _axis(node, context), list[ir.Value]()
    for value in node.inputs:
        inner = value.producer() if value is not None else None
        if inner is None or value is None or not is_op(inner, *_SHAPE_ONLY) or inner.inputs[0] is None:
            return False
        if sole_consumer(value) is not node or inner.graph is not node.graph:
            return False
        sources.append(inner.inputs[0])
    shape = context.shapes.of(node.outputs[0])
    if axis is None or shape is None or len(sources) < 2 or not _stand_in_one_piece(node, sources, axis, context):
        return False
    behind = [d for d in shape[axis:] if isinstance(d, int) and d > 0]
    if len(behind) < len(shape) - axis:
        return False
    target = np.array([0] * axis + behind, np.int64)
    return _put(node, sources, axis, target, context)


def _axis(node: ir.Node, context: Context) -> int | None:
    axis, rank = node.attributes.get_int("axis", 1), context.shapes.rank(node.outputs[0])
    if axis >= 0:
        return axis
    return None if rank is None else axis + rank


def _stand_in_one_piece(node: ir.Node, sources: list[ir.Value], axis: int, context: Context) -> bool:
    """Whether the axes before `axis` are those of the sources, and the sources differ in nothing but `axis`."""
    shapes = [context.shapes.of(s) for s in sources]
    first = shapes[0]
    if first is None or len(first) <= axis:
        return False
    return all(
        shape is not None
        and len(shape) == len(first)
        and _alike(shape[:axis], first[:axis])
        and _alike(shape[axis + 1 :], first[axis + 1 :])
        and _alike(shape[:axis], (context.shapes.of(value) or ())[:axis])
        for shape, value in zip(shapes, node.inputs, strict=True)
    )


def _alike(one: tuple[Dim, ...], other: tuple[Dim, ...]) -> bool:
    return not one or same_shape(one, other)


def _put(node: ir.Node, sources: list[ir.Value], axis: int, target: np.ndarray, context: Context) -> bool:
    graph, gone = node.graph, [n for v in node.inputs if v is not None and (n := v.producer()) is not None]
    if not isinstance(graph, ir.Graph):
        return False
    content = compact(target)
    added = initializer_bytes(content, "joined_shape") + node_bytes(new_node("Reshape", [], "reshaped")) + 30
    if not context.affords(added - bytes_freed(gone)):
        return False
    joined = new_node("Concat", sources, context.names.fresh("joined"), axis=axis)
    shape = add_constant(graph, content, context.names.fresh("joined_shape"))
    reshaped = new_node("Reshape", [joined.outputs[0], shape], context.names.fresh("reshaped"))
    graph.insert_before(node, [joined, reshaped])
    replace(node.outputs[0], reshaped.outputs[0])
    discard([node.outputs[0]])
    return True
