"""Quantizing again what was just dequantized by the same scale gives the integers back: Q(DQ(q)) = q.

Bit exact: (q - zero_point) * scale / scale is off by less than 2^-7 even for 16 bits, and is rounded to the integer it was.
Legal case: QuantizeLinear of a DequantizeLinear, scales and zero points constant and equal, along the same axis, integers of
8 or 16 bits and of one type, scales far from overflow and underflow.
Left alone: other scales (that is a requantization); blocks; numbers in between that are not float32.

Latency: two nodes less; onnxruntime removes some of these pairs itself at load.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import can_replace, discard, remove, replace
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.pattern import given_by

_INTEGERS = (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16)
_SMALLEST, _LARGEST = 1e-30, 1e30


@local("QuantizeLinear", since=10)
def cancel_requantization(second: ir.Node, context: Context) -> bool:
    """Read the integers that were there before."""
    value, output = second.inputs[0], second.outputs[0]
    first = given_by(value, "DequantizeLinear")
    source = first.inputs[0] if first is not None else None
    if first is None or source is None or not can_replace(output, source):
        return False
    if context.shapes.dtype(value) != ir.DataType.FLOAT or "precision" in second.attributes:
        return False
    dtype = context.shapes.dtype(source)
    if dtype not in _INTEGERS or dtype != context.shapes.dtype(output) or not _same_grid(first, second):
        return False
    replace(output, source)
    remove(second)
    discard([value])
    return True


def _same_grid(first: ir.Node, second: ir.Node) -> bool:
    scales = [array(node.inputs[1]) for node in (first, second)]
    zeros = [node.inputs[2] if len(node.inputs) > 2 else None for node in (first, second)]
    if scales[0] is None or scales[1] is None or not np.array_equal(scales[0], scales[1]):
        return False
    if scales[0].dtype != np.float32 or not ((scales[0] > _SMALLEST) & (scales[0] < _LARGEST)).all():
        return False
    points = [np.zeros(1) if z is None else array(z) for z in zeros]
    if points[0] is None or points[1] is None or not (np.ravel(points[0]) == np.ravel(points[1])).all():
        return False
    if any(node.attributes.get_int("block_size", 0) for node in (first, second)):
        return False
    return scales[0].size == 1 or first.attributes.get_int("axis", 1) == second.attributes.get_int("axis", 1)
