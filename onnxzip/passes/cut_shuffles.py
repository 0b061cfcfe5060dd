"""A channel shuffle whose parts are read one by one becomes strided Slices.

    Reshape [n * c / g, g, r] -> Transpose (1, 0, 2) -> Reshape [g, n, c / g, ...] -> Gather i  =  x[:, i::g]

Exact: element (i, n, j, ...) of the last Reshape is x[n, j * g + i, ...]. Legal case (opset 10 and later, where Slice has
steps): x is [n, c, ...] with only n unknown, every reader of the shuffled value is a Gather of one constant index on axis
0, and what is behind the channels comes back as it was.
Left alone: a shuffle that is read as a whole, or whose parts mix channels (no Slice takes them); what would add bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.model.edit import add_constant, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.size import compact


@dataclass(frozen=True)
class _Shuffle:
    source: ir.Value
    nodes: tuple[ir.Node, ...]
    parts: tuple[tuple[ir.Node, int], ...]
    groups: int
    channels: int


@local("Transpose", since=10)
def cut_shuffles(node: ir.Node, context: Context) -> bool:
    """Take each part of a shuffle out of its input."""
    found = _shuffle(node, context)
    if found is None or not isinstance(node.graph, ir.Graph):
        return False
    removed = [*found.nodes, *(part for part, _ in found.parts)]
    if context.allowed.prefer == "bytes" and bytes_freed(removed) < _needed(found):
        return False
    _cut(found, node.graph, context)
    return True


def _shuffle(middle: ir.Node, context: Context) -> _Shuffle | None:
    first, last = middle.inputs[0].producer() if middle.inputs[0] else None, sole_consumer(middle.outputs[0])
    if first is None or last is None or not is_op(first, "Reshape") or not is_op(last, "Reshape"):
        return None
    if last.inputs[0] is not middle.outputs[0] or not middle.graph is first.graph is last.graph:
        return None
    source, shuffled = first.inputs[0], last.outputs[0]
    shapes = [context.shapes.of(v) for v in (source, first.outputs[0], shuffled)]
    if source is None or sole_consumer(first.outputs[0]) is not middle or shuffled.is_graph_output():
        return None
    before, split, after = (shape or () for shape in shapes)
    if not _is_shuffle(before, split, after, list(middle.attributes.get_ints("perm", []))):
        return None
    groups, channels = after[0], before[1]
    parts = [(use.node, _index(use.node, shuffled, middle, groups)) for use in shuffled.uses()]
    taken = tuple((node, index) for node, index in parts if index is not None)
    if not isinstance(groups, int) or not isinstance(channels, int) or len(taken) != len(parts):
        return None
    return _Shuffle(source, (first, middle, last), taken, groups, channels)


def _is_shuffle(
    before: tuple[object, ...], split: tuple[object, ...], after: tuple[object, ...], perm: list[int]
) -> bool:
    """Whether the shapes of the three nodes are those of the formula."""
    if len(before) < 2 or len(split) < 2 or len(after) != len(before) + 1 or perm != [1, 0, *range(2, len(split))]:
        return False
    known = [[size for size in sizes if isinstance(size, int)] for sizes in (before[1:], split[1:], after[2:])]
    if any(0 in sizes for sizes in known) or [len(k) for k in known] != [
        len(before) - 1,
        len(split) - 1,
        len(after) - 2,
    ]:
        return False
    (channels, *rest), (groups, *flat), (part, *back) = known
    return after[0] == groups and part * groups == channels and rest == back and math.prod(flat) == math.prod(rest)


def _index(node: ir.Node, value: ir.Value, middle: ir.Node, groups: object) -> int | None:
    """The part that a Gather takes."""
    if not is_op(node, "Gather") or node.inputs[0] is not value or node.graph is not middle.graph:
        return None
    index, axis, operand = scalar(node.inputs[1]), node.attributes.get_int("axis", 0), node.inputs[1]
    whole = operand is not None and operand.shape is not None and operand.shape.rank() == 0
    if not whole or axis != 0 or not isinstance(index, int) or not isinstance(groups, int):
        return None
    return index % groups if -groups <= index < groups else None


def _needed(found: _Shuffle) -> int:
    """Bytes of the Slices: four short lists each, one of them its own."""
    names = sum(len(part.outputs[0].name or "") + len(found.source.name or "") for part, _ in found.parts)
    return names + 64 * len(found.parts) + 48


def _cut(found: _Shuffle, graph: ir.Graph, context: Context) -> None:
    def numbers(content: int, stem: str) -> ir.Value:
        return add_constant(graph, compact(np.array([content], np.int64)), context.names.fresh(stem))

    ends, axes, steps = numbers(found.channels, "ends"), numbers(1, "axes"), numbers(found.groups, "steps")
    for part, index in found.parts:
        result = part.outputs[0]
        operands = [found.source, numbers(index, "starts"), ends, axes, steps]
        cut = new_node("Slice", operands, context.names.fresh(result.name or "part"), name=part.name or "")
        graph.append(cut)
        replace(result, cut.outputs[0])
        dropped = part.inputs
        remove(part)
        discard(dropped)
