"""What a Slice takes: pure analysis, and making one.

Each axis is taken by a Python slice; clamping and negative numbers mean the same there and in ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, new_node
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.size import compact

Cut = tuple[int, int, int]
"""Start, end and step."""

Taken = Mapping[int, Cut]
"""How each axis is cut; axes count from the front, and axes that are taken whole are left out."""

TO_THE_END = 2**31 - 1
"""An end at or beyond which the end of the axis is meant."""


def taken_by(node: ir.Node, context: Context) -> Taken | None:
    """What a Slice takes, or None when that is computed, or for other operators."""
    if not is_op(node, "Slice") or not node.inputs:
        return None
    if context.opset < 10:
        starts, ends, axes = (list(node.attributes.get_ints(key, [])) for key in ("starts", "ends", "axes"))
        steps: list[int] = []
    else:
        given = [_numbers(node, index) for index in (1, 2, 3, 4)]
        found = [numbers for numbers in given if numbers is not None]
        if len(found) != len(given):
            return None
        starts, ends, axes, steps = found
    rank = context.shapes.rank(node.inputs[0])
    if any(axis < 0 for axis in axes) and rank is None:
        return None
    axes = [axis if axis >= 0 else axis + (rank or 0) for axis in axes] or list(range(len(starts)))
    steps = steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        return None
    every = dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))
    shape = context.shapes.of(node.inputs[0])
    sizes = {axis: shape[axis] if shape is not None and axis < len(shape) else None for axis in every}
    return {axis: cut for axis, cut in every.items() if not _is_whole(cut, sizes[axis])}


def _is_whole(cut: Cut, size: Dim) -> bool:
    start, end, step = cut
    return (start, step) == (0, 1) and (end >= TO_THE_END or (isinstance(size, int) and end >= size))


def slice_node(source: ir.Value, taken: Taken, graph: ir.Graph, context: Context, hint: str) -> ir.Node:
    """A Slice that is not yet in the graph; its constants are. Steps other than 1 need opset 10."""
    lists, name = _lists(taken), context.names.fresh(hint)
    if context.opset < 10:
        return new_node("Slice", [source], name, starts=lists["starts"], ends=lists["ends"], axes=lists["axes"])
    operands = [
        add_constant(graph, compact(np.array(numbers, np.int64)), context.names.fresh(stem))
        for stem, numbers in lists.items()
    ]
    return new_node("Slice", [source, *operands], name)


def needed_bytes(taken: Taken, context: Context) -> int:
    """Bytes of such a node and its constants, besides the names of what it reads and gives."""
    sizes = [sum(abs(n).bit_length() // 7 + 1 if n >= 0 else 10 for n in numbers) for numbers in _lists(taken).values()]
    return 24 + sum(size + 26 for size in sizes)


def _lists(taken: Taken) -> dict[str, list[int]]:
    axes = sorted(taken)
    starts, ends, steps = ([taken[axis][part] for axis in axes] for part in range(3))
    lists = {"starts": starts, "ends": ends, "axes": axes}
    return {**lists, "steps": steps} if any(step != 1 for step in steps) else lists


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    """Input `index`: empty when it is left out, None when it is computed."""
    if len(node.inputs) <= index or node.inputs[index] is None:
        return []
    found = array(node.inputs[index])
    return None if found is None else [int(n) for n in found.reshape(-1)]
