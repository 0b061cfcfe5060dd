"""What a Slice takes: pure analysis, and making one.

Each axis is taken by a Python slice; clamping and negative numbers mean the same there and in ONNX.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, new_node
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.size import compact, initializer_bytes, node_bytes

Taken = Mapping[int, tuple[int, int, int]]
"""Start, end and step of each axis that is cut; axes count from the front."""

TO_THE_END = 2**31 - 1
"""An end at or beyond which runtimes agree that the end of the axis is meant."""


def taken_by(node: ir.Node, context: Context) -> Taken | None:
    """What a Slice takes, or None when that is computed, or for other operators."""
    if not is_op(node, "Slice") or not node.inputs:
        return None
    if context.opset < 10:
        starts, ends = (list(node.attributes.get_ints(key, [])) for key in ("starts", "ends"))
        axes, steps = list(node.attributes.get_ints("axes", [])), [1] * len(starts)
    else:
        given = [_numbers(node, index) for index in (1, 2, 3, 4)]
        if given[0] is None or given[1] is None or given[2] is None or given[3] is None:
            return None
        starts, ends, axes, steps = given[0], given[1], given[2], given[3] or [1] * len(given[0])
    axes = axes or list(range(len(starts)))
    if any(axis < 0 for axis in axes):
        rank = context.shapes.rank(node.inputs[0])
        if rank is None:
            return None
        axes = [axis % rank for axis in axes]
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        return None
    every = {axis: cut for axis, *cut in zip(axes, starts, ends, steps, strict=True)}
    return {a: (s, e, k) for a, (s, e, k) in every.items() if (s, k) != (0, 1) or e < TO_THE_END}


def slice_node(source: ir.Value, taken: Taken, graph: ir.Graph, context: Context, hint: str) -> ir.Node:
    """A Slice that is not yet in the graph, its constants are. Only steps of 1 before opset 10."""
    axes = sorted(taken)
    starts, ends, steps = ([taken[axis][part] for axis in axes] for part in range(3))
    name = context.names.fresh(hint)
    if context.opset < 10:
        return new_node("Slice", [source], name, starts=starts, ends=ends, axes=axes)
    lists = [starts, ends, axes] + ([steps] if any(step != 1 for step in steps) else [])
    stems = ("starts", "ends", "axes", "steps")
    operands = [
        add_constant(graph, compact(np.array(numbers, np.int64)), context.names.fresh(stem))
        for numbers, stem in zip(lists, stems, strict=False)
    ]
    return new_node("Slice", [source, *operands], name)


def added_bytes(node: ir.Node, shared: int = 0) -> int:
    """Bytes of a new node and its constants, less those of `shared` constants that are there anyway."""
    constants = [v for v in node.inputs if v is not None and v.const_value is not None][shared:]
    return node_bytes(node) + sum(initializer_bytes(v.const_value, v.name or "") for v in constants if v.const_value)


def _numbers(node: ir.Node, index: int) -> list[int] | None:
    """Input `index`: empty when it is left out, None when it is computed."""
    if len(node.inputs) <= index or node.inputs[index] is None:
        return []
    found = array(node.inputs[index])
    return None if found is None else [int(n) for n in found.reshape(-1)]
