"""Nodes in a row that only move axes become one, or none, whatever operators they are.

Transpose, Squeeze, Unsqueeze, and a Reshape or Flatten that only takes away or adds axes of size 1 are views (see
`views`); views compose. Exact. Legal cases:
1. The composition is the identity: readers of the second read what the first reads.
2. The composition is one node, and nobody else reads between the two: that node, instead of both.
Left alone: what `merge_transposes` and `merge_reshapes` do; a case 2 that would add bytes.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, remove, replace, sole_consumer
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import node_bytes
from onnxzip.passes.views import VIEW_OPS, is_identity, nodes_for, realise, then, view_of

_AXES = 32
"""Bytes of the axes of a new node, at most."""


@local(*VIEW_OPS)
def merge_views(second: ir.Node, context: Context) -> bool:
    """Compose two nodes that only move axes."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    source = first.inputs[0] if first is not None and first.inputs else None
    if middle is None or first is None or source is None or not isinstance(second.graph, ir.Graph):
        return False
    before, after, shape = view_of(first, context), view_of(second, context), context.shapes.of(source)
    if before is None or after is None or shape is None:
        return False
    result, view = second.outputs[0], then(before, after)
    if is_identity(view, shape):  # case 1
        if not can_replace(result, source):
            return False
        replace(result, source)
    else:  # case 2
        if nodes_for(view, shape) != 1 or sole_consumer(middle) is not second or first.graph is not second.graph:
            return False
        if context.allowed.prefer == "bytes" and bytes_freed([first, second]) < node_bytes(second) + _AXES:
            return False
        replace(result, realise(view, source, shape, second.graph, context, result.name or "view"))
    remove(second)
    discard([middle])
    return True
