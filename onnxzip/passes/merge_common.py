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
from onnxzip.model.walk import bodies_of
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.same import node_key


def merge_common(model: ir.Model, context: Context) -> Outcome:
    """Common subexpression elimination."""
    return Outcome(_merge(model.graph, []))


def _merge(graph: ir.Graph, outer: list[dict[Hashable, ir.Node]]) -> int:
    seen: dict[Hashable, ir.Node] = {}
    changes = 0
    for node in graph:
        for body in bodies_of(node):
            changes += _merge(body, [*outer, seen])
        key = node_key(node)
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
