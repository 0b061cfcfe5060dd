"""Concats of Concats, and of the parts of a Split.

Exact. Legal cases:
1. A Concat that one Concat on the same axis alone reads: its inputs take its place there.
2. All outputs of a Split, next to each other and in order, in a Concat on the same axis: what was split takes their place;
   where nothing else is in the Concat, the Concat goes too.
Left alone: an inner Concat that others read too.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, is_read, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local


@local("Concat")
def merge_concats(node: ir.Node, context: Context) -> bool:
    """Let a Concat read what Concats and Splits before it read."""
    rank = context.shapes.rank(node.outputs[0])
    axis = _axis(node, rank)
    for index, value in enumerate(node.inputs):
        before = value.producer() if value is not None else None
        if value is None or before is None or before.graph is not node.graph or _axis(before, rank) != axis:
            continue
        if is_op(before, "Concat") and sole_consumer(value) is node:  # case 1
            return _read(node, [*node.inputs[:index], *before.inputs, *node.inputs[index + 1 :]], context)
        end = index + len(before.outputs)
        if is_op(before, "Split") and list(node.inputs[index:end]) == list(before.outputs):  # case 2
            merged = [*node.inputs[:index], before.inputs[0], *node.inputs[end:]]
            if (len(merged) == 1 or all(_only_here(o, node) for o in before.outputs)) and _read(node, merged, context):
                return True
    return False


def _axis(node: ir.Node, rank: int | None) -> int | None:
    """The axis, counted from the front where the rank is known."""
    axis = node.attributes.get_int("axis", 0 if is_op(node, "Split") else None)
    return axis if axis is None or rank is None or rank == 0 else axis % rank


def _only_here(value: ir.Value, node: ir.Node) -> bool:
    return sole_consumer(value) is node or not is_read(value)


def _read(node: ir.Node, inputs: list[ir.Value | None], context: Context) -> bool:
    """Let the Concat read these; a Concat of one goes."""
    old, result, graph = tuple(node.inputs), node.outputs[0], node.graph
    if len(inputs) == 1 and inputs[0] is not None and can_replace(result, inputs[0]):
        replace(result, inputs[0])
    elif isinstance(graph, ir.Graph):
        axis = node.attributes.get_int("axis")
        merged = new_node(
            "Concat", inputs, context.names.fresh(result.name or "concat"), name=node.name or "", axis=axis
        )
        graph.append(merged)
        replace(result, merged.outputs[0])
    else:
        return False
    remove(node)
    discard(old)
    return True
