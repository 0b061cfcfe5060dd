"""Nodes that give their input back go: Identity, Dropout, and what turns out to do nothing.

Legal cases: one for each operator in `noops`. Exact, up to the sign of zero (see there).
Left alone: a node between a graph input (or a constant, or an outer value) and a graph output, because both names are
interface; a Dropout whose mask is read; whatever is not provably without effect.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, remove, replace
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.noops import passed_through
from onnxzip.passes.scope import drop_unused, scopes


def remove_noops(model: ir.Model, context: Context) -> Outcome:
    """Let the readers of a node that does nothing read its input."""
    changes = 0
    for graph in scopes(model):
        for node in tuple(graph):
            source = passed_through(node, context)
            if source is None or not can_replace(node.outputs[0], source):
                continue
            read = node.inputs
            replace(node.outputs[0], source)
            remove(node)
            drop_unused(read)
            changes += 1
    return Outcome(changes)
