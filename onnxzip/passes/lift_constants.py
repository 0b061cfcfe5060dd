"""Constant nodes become initializers of the graph they stand in (a body keeps its own).

Exact: the tensor is the same object. Legal cases:
1. `value`: the tensor moves.
2. `value_float`, `value_int`, `value_floats`, `value_ints`: a tensor of the type that the specification gives them.
3. `value_string`, `value_strings`: a string tensor.
Left alone: a Constant that is a graph output (the output must be produced by a node), and sparse constants.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import scopes
from onnxzip.passes.size import compact


def lift_constants(model: ir.Model, context: Context) -> Outcome:
    """Turn Constant nodes into initializers of the same name."""
    lifted = 0
    for graph in scopes(model):
        for node in tuple(graph):
            tensor = _liftable(node)
            if tensor is not None:
                _lift(graph, node, tensor)
                lifted += 1
    return Outcome(lifted)


def _liftable(node: ir.Node) -> ir.TensorProtocol | None:
    if not is_op(node, "Constant") or node.outputs[0].is_graph_output():
        return None
    tensor = constant(node.outputs[0])
    if tensor is None:
        return _strings(node)
    return tensor if "value" in node.attributes else compact(tensor.numpy())


def _strings(node: ir.Node) -> ir.TensorProtocol | None:
    one, many = node.attributes.get("value_string"), node.attributes.get("value_strings")
    if one is not None:
        return ir.StringTensor([one.as_string().encode()], shape=ir.Shape([]))
    if many is not None:
        texts = [text.encode() for text in many.as_strings()]
        return ir.StringTensor(texts, shape=ir.Shape([len(texts)]))
    return None


def _lift(graph: ir.Graph, node: ir.Node, tensor: ir.TensorProtocol) -> None:
    old = node.outputs[0]
    value = ir.Value(
        name=old.name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )
    for user, index in tuple(old.uses()):
        user.replace_input_with(index, value)
    graph.remove(node, safe=True)
    graph.register_initializer(value)
