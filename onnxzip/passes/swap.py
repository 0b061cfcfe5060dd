"""Putting one new node in the place of several, where that does not cost bytes."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import discard, replace
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.size import constant_bytes, node_bytes


def swap(nodes: Sequence[ir.Node], new: ir.Node, context: Context) -> bool:
    """Let `new`, which is in no graph yet, give the first output of the last of these nodes; the nodes go.

    The others must be read by nodes of the list alone. Constants that only `new` reads were made for it and count as
    added bytes; where those are too many, all is left as it was, and the answer is False.
    """
    last = nodes[-1]
    old, graph = last.outputs[0], last.graph
    if graph is None:
        raise ValueError(f"{last.op_type} {last.name!r} is not in a graph")
    made = [v for v in new.inputs if v is not None and constant(v) is not None and len(v.uses()) == 1]
    new.outputs[0].name = old.name
    added = node_bytes(new) + sum(constant_bytes(v) for v in made)
    if not context.affords(added - bytes_freed(nodes)):
        for index in range(len(new.inputs)):
            new.replace_input_with(index, None)
        discard(made)
        return False
    new.outputs[0].name = context.names.fresh(old.name or "value")
    graph.insert_before(last, new)
    replace(old, new.outputs[0])
    if not new.outputs[0].is_graph_output():
        old.name, new.outputs[0].name = new.outputs[0].name, old.name  # the same value by the same name
    discard([old])
    return True
