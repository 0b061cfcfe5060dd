"""A reduction takes in the nodes next to it that only insert and drop axes of size 1, and others of its kind.

Reduce(Reduce(x, a), b) = Reduce(x, a and b); Squeeze and Unsqueeze around it are what `keepdims` and axes of size 1 say.
Legal cases:
1. Squeeze, Unsqueeze before or behind: exact. An axis that is dropped before must be known to have size 1.
2. ReduceSum, ReduceMean, ReduceProd of floats, one after another: rounds, the order of the operands changes.
   ReduceMax, ReduceMin: exact.
Left alone: values in between that others read; whatever cannot be said by one node with `keepdims`; axes that are computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.axes import axes_of, leaves_out_axes, with_axes
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.swap import swap

_ROUNDING = ("ReduceSum", "ReduceMean", "ReduceProd")
_REPEATABLE = (*_ROUNDING, "ReduceMax", "ReduceMin")
_REDUCTIONS = (*_REPEATABLE, "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp")
_DROPPED = -1
"""Stands for an axis of size 1 that is no axis of the source."""


@local(*_REDUCTIONS)
def merge_reduces(node: ir.Node, context: Context) -> bool:
    """Say a chain around a reduction with one node."""
    chain = _chain(node, context)
    for part in (chain, chain[1:], chain[:-1]):
        if len(part) < 2 or node not in part:
            continue
        source = part[0].inputs[0]
        rank = context.shapes.rank(source)
        if source is None or rank is None:
            continue
        found = _said_by_one(part, source, rank, context)
        if found is not None and node.graph is not None:
            axes, keep = found
            name = part[-1].outputs[0].name or "reduced"
            new = with_axes(node.op_type, source, axes, name, node.graph, context, keepdims=int(keep))
            return swap(part, new, context)
    return False


def _chain(node: ir.Node, context: Context) -> list[ir.Node]:
    """The node and what is in line with it and can be looked through, in order."""
    chain = [node]
    while (value := chain[0].inputs[0]) is not None:
        before = value.producer()
        if before is None or sole_consumer(value) is not chain[0] or not _fits(before, node, context):
            break
        chain.insert(0, before)
    while (after := sole_consumer(chain[-1].outputs[0])) is not None and _fits(after, node, context):
        if after.inputs[0] is not chain[-1].outputs[0]:
            break
        chain.append(after)
    return chain


def _fits(other: ir.Node, node: ir.Node, context: Context) -> bool:
    if other.graph is not node.graph:
        return False
    if is_op(other, "Squeeze", "Unsqueeze"):
        return True
    if not is_op(other, node.op_type) or other.op_type not in _REPEATABLE:
        return False
    dtype = context.shapes.dtype(node.outputs[0])
    return other.op_type not in _ROUNDING or (dtype is not None and dtype.is_floating_point())


def _said_by_one(
    part: Sequence[ir.Node], source: ir.Value, rank: int, context: Context
) -> tuple[list[int], bool] | None:
    """The axes to reduce and whether to keep them, so that one node gives what the part gives."""
    shape = context.shapes.of(source) or ()
    ones = {axis for axis in range(rank) if shape[axis] == 1}
    layout, reduced = list(range(rank)), set[int]()
    for each in part:
        step = _step(each, layout, ones, context)
        if step is None:
            return None
        layout, more = step
        reduced |= more
    if not reduced:
        return None  # no axes would mean all of them
    wanted = [_DROPPED if axis in ones else axis for axis in layout]
    if wanted == [_DROPPED if axis in reduced | ones else axis for axis in range(rank)]:
        return sorted(reduced), True
    return _dropping(wanted, reduced, ones, rank)


def _step(node: ir.Node, layout: list[int], ones: set[int], context: Context) -> tuple[list[int], set[int]] | None:
    """The axes behind a node, each with the axis of the source that it is, and the axes of the source it reduces."""
    length = len(layout)
    axes = axes_of(node, context)
    if axes is None:
        if node.op_type in ("Squeeze", "Unsqueeze") or not leaves_out_axes(node, context):
            return None
        axes = [] if node.attributes.get_int("noop_with_empty_axes", 0) else list(range(length))
    elif not axes and node.op_type not in ("Squeeze", "Unsqueeze"):
        return None  # what an empty list of axes means has changed
    if node.op_type == "Unsqueeze":
        length += len(axes)
    named = {axis % length for axis in axes if -length <= axis < length}
    if len(named) != len(axes):
        return None
    if node.op_type == "Unsqueeze":
        given = iter(layout)
        return [_DROPPED if axis in named else next(given) for axis in range(length)], set()
    touched = {layout[axis] for axis in named}
    if node.op_type == "Squeeze":
        if touched - ones - {_DROPPED}:
            return None  # it might throw
        return [each for axis, each in enumerate(layout) if axis not in named], set()
    if node.attributes.get_int("keepdims", 1):
        return [_DROPPED if axis in named else each for axis, each in enumerate(layout)], touched - {_DROPPED}
    return [each for axis, each in enumerate(layout) if axis not in named], touched - {_DROPPED}


def _dropping(wanted: list[int], reduced: set[int], ones: set[int], rank: int) -> tuple[list[int], bool] | None:
    """Without `keepdims`: axes of size 1 may be reduced too, or not, wherever that gives the wanted layout."""
    dropped, position = [], 0
    for axis in range(rank):
        following = wanted[position] if position < len(wanted) else None
        if axis in ones and following == _DROPPED:
            position += 1
        elif axis in ones or axis in reduced:
            dropped.append(axis)
        elif following == axis:
            position += 1
        else:
            return None
    return (dropped, False) if position == len(wanted) and set(dropped) & reduced else None
