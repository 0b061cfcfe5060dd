"""A Transpose before a flattened matrix product goes into the order of the weight's rows.

    MatMul(Reshape(Transpose(x, perm), [N, K]), W) = MatMul(Reshape(x, [N, K]), W')

where row k of W' is the row of W that meets the same element. This is how channels-last networks end that were exported
with channels first. Exact, but that a product adds up in another order. Legal case: the Transpose leaves the first axis
alone, all other axes have known sizes and are flattened into one (Reshape or Flatten), which a MatMul alone reads, or a Gemm
with transA = 0; W is a constant of two axes that nobody else reads.
Left alone: weights that are quantized, computed or shared; a Transpose or Reshape that others read too.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import discard, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import is_own, put_constant
from onnxzip.passes.local import local


@local("Transpose")
def permute_weights(node: ir.Node, context: Context) -> bool:
    """Take a Transpose away by moving the rows of a weight."""
    source, perm, flatten = node.inputs[0], node.attributes.get_ints("perm"), sole_consumer(node.outputs[0])
    shape = context.shapes.of(source)
    if source is None or perm is None or perm[0] != 0 or shape is None or flatten is None:
        return False
    sizes = [size for size in shape[1:] if isinstance(size, int) and size > 0]
    if len(sizes) + 1 != len(shape) or not _flattens(flatten, node, math.prod(sizes), context):
        return False
    product = sole_consumer(flatten.outputs[0])
    if (
        product is None
        or not _takes_rows(product, flatten.outputs[0])
        or not node.graph is flatten.graph is product.graph
    ):
        return False
    weight = array(product.inputs[1])
    if weight is None or weight.ndim != 2 or not is_own(product.inputs[1]):
        return False
    across = bool(product.attributes.get_int("transB", 0))
    rows = weight.T if across else weight
    if rows.shape[0] != math.prod(sizes):
        return False
    moved = _unpermuted(rows, sizes, [axis - 1 for axis in perm[1:]])
    flatten.replace_input_with(0, source)
    put_constant(product, 1, np.ascontiguousarray(moved.T if across else moved), context.names, "weight")
    discard([node.outputs[0]])
    return True


def _flattens(node: ir.Node, before: ir.Node, elements: int, context: Context) -> bool:
    """Whether it makes one axis of all but the first."""
    if not is_op(node, "Reshape", "Flatten") or node.inputs[0] is not before.outputs[0]:
        return False
    if is_op(node, "Reshape"):
        target = array(node.inputs[1])
        if target is None or target.size != 2 or target[1] == 0 or (target[0] == 0 and target[1] not in (-1, elements)):
            return False
    shape = context.shapes.of(node.outputs[0])
    return shape is not None and len(shape) == 2 and shape[1] == elements


def _takes_rows(node: ir.Node, value: ir.Value) -> bool:
    """Whether each row of `value` is multiplied by all rows of the weight."""
    if not is_op(node, "MatMul", "Gemm") or node.inputs[0] is not value:
        return False
    return not node.attributes.get_int("transA", 0)


def _unpermuted(rows: np.ndarray, sizes: list[int], perm: list[int]) -> np.ndarray:
    """The rows in the order of the elements before the Transpose."""
    view = rows.reshape(*(sizes[axis] for axis in perm), rows.shape[1])
    back = [perm.index(axis) for axis in range(len(perm))]
    return view.transpose([*back, len(perm)]).reshape(rows.shape)
