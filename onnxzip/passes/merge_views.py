"""Nodes in a row that only move axes become one, or none, whatever operators they are.

Transpose, Squeeze, Unsqueeze, and a Reshape or Flatten that only takes away or adds axes of size 1 are views (see
`views`); views compose. Exact. Legal cases:
1. The composition is the identity: readers of the second read what the first reads.
2. The composition is one node, and nobody else reads between the two: that node, instead of both.
3. A Reshape to a constant shape without zeros, or a Flatten of the axes behind those that stay, of a view that keeps all
   elements in order: it reads what the view reads, even where others read the view (unless a longer name would add
   bytes). So chains of them become a bush.
Left alone: what `merge_transposes` and `merge_reshapes` do; a case 2 that would add bytes.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import can_replace, discard, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import node_bytes
from onnxzip.passes.views import VIEW_OPS, Shape, View, is_identity, keeps_order, nodes_for, realise, then, view_of

_AXES = 32
"""Bytes of the axes of a new node, at most."""


@local(*VIEW_OPS)
def merge_views(second: ir.Node, context: Context) -> bool:
    """Compose two nodes that only move axes."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    source = first.inputs[0] if first is not None and first.inputs else None
    if middle is None or first is None or source is None:
        return False
    before, after, shape = view_of(first, context), view_of(second, context), context.shapes.of(source)
    if before is None or shape is None:
        return False
    if after is not None and _merge(first, second, source, then(before, after), shape, context):
        return True
    if not keeps_order(before, shape) or not _needs_no_view(second, before, context):
        return False
    longer = len(source.name or "") > len(middle.name or "") and sole_consumer(middle) is not second
    if longer and context.allowed.prefer == "bytes":
        return False
    second.replace_input_with(0, source)  # case 3
    discard([middle])
    return True


def _needs_no_view(node: ir.Node, view: View, context: Context) -> bool:
    """Case 3: whether the result is the same for all inputs with these elements in this order."""
    if is_op(node, "Flatten"):
        axis = node.attributes.get_int("axis", 1)
        return 0 <= axis <= len(view) and view[:axis] == tuple(range(axis))
    target = array(node.inputs[1]) if is_op(node, "Reshape") and len(node.inputs) > 1 else None
    return target is not None and 0 not in target


def _merge(first: ir.Node, second: ir.Node, source: ir.Value, view: View, shape: Shape, context: Context) -> bool:
    """Cases 1 and 2."""
    result, middle, graph = second.outputs[0], first.outputs[0], second.graph
    if not isinstance(graph, ir.Graph):
        return False
    if is_identity(view, shape):  # case 1
        if not can_replace(result, source):
            return False
        replace(result, source)
    else:  # case 2
        if nodes_for(view, shape) != 1 or sole_consumer(middle) is not second or first.graph is not second.graph:
            return False
        if not context.affords(node_bytes(second) + _AXES - bytes_freed([first, second])):
            return False
        replace(result, realise(view, source, shape, graph, context, result.name or "view"))
    remove(second)
    discard([middle])
    return True
