"""Sizes that are the same number are computed once, in the shortest way.

Exact. Two small integer tensors are the same when their elements are provably equal as expressions, however they were
computed: Gather(Shape(x), 0) and Gather(Shape(Relu(x)), 0), 2 * N and N + N. Cases:
1. An earlier value of the same type and shape holds the same: readers read it.
2. From opset 15: the sizes are consecutive axes of a graph input, or of a value whose shape is asked for before: one
   Shape with start and end, instead of what was there, unless that was a Shape already.
Left alone: what is constant (folding takes it); case 2 where the new node costs more bytes than what goes.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, is_read, new_node, remove, replace
from onnxzip.model.elements import Extent
from onnxzip.model.symbol_contents import CONTENT_RULES
from onnxzip.model.walk import bodies_of, is_op
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import dying
from onnxzip.passes.size import node_bytes

_RANK = 8
"""Slices of longer shapes are not looked for."""


class _Known:
    """What was computed before, in this graph and around it."""

    def __init__(self, outer: _Known | None = None) -> None:
        self.values: dict[Hashable, ir.Value] = {} if outer is None else dict(outer.values)
        self.axes: dict[Extent, tuple[ir.Value, int, int]] = {} if outer is None else dict(outer.axes)

    def add_axes(self, value: ir.Value, shape: Extent | None) -> None:
        """Note all runs of axes of this value, unless an earlier one has them too."""
        if shape is None or len(shape) > _RANK:
            return
        for start in range(len(shape)):
            for end in range(start + 1, len(shape) + 1):
                self.axes.setdefault(shape[start:end], (value, start, end))


def merge_sizes(model: ir.Model, context: Context) -> Outcome:
    """Compute each size once."""
    known = _Known()
    for value in model.graph.inputs:
        if not value.is_initializer():
            known.add_axes(value, context.symbols.shape(value))
    return Outcome(_merge(model.graph, known, context))


def _merge(graph: ir.Graph, known: _Known, context: Context) -> int:
    changes = 0
    for node in tuple(graph):
        if node.graph is None:
            continue
        for body in bodies_of(node):
            changes += _merge(body, _Known(known), context)
        if is_op(node, *CONTENT_RULES) and len(node.outputs) == 1:
            changes += _merge_node(node, known, context)
    return changes


def _merge_node(node: ir.Node, known: _Known, context: Context) -> bool:
    value = node.outputs[0]
    found = context.symbols.content(value)
    if is_op(node, "Shape") and node.inputs[0] is not None:
        known.add_axes(node.inputs[0], context.symbols.shape(node.inputs[0]))
    if found is None or any(i is None for i in found.flat) or all(i.known is not None for i in found.flat):
        return False
    items: Extent = tuple(found.flat)
    key = (context.shapes.dtype(value), found.shape, items)
    if not _is_alive(known.values.setdefault(key, value)):
        known.values[key] = value
    earlier = known.values[key]
    if earlier is not value and is_read(value) and can_replace(value, earlier):  # case 1
        _put(value, earlier)
        return True
    made = _as_shape(node, items, known, context) if found.ndim == 1 and is_read(value) else None
    if made is not None:  # case 2
        _put(value, made.outputs[0])
        known.values[key] = made.outputs[0]
    return made is not None


def _put(old: ir.Value, new: ir.Value) -> None:
    node = old.producer()
    replace(old, new)
    if node is not None:
        read = node.inputs
        remove(node)
        discard(read)


def _as_shape(node: ir.Node, items: Extent, known: _Known, context: Context) -> ir.Node | None:
    """A Shape, put before `node`, that gives these sizes."""
    axes = known.axes.get(items)
    if axes is None or context.opset < 15 or context.shapes.dtype(node.outputs[0]) != ir.DataType.INT64:
        return None
    source, start, end = axes
    if not _is_alive(source):
        del known.axes[items]
        return None
    rank = context.shapes.rank(source)
    if node.graph is None or (is_op(node, "Shape") and (node.inputs[0] is source or start or end != rank)):
        return None
    made = new_node("Shape", [source], "", name=node.name or "")
    if start or end != rank:
        made.attributes.update({k: ir.AttrInt64(k, at) for k, at in (("start", start), ("end", end))})
    if node_bytes(made) > sum(map(node_bytes, dying([node]))):
        return None
    made.outputs[0].name = context.names.fresh(node.outputs[0].name or "sizes")
    node.graph.insert_before(node, made)
    return made


def _is_alive(value: ir.Value) -> bool:
    """Whether a value that was there before still is."""
    producer = value.producer()
    return value.is_graph_input() if producer is None else producer.graph is not None
