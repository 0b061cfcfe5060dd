"""What the affine fusions share: the byte rule, and putting new weights in the place of old ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import Names, add_constant, discard
from onnxzip.model.walk import is_op
from onnxzip.passes.linear import Linear
from onnxzip.passes.size import constant_bytes, node_bytes, tensor_bytes


def bytes_freed(removed: Sequence[ir.Node]) -> int:
    """Bytes of these nodes, and of the constants that nobody else reads."""
    gone = set(removed)
    read = {v for node in removed for v in node.inputs if v is not None and constant(v) is not None}
    alone = sum(constant_bytes(v) for v in read if all(use.node in gone for use in v.uses()))
    return sum(node_bytes(node) for node in removed) + alone


def bytes_added(linear: Linear, removed: Sequence[ir.Node], *, weight: bool, bias: bool) -> int:
    """How much the file grows when `removed` go and `linear` gets a new weight and bias; negative when it shrinks.

    A weight or bias that others read too has to be copied (tied weights stay tied where that costs bytes).
    """
    touched, added = linear.node, -bytes_freed(removed)
    dtype = ir.DataType.from_numpy(linear.weight.dtype)
    if weight and not is_own(touched.inputs[1]):
        added += tensor_bytes(dtype, linear.weight.shape, touched.inputs[1].name or "" if touched.inputs[1] else "")
    old = touched.inputs[2] if len(touched.inputs) > 2 else None
    if bias and (old is None or not is_own(old) or linear.bias is None or linear.bias.size == 1):
        name = f"{touched.outputs[0].name}_bias"
        added += tensor_bytes(dtype, (linear.out_layout.channels,), name) + len(name.encode()) + 2
        if is_op(touched, "MatMul"):  # it takes no bias: an Add of it stays behind, with a name of its own
            added += 2 * len(name.encode()) + 20
    return added


def put_constant(node: ir.Node, index: int, content: np.ndarray, names: Names, hint: str) -> None:
    """Let input `index` of `node` be `content`: in the tensor's own place where nobody else reads it."""
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and is_own(old) and old.is_initializer():
        old.const_value = ir.tensor(content, name=old.name)
        old.shape = ir.Shape(content.shape)
        return
    if node.graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, add_constant(node.graph, content, names.fresh(old.name or hint if old else hint)))
    discard([old])


def is_own(value: ir.Value | None) -> bool:
    """Whether one node alone reads this constant, so that it can be changed in its place."""
    return value is not None and len(value.uses()) == 1 and not value.is_graph_output()
