"""Nodes that compute the same thing are computed once.

Exact. Two nodes are the same when operator, domain, attributes, inputs and number of outputs are; the operands of
commutative operators may be in any order. A node in a body may be replaced by one that ran before, outside of it.
Left alone: random operators (failures.md 3), nodes that hold bodies, nodes of other domains than the standard ones
(they may have state), and a node whose output must keep its name and cannot give it to the other.
One walk, one table a graph: the time grows with the graph.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from onnxzip.model.edit import can_replace, remove, replace
from onnxzip.model.walk import ONNX_DOMAINS, bodies_of
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import is_deterministic

_MERGEABLE_DOMAINS = ONNX_DOMAINS | {"ai.onnx.ml"}
_COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal"})
_T = ir.AttributeType
_PLAIN = frozenset({_T.FLOAT, _T.INT, _T.STRING, _T.FLOATS, _T.INTS, _T.STRINGS})


def merge_common(model: ir.Model, context: Context) -> Outcome:
    """Common subexpression elimination."""
    return Outcome(_merge(model.graph, []))


def _merge(graph: ir.Graph, outer: list[dict[Hashable, ir.Node]]) -> int:
    seen: dict[Hashable, ir.Node] = {}
    changes = 0
    for node in graph:
        for body in bodies_of(node):
            changes += _merge(body, [*outer, seen])
        key = _key(node)
        if key is None:
            continue
        earlier = next((table[key] for table in (*outer, seen) if key in table), None)
        if earlier is None:
            seen[key] = node
        elif all(can_replace(old, new) for old, new in zip(node.outputs, earlier.outputs, strict=True)):
            for old, new in zip(node.outputs, earlier.outputs, strict=True):
                replace(old, new)
            remove(node)
            changes += 1
    return changes


def _key(node: ir.Node) -> Hashable | None:
    if node.domain not in _MERGEABLE_DOMAINS or not is_deterministic(node) or not node.inputs:
        return None
    attributes = []
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        content = _content(attribute)
        if content is None:
            return None
        attributes.append((name, content))
    read = [id(value) if value is not None else 0 for value in node.inputs]
    if node.op_type in _COMMUTATIVE:
        read.sort()
    present = tuple(bool(o.name) for o in node.outputs)
    return (node.domain, node.op_type, node.overload, tuple(read), tuple(attributes), present)


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
