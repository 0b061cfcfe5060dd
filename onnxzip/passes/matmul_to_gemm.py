"""MatMul of matrices and Add of a constant become Gemm.

    A B + C  =  Gemm(A, B, C)

Exact up to the order of rounding. onnxruntime makes the same Gemm of the pair when it optimizes, so that nothing runs
faster by it (measured: 0.99 to 1.03 of the time from [1,64] x [64,10] to [512,384] x [384,384]); but one node goes, and
what is affine behind a Gemm goes into its weight and bias, which no runtime does. Legal cases:
1. A and B have two axes, C is constant and broadcasts to the product without changing its shape; float16, float, double.
Left alone: vectors and stacks of matrices, which Gemm does not take; a product that others read too; a C that is
computed (the sum of two branches is not a bias).
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.noops import broadcasts_into

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@local("MatMul")
def matmul_to_gemm(node: ir.Node, context: Context) -> bool:
    """Make one Gemm of MatMul and Add."""
    product = node.outputs[0]
    add = sole_consumer(product)
    if add is None or not is_op(add, "Add") or add.graph is not node.graph or add.graph is None:
        return False
    bias = add.inputs[1] if add.inputs[0] is product else add.inputs[0]
    shapes = context.shapes
    if any(shapes.rank(v) != 2 for v in node.inputs) or shapes.dtype(product) not in _FLOATS:
        return False
    tensor = constant(bias)
    if bias is None or tensor is None or not broadcasts_into(tuple(tensor.shape.numpy()), product, shapes):
        return False
    gemm = new_node("Gemm", [*node.inputs, bias], context.names.fresh(product.name or "gemm"), name=add.name or "")
    add.graph.insert_before(add, [gemm])
    replace(add.outputs[0], gemm.outputs[0])
    remove(add)
    discard([product])
    return True
