"""Results that do not depend on what is computed: x * 0 of integers, x and false, x or true.

Exact. Legal cases, where the shape of the result is known and it is no output of the graph:
1. Mul of integers by zeros: zeros. (Floats are left alone: 0 * NaN and 0 * Inf are NaN.)
2. And with a constant that is all false: false. Or with one that is all true: true.
Left alone: what costs bytes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, discard, remove, replace
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import compact, initializer_bytes

_ABSORBING = {"Mul": 0, "And": False, "Or": True}


@local("Mul", "And", "Or")
def absorb(node: ir.Node, context: Context) -> bool:
    """Put a constant in the place of a node whose result it always is."""
    output = node.outputs[0]
    shape, dtype = context.shapes.static(output), context.shapes.dtype(output)
    if shape is None or dtype is None or node.graph is None or output.is_graph_output():
        return False
    if node.op_type == "Mul" and not dtype.is_integer():
        return False
    if not any(_is_all(value, _ABSORBING[node.op_type]) for value in node.inputs):
        return False
    content = compact(np.full(shape, _ABSORBING[node.op_type], dtype.numpy()))
    if not context.affords(initializer_bytes(content, output.name or "") - bytes_freed([node])):
        return False
    read = node.inputs
    replace(output, add_constant(node.graph, content, context.names.fresh(output.name or "constant")))
    remove(node)
    discard(read)
    return True


def _is_all(value: ir.Value | None, element: int) -> bool:
    content = array(value)
    return content is not None and content.dtype.kind in "iub" and bool((content == element).all()) and content.size > 0
