"""What a body computes anew at every turn although it never changes is computed once, before the Loop or Scan.

Exact. Legal case: deterministic nodes without bodies that read outer values only and give no output of the body, where
the body is known to run: a Loop with a constant trip count of at least one and no condition to start with, or a constant
true one; a Scan along an axis that is known not to be empty.
Left alone: everything in bodies that may never run: it could be costly, or throw.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import constant, scalar
from onnxzip.model.walk import ONNX_DOMAINS, bodies_of, is_op
from onnxzip.passes.bodies import move_nodes
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.scope import is_deterministic


@local("Loop", "Scan", since=9)
def hoist_invariants(node: ir.Node, context: Context) -> bool:
    """Move nodes that do not depend on the turn out of the body."""
    if not _runs(node, context):
        return False
    body, moved = node.attributes["body"].as_graph(), False
    for each in tuple(body):
        if _is_invariant(each, body):
            move_nodes([each], body, node, context.names)
            moved = True
    return moved


def _runs(node: ir.Node, context: Context) -> bool:
    """Whether there is a first turn in any case."""
    if is_op(node, "Loop"):
        turns, start = scalar(node.inputs[0]), node.inputs[1]
        return turns is not None and turns >= 1 and (start is None or scalar(start) is True)
    scanned = node.attributes.get_int("num_scan_inputs", 0)
    axes = node.attributes.get_ints("scan_input_axes", [0] * scanned)
    shape = context.shapes.of(node.inputs[-1]) if scanned else None
    size = shape[axes[-1]] if shape is not None and -len(shape) <= axes[-1] < len(shape) else None
    return isinstance(size, int) and size > 0


def _is_invariant(node: ir.Node, body: ir.Graph) -> bool:
    if node.domain not in ONNX_DOMAINS or bodies_of(node) or not is_deterministic(node) or not node.inputs:
        return False
    if any(output.is_graph_output() for output in node.outputs):
        return False
    given = [v for v in node.inputs if v is not None]
    outer = all(v.graph is not body or (v.is_initializer() and not v.is_graph_input()) for v in given)
    return outer and any(constant(v) is None for v in given)  # what is all constant is folded
