"""Regions of nodes that can be computed on views of their tensors: pure analysis (see `move_views`)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.walk import bodies_of, is_op
from onnxzip.passes.context import Context
from onnxzip.passes.view_rules import Moved, main_rank, through
from onnxzip.passes.views import VIEW_OPS, View, is_sound

_LARGEST = 96
"""Nodes of a region."""


@dataclass
class Region:
    """Nodes, what becomes of each, and the view that each of their outputs takes."""

    moved: dict[ir.Node, Moved] = field(default_factory=dict)
    views: dict[ir.Value, View] = field(default_factory=dict)

    def without(self, node: ir.Node) -> Region:
        """The region less one node."""
        moved = {n: m for n, m in self.moved.items() if n is not node}
        return Region(moved, {v: view for v, view in self.views.items() if v.producer() is not node})


def grow(value: ir.Value, view: View, start: ir.Node, context: Context) -> Region:
    """The region around `value`, which takes this view. `start` is a view node beside it, and stays out."""
    region, wanted = Region(), {value: view}
    pending = deque([value])
    while pending and len(region.moved) < _LARGEST:
        current = pending.popleft()
        for node in _candidates(current, start, region):
            if node in region.moved or (moved := _fits(node, current, wanted, context)) is None:
                continue
            region.moved[node] = moved
            region.views.update(zip(node.outputs, moved.outputs, strict=True))
            touched = [*zip(node.inputs, moved.inputs, strict=True), *zip(node.outputs, moved.outputs, strict=True)]
            for other, needed in touched:
                if other is None or needed is None or other in wanted or constant(other) is not None:
                    continue
                if needed != tuple(range(len(needed))):
                    wanted[other] = needed
                    pending.append(other)
    return region


def _candidates(value: ir.Value, start: ir.Node, region: Region) -> Iterator[ir.Node]:
    """What gives the value; and what reads it, if the value is viewed in any case (other readers gain nothing by it)."""
    producer = value.producer()
    if producer is not None and _may_join(producer, start):
        yield producer
    if producer is not None and (producer in region.moved or producer is start or is_op(producer, *VIEW_OPS)):
        readers = dict.fromkeys(use.node for use in value.uses())
        yield from (node for node in readers if _may_join(node, start))


def _may_join(node: ir.Node, start: ir.Node) -> bool:
    return node is not start and node.graph is start.graph and not bodies_of(node)


def _fits(node: ir.Node, value: ir.Value, wanted: dict[ir.Value, View], context: Context) -> Moved | None:
    """What becomes of a node when `value`, which it reads or gives, takes the view that is wanted of it."""
    rank = main_rank(node, context)
    if (
        rank is None
        or context.shapes.rank(value) != rank
        or any(o.is_graph_output() and not o.name for o in node.outputs)
    ):
        return None
    moved = through(node, wanted[value], rank, context)
    sides = [] if moved is None else [*zip(node.inputs, moved.inputs, strict=True)]
    if moved is None or any(read is not None and read in wanted and view is None for read, view in sides):
        return None
    outputs = zip(node.outputs, moved.outputs, strict=True)
    if any(not is_sound(view, context.shapes.of(o)) or wanted.get(o, view) != view for o, view in outputs):
        return None
    for read, view in sides:
        if read is None or view is None:
            continue
        if not is_sound(view, context.shapes.of(read)) or wanted.get(read, view) != view:
            return None
    return moved
