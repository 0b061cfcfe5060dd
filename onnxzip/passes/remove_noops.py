"""Nodes that give their input back go: Identity, Dropout, and what turns out to do nothing.

Legal cases: one for each operator in `noops`. Exact, up to the sign of zero (see there).
Left alone: a node between a graph input (or a constant, or an outer value) and a graph output, because both names are
interface; a Dropout whose mask is read; whatever is not provably without effect.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, remove, replace
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.noops import OPERATORS, passed_through


@local(*OPERATORS, since=1)
def remove_noops(node: ir.Node, context: Context) -> bool:
    """Let the readers of a node that does nothing read its input."""
    source = passed_through(node, context)
    if source is None or not can_replace(node.outputs[0], source):
        return False
    read = node.inputs
    replace(node.outputs[0], source)
    remove(node)
    discard(read)
    return True
