"""Slices that together take all of an axis become one Split.

    Slice(x, 0, a), Slice(x, a, b), ..., Slice(x, z, size)  =  Split(x, [a, b - a, ..., size - z])

Exact. Legal case: the size of the axis is known, every Slice cuts this axis alone with step 1, and each element belongs
to one of them.
Left alone: Slices that overlap or leave something out (it would be copied for nobody); what would add bytes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, discard, remove, replace
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import compact
from onnxzip.passes.slices import taken_by


@local("Slice")
def split_slices(node: ir.Node, context: Context) -> bool:
    """Cut an axis in one node."""
    source, graph, taken = node.inputs[0] if node.inputs else None, node.graph, taken_by(node, context)
    shape = context.shapes.of(source)
    if source is None or shape is None or not isinstance(graph, ir.Graph) or taken is None or len(taken) != 1:
        return False
    axis = next(iter(taken))
    size = shape[axis] if axis < len(shape) else None
    if not isinstance(size, int):
        return False
    parts = _partition(source, axis, size, graph, context)
    if len(parts) < 2 or node not in parts:
        return False
    slices, sizes = list(parts), [len(picked) for picked in parts.values()]
    added = 60 + 3 * len(sizes) + sum(len(s.outputs[0].name or "") + 4 for s in slices) + len(source.name or "")
    if context.allowed.prefer == "bytes" and bytes_freed(slices) < added:
        return False
    _split(source, axis, sizes, slices, graph, context)
    return True


def _partition(source: ir.Value, axis: int, size: int, graph: ir.Graph, context: Context) -> dict[ir.Node, range]:
    """The Slices that take the axis apart, in order; empty when they do not."""
    found: dict[ir.Node, range] = {}
    for use in source.uses():
        taken = taken_by(use.node, context) if use.idx == 0 and use.node.graph is graph else None
        if taken is not None and list(taken) == [axis] and taken[axis][2] == 1:
            found[use.node] = range(size)[slice(*taken[axis])]
    ordered = dict(sorted(found.items(), key=lambda item: item[1].start))
    ends = [0, *(picked.stop for picked in ordered.values())]
    starts = [*(picked.start for picked in ordered.values()), size]
    return ordered if ends == starts and all(len(picked) for picked in ordered.values()) else {}


def _split(
    source: ir.Value, axis: int, sizes: list[int], slices: list[ir.Node], graph: ir.Graph, context: Context
) -> None:
    inputs, attributes = [source], {"axis": ir.AttrInt64("axis", axis)}
    if context.opset < 13:
        attributes["split"] = ir.AttrInt64s("split", sizes)
    else:
        content = compact(np.array(sizes, np.int64))
        inputs.append(add_constant(graph, content, context.names.fresh("split")))
    node = ir.Node("", "Split", inputs, attributes.values(), num_outputs=len(sizes), name=slices[0].name or "")
    graph.append(node)
    dropped = [v for cut in slices for v in cut.inputs]
    for cut, output in zip(slices, node.outputs, strict=True):
        output.name = context.names.fresh(cut.outputs[0].name or "part")
        replace(cut.outputs[0], output)
        remove(cut)
    discard(dropped)
