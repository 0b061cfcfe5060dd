"""A power of two becomes a product: x ** 2 = x * x.

Exact for what onnxruntime computes (its Pow squares by multiplication as well, only slower: 1.1 to 2.4 times as long).
Legal case: floats, a single constant 2 that cannot change the shape.
Left alone: a square whose mean is taken (runtimes know a normalization by it); what costs bytes; integers.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import new_node
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.signs import squares
from onnxzip.passes.swap import swap

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE)


@local("Pow")
def square(node: ir.Node, context: Context) -> bool:
    """Put Mul in the place of Pow."""
    base = node.inputs[0]
    if base is None or not squares(node, context) or context.shapes.dtype(base) not in _FLOATS:
        return False
    if any(use.node.op_type == "ReduceMean" for use in node.outputs[0].uses()):
        return False
    return swap([node], new_node("Mul", [base, base], ""), context)
