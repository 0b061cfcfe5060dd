"""Whether two graphs compute the same, and whether two nodes do."""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from onnxzip.model.walk import ONNX_DOMAINS
from onnxzip.passes.scope import is_deterministic

_MERGEABLE_DOMAINS = ONNX_DOMAINS | {"ai.onnx.ml"}
_COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal"})
_T = ir.AttributeType
_PLAIN = frozenset({_T.FLOAT, _T.INT, _T.STRING, _T.FLOATS, _T.INTS, _T.STRINGS})


def node_key(node: ir.Node) -> Hashable | None:
    """What a node computes: nodes of equal keys give equal outputs. None for nodes that are compared with no other.

    These are random operators (failures.md 3), nodes that hold bodies, nodes of other domains than the standard ones
    (they may have state), and nodes without inputs.
    """
    if node.domain not in _MERGEABLE_DOMAINS or not is_deterministic(node) or not node.inputs:
        return None
    operation = _operation(node)
    if operation is None:
        return None
    read = [id(value) if value is not None else 0 for value in node.inputs]
    if node.op_type in _COMMUTATIVE:
        read.sort()
    return (operation, tuple(read))


def same_outputs(first: ir.Graph, second: ir.Graph) -> bool:
    """Whether the outputs of two bodies without inputs are provably equal: the same nodes on the same outer values."""
    equal: dict[ir.Value, ir.Value] = {}
    pending = list(zip(first.outputs, second.outputs, strict=True))
    while pending:
        one, two = pending.pop()
        if one is two or equal.get(one) is two:
            continue
        if one in equal or not _same_producers(one, two):
            return False
        equal[one] = two
        here, there = one.producer(), two.producer()
        if here is not None and there is not None:
            for a, b in zip(here.inputs, there.inputs, strict=True):
                if (a is None) != (b is None):
                    return False
                if a is not None and b is not None:
                    pending.append((a, b))
    return True


def _same_producers(one: ir.Value, two: ir.Value) -> bool:
    here, there = one.producer(), two.producer()
    if here is None or there is None:
        a, b = one.const_value, two.const_value
        inner = one.is_initializer() and two.is_initializer() and not one.is_graph_input() and not two.is_graph_input()
        return inner and a is not None and b is not None and _same_tensors(a, b)
    if here.domain not in _MERGEABLE_DOMAINS or not is_deterministic(here) or len(here.inputs) != len(there.inputs):
        return False
    operation = _operation(here)
    return operation is not None and operation == _operation(there) and one.index() == two.index()


def _same_tensors(one: ir.TensorProtocol, two: ir.TensorProtocol) -> bool:
    same = one.dtype == two.dtype and tuple(one.shape.numpy()) == tuple(two.shape.numpy())
    return one is two or (same and one.dtype != ir.DataType.STRING and one.tobytes() == two.tobytes())


def _operation(node: ir.Node) -> Hashable | None:
    """Operator and attributes."""
    attributes = []
    for name in sorted(node.attributes):
        content = _content(node.attributes[name])
        if content is None:
            return None
        attributes.append((name, content))
    present = tuple(bool(o.name) for o in node.outputs)
    return (node.domain, node.op_type, node.overload, tuple(attributes), present)


def _content(attribute: ir.Attr) -> Hashable | None:
    """What an attribute says, told apart to the bit; None for what is not compared (bodies, types, references)."""
    if attribute.is_ref():
        return None
    if attribute.type in _PLAIN:
        return (attribute.type, repr(attribute.value))
    if attribute.type == _T.TENSOR:
        tensor = attribute.as_tensor()
        if tensor.dtype != ir.DataType.STRING and tensor.nbytes <= 1024:
            return (tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes())
    return None
