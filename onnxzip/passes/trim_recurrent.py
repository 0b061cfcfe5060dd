"""Inputs of LSTM, GRU and RNN that say what holds without them anyway are left out.

Exact. Legal cases:
1. A bias or peepholes that are all zero.
2. Initial states that are all zero: constants, ConstantOfShape, and these after nodes that move elements only.
3. Lengths of the sequences that are all the whole length.
Left alone: initial states and lengths whose shape is constant where that of the input is not (they pin the batch size,
and the model is told so); `layout` 1; states of a shape that is not known to have three axes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import discard
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local

_BIAS, _LENGTHS, _STATES, _PEEPHOLES = 3, 4, (5, 6), 7
_MOVES = ("Unsqueeze", "Squeeze", "Reshape", "Identity", "Expand", "Transpose", "Slice", "Gather", "Cast")
_DEPTH = 8


@local("LSTM", "GRU", "RNN")
def trim_recurrent(node: ir.Node, context: Context) -> bool:
    """Leave out inputs that are what they would be by default."""
    if node.attributes.get_int("layout", 0):
        return False
    dropped = [index for index in _defaults(node, context) if node.inputs[index] is not None]
    read = [node.inputs[index] for index in dropped]
    for index in dropped:
        node.replace_input_with(index, None)
    discard(read)
    return bool(dropped)


def _defaults(node: ir.Node, context: Context) -> Iterator[int]:
    count = len(node.inputs)
    for index in (_BIAS, _PEEPHOLES):
        if index < count and _is_zero(node.inputs[index]):
            yield index
    given = context.shapes.of(node.inputs[0]) or (None, None, None)
    for index in _STATES:
        shape = context.shapes.of(node.inputs[index]) if index < count else None
        if shape is None or len(shape) != 3 or (isinstance(shape[1], int) and shape[1] != given[1]):
            continue
        if _is_zero(node.inputs[index]):
            yield index
    lengths = array(node.inputs[_LENGTHS]) if count > _LENGTHS else None
    whole = lengths is not None and lengths.shape == (given[1],) and isinstance(given[0], int)
    if lengths is not None and whole and bool(np.all(lengths == given[0])):
        yield _LENGTHS


def _is_zero(value: ir.Value | None) -> bool:
    for _ in range(_DEPTH):
        content, node = array(value), value.producer() if value is not None else None
        if content is not None:
            return content.dtype.kind in "fiu" and content.size > 0 and not content.any()
        if node is None:
            return False
        if is_op(node, "ConstantOfShape"):
            given = node.attributes.get("value")
            return given is None or not given.as_tensor().numpy().any()
        if not is_op(node, *_MOVES):
            return False
        value = node.inputs[0]
    return False
