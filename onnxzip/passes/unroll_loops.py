"""A Loop that turns once, or never, becomes what its body does.

Exact. The trip count is constant and the condition is left out or constant. Legal cases:
1. No turn (trip count 0, or the condition is false): what is carried comes out as it went in. Only where no scan output is
   read: the shape of an empty one is the runtime's business.
2. One turn: the body moves into the graph around it; scan outputs get a first axis of size 1.
Left alone: more turns, which would repeat the body in the file.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.model.edit import add_constant, is_read
from onnxzip.passes.axes import with_axes
from onnxzip.passes.bodies import can_stand_in, move_out, stand_in
from onnxzip.passes.context import Context
from onnxzip.passes.local import local


@local("Loop")
def unroll_loops(node: ir.Node, context: Context) -> bool:
    """Put the body of a Loop in its place, or nothing."""
    turns, body = _turns(node), node.attributes["body"].as_graph()
    carried = list(node.inputs[2:])
    if turns is None or turns > 1 or None in carried or not can_stand_in(node, context.opset):
        return False
    initial = [value for value in carried if value is not None]
    if turns == 1:
        stand_in(node, _one_turn(node, body, initial, context), context.names)
        return True
    scans = node.outputs[len(initial) :]
    if any(is_read(output) for output in scans) or not initial:
        return False
    stand_in(node, [*initial, *[initial[0]] * len(scans)], context.names)
    return True


def _turns(node: ir.Node) -> int | None:
    """How often the body runs, if that is known to be once or never."""
    count, condition = node.inputs[0], node.inputs[1]
    start = True if condition is None else scalar(condition)
    number = scalar(count)
    if start is not None and not start:
        return 0
    if number is None or number > 1:
        return None
    return max(0, int(number)) if start or number <= 0 else None


def _one_turn(node: ir.Node, body: ir.Graph, initial: list[ir.Value], context: Context) -> list[ir.Value]:
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    given = dict(zip(body.inputs[2:], initial, strict=True))
    for value, content in zip(body.inputs[:2], (np.asarray(0, np.int64), np.asarray(1, np.bool_)), strict=True):
        if value.uses() or value in body.outputs:
            shape = () if value.shape is None else (1,) * len(value.shape)
            given[value] = add_constant(graph, content.reshape(shape), context.names.fresh(value.name or "turn"))
    for inner, outer in given.items():
        for reader, index in tuple(inner.uses()):
            reader.replace_input_with(index, outer)
    results = [given.get(value, value) for value in move_out(body, node, context.names)][1:]
    for index in range(len(initial), len(results)):
        name = context.names.fresh(results[index].name or "scanned")
        stacked = with_axes("Unsqueeze", results[index], [0], name, graph, context)
        graph.insert_before(node, stacked)
        results[index] = stacked.outputs[0]
    return results
