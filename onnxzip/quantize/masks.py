"""Values of which only a Softmax knows: masks of attention, and what they are added to.

Softmax gives exp(x - max x) / sum: what lies far below the largest value is 0, however far. Masks are written as the lowest float32 or as
-10000, and a grid that spans them has nothing left for what is not masked. So such values are represented down to a target's reach below
the largest only (`onnxzip.quantize.row`), and saturate there.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.walk import is_op

MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Slice", "Identity", "Flatten", "Tile")


def masked(model: ir.Model) -> frozenset[ir.Value]:
    """The values of the main graph all readers of which end in a Softmax, through additions, choices and movements."""
    found: set[ir.Value] = set()
    for node in reversed(model.graph):
        for index, value in enumerate(node.inputs):
            if value is not None and value not in found and _may(node, index, found) and not value.is_graph_output():
                uses = tuple(value.uses())
                if all(u.node.graph is model.graph and _may(u.node, u.idx, found) for u in uses):
                    found.add(value)
    return frozenset(found)


def _may(node: ir.Node, index: int, found: set[ir.Value]) -> bool:
    if is_op(node, "Softmax"):
        return True
    if not node.outputs or node.outputs[0] not in found:
        return False
    return is_op(node, "Add") or (is_op(node, "Where") and index > 0) or (is_op(node, *MOVES) and index == 0)
