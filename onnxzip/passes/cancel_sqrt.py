"""The square of a square root is what the root was taken of: Sqrt(x) * Sqrt(x) = x, where x is not negative.

Rounds less than before. Legal cases, for x that is provably not negative (`signs`), so that there is no NaN to keep:
1. The square reads the root itself: its readers read x. The root stays where others read it.
2. Between both there are only nodes that move elements, read by nobody else: these move x.
Left alone: roots of what may be negative; integers.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, remove, replace
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.signs import not_negative, squares

_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity")
_DEPTH = 4


@local("Mul", "Pow")
def cancel_sqrt(node: ir.Node, context: Context) -> bool:
    """Take the root and the square out."""
    squared = node.inputs[0]
    if squared is None or not squares(node, context):
        return False
    value, reader = squared, node
    for _ in range(_DEPTH):
        mover = value.producer()
        if (
            mover is None
            or not is_op(mover, *_MOVES)
            or not _reads_alone(reader, value)
            or mover.graph is not node.graph
        ):
            break
        value, reader = mover.inputs[0] or value, mover
    root = value.producer()
    source = root.inputs[0] if root is not None and is_op(root, "Sqrt") else None
    if source is None or not not_negative(source, context):
        return False
    if not can_replace(node.outputs[0], source if reader is node else squared):
        return False
    if reader is not node:
        if not _reads_alone(reader, value):
            return False
        reader.replace_input_with(0, source)
    read = node.inputs
    replace(node.outputs[0], source if reader is node else squared)
    remove(node)
    discard([*read, value])
    return True


def _reads_alone(reader: ir.Node, value: ir.Value) -> bool:
    """Whether no other node reads what this value holds (its shape stays what it is)."""
    readers = (use.node for use in value.uses())
    return not value.is_graph_output() and all(node is reader or is_op(node, "Shape", "Size") for node in readers)
