"""Between which bounds the integers in a value provably lie: pure analysis, a few operators deep."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.passes.context import Context
from onnxzip.passes.noops import clip_bounds
from onnxzip.passes.pattern import given_by

Range = tuple[int, int]
"""Lowest and highest."""

_DEPTH = 8
_SAME_ELEMENTS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Tile", "Slice")
TYPE_RANGES: Mapping[ir.DataType, tuple[int, int]] = {
    ir.DataType.BOOL: (0, 1),
    **{ir.DataType[f"UINT{b}"]: (0, 2**b - 1) for b in (8, 16, 32, 64)},
    **{ir.DataType[f"INT{b}"]: (-(2 ** (b - 1)), 2 ** (b - 1) - 1) for b in (8, 16, 32, 64)},
}


def value_range(value: ir.Value | None, context: Context, depth: int = _DEPTH) -> Range | None:
    """(lowest, highest) of what this value may hold, None when it does not hold integers."""
    dtype = context.shapes.dtype(value)
    of_type = TYPE_RANGES.get(dtype) if dtype is not None else None
    if of_type is None:
        return None
    found = _by_node(value, context, depth - 1) if depth else None
    if found is None:
        return of_type
    low, high = found
    return found if of_type[0] <= low and high <= of_type[1] else of_type  # else it may have wrapped


def _by_node(value: ir.Value | None, context: Context, depth: int) -> Range | None:
    node = given_by(value, *_SAME_ELEMENTS, "Cast", "Clip", "ArgMax", "ArgMin", "Mod")
    if node is None or not node.inputs:
        return None
    source = node.inputs[0]
    if node.op_type in ("ArgMax", "ArgMin"):
        shape, axis = context.shapes.of(source), node.attributes.get_int("axis", 0)
        size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
        return (0, size - 1) if isinstance(size, int) and size > 0 else None
    if node.op_type == "Mod":
        divisor = scalar(node.inputs[1])
        floored = not node.attributes.get_int("fmod", 0)  # then the result has the sign of the divisor
        return (0, divisor - 1) if isinstance(divisor, int) and divisor > 0 and floored else None
    given = value_range(source, context, depth)
    if given is None or node.op_type != "Clip":
        return given
    low, high = clip_bounds(node, context)
    if low is None or high is None or low > high:
        return None  # it may hold any of its bounds
    return int(min(max(given[0], low), high)), int(min(max(given[1], low), high))
