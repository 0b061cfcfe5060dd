"""Slices and Gathers that cut a value into all its parts along one axis become one Split.

Exact. Legal case: an axis of known size; all parts lie side by side from its start to its end, each a Slice with step 1
along this axis alone, or a Gather of a list of neighbours; all in one graph. A part that several of them take is cut once.
Left alone: parts that leave something out or overlap; vectors (shapes are put together from their parts, and other passes
know how); a Gather of a single number (it drops the axis); what costs bytes.
Each element is copied once, as before; of what is read along the last axis or in the middle a Split copies it faster.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, constant
from onnxzip.model.edit import add_constant, discard, remove
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import compact, constant_bytes, node_bytes
from onnxzip.passes.slices import taken_by

_READERS = 64
"""Readers of a value that are looked at; where there are more, they are left alone."""

_Cut = tuple[int, int, int]
"""Axis, start, end."""


@local("Slice", "Gather")
def split_slices(node: ir.Node, context: Context) -> bool:
    """Put one Split in the place of all parts of a value."""
    source, own = node.inputs[0], _cut(node, context)
    shape = context.shapes.of(source)
    if source is None or own is None or shape is None or len(shape) < 2 or constant(source) is not None:
        return False
    if len(source.uses()) > _READERS:
        return False
    size = shape[own[0]]
    parts = {
        part: cut
        for part in dict.fromkeys(use.node for use in source.uses())
        if is_op(part, "Slice", "Gather")
        and part.graph is node.graph
        and part.inputs[0] is source
        and (cut := _cut(part, context)) is not None
        and cut[0] == own[0]
    }
    ordered = sorted(parts, key=lambda part: parts[part])
    edges = [0, *(parts[part][2] for part in ordered)]
    if len(ordered) < 2 or edges[-1] != size or edges[:-1] != [parts[part][1] for part in ordered]:
        return False
    if any(part.outputs[0].is_graph_output() for part in ordered) or min(np.diff(edges)) < 1:
        return False
    return _split(source, ordered, own[0], np.diff(edges).astype(np.int64), context)


def _cut(node: ir.Node, context: Context) -> _Cut | None:
    shape = context.shapes.of(node.inputs[0])
    if shape is None:
        return None
    if is_op(node, "Gather"):
        indices, axis = array(node.inputs[1]), node.attributes.get_int("axis", 0)
        start, end = (
            (int(indices[0]), int(indices[-1]) + 1)
            if indices is not None and indices.ndim == 1 and indices.size
            else (0, 0)
        )
        if indices is None or end <= start or start < 0 or indices.tolist() != list(range(start, end)):
            return None
    else:
        taken = taken_by(node, context)
        if taken is None or len(taken) != 1:
            return None
        axis, (start, end, step) = next(iter(taken.items()))
        if step != 1:
            return None
    size = shape[axis] if -len(shape) <= axis < len(shape) else None
    if not isinstance(size, int):
        return None
    start, end = (min(max(edge + size if edge < 0 else edge, 0), size) for edge in (start, end))
    return (axis % len(shape), start, end)


def _split(source: ir.Value, parts: Sequence[ir.Node], axis: int, sizes: np.ndarray, context: Context) -> bool:
    graph = parts[0].graph
    if graph is None:
        raise ValueError(f"{parts[0].op_type} {parts[0].name!r} is not in a graph")
    attributes: dict[str, int | list[int]] = {"axis": axis}
    inputs: list[ir.Value | None] = [source]
    equal, made = len(set(sizes.tolist())) == 1, None
    if equal and context.opset >= 18:
        attributes["num_outputs"] = len(parts)
    elif context.opset < 13 and not equal:
        attributes["split"] = sizes.tolist()
    elif not equal:
        made = add_constant(graph, compact(sizes), context.names.fresh(f"{source.name}_parts"))
        inputs.append(made)
    split = ir.node("Split", inputs, attributes=attributes, num_outputs=len(parts), name="")
    for part, output in zip(parts, split.outputs, strict=True):
        output.name = part.outputs[0].name
    added = node_bytes(split) + (0 if made is None else constant_bytes(made))
    if not context.affords(added - bytes_freed(parts)):
        for index in range(len(inputs)):
            split.replace_input_with(index, None)
        discard([made])
        return False
    graph.insert_before(parts[0], split)
    for part, output in zip(parts, split.outputs, strict=True):
        read = part.inputs
        for reader, index in tuple(part.outputs[0].uses()):
            reader.replace_input_with(index, output)
        remove(part)
        part.outputs[0].name = None
        discard(read[1:])
    return True
