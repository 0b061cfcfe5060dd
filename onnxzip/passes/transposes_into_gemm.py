"""A Transpose of a matrix goes into the product that reads it: Gemm(A', B) = Gemm(A, B, transA=1).

Exact. Legal cases, for a Transpose that nobody else reads:
1. Of the first or the second operand of a Gemm: transA or transB is turned round.
2. Of an operand of a MatMul of two float matrices: a Gemm without a third operand (from opset 11 on).
Left alone: the first operand beside a constant matrix (integer kernels take no transA); operands that are dequantized.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import discard, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)


@local("Gemm", "MatMul")
def transposes_into_gemm(node: ir.Node, context: Context) -> bool:
    """Read a matrix as it is before it is transposed."""
    if is_op(node, "MatMul") and not _may_be_gemm(node, context):
        return False
    for index, key in enumerate(("transA", "transB")):
        before = _transposed(node, index, context)
        if before is None or (index == 0 and constant(node.inputs[1]) is not None):
            continue
        turned, old = 1 - node.attributes.get_int(key, 0), node.inputs[index]
        node.op_type = "Gemm"
        node.attributes.pop(key, None)
        if turned:
            node.attributes[key] = ir.AttrInt64(key, turned)
        node.replace_input_with(index, before)
        discard([old])
        return True
    return False


def _may_be_gemm(node: ir.Node, context: Context) -> bool:
    """Case 2."""
    shapes = context.shapes
    if context.opset < 11 or shapes.dtype(node.inputs[0]) not in _FLOATS:
        return False
    dequantized = any(v is not None and is_op(v.producer(), "DequantizeLinear") for v in node.inputs)
    return not dequantized and all(shapes.rank(v) == 2 for v in node.inputs)


def _transposed(node: ir.Node, index: int, context: Context) -> ir.Value | None:
    """The matrix whose transpose an operand is."""
    value = node.inputs[index]
    transpose = value.producer() if value is not None else None
    if value is None or transpose is None or not is_op(transpose, "Transpose") or sole_consumer(value) is not node:
        return None
    perm = tuple(transpose.attributes.get_ints("perm", (1, 0)))
    return transpose.inputs[0] if perm == (1, 0) and context.shapes.rank(value) == 2 else None
