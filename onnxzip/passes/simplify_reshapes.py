"""A chain that only changes the shape becomes one node with a constant: Reshape with a computed target above all.

What the chain does to the shape is known in symbols: where target = [N, S, 12, 32] and the input is [N, S, 384], the
constant [0, 0, 12, 32] says the same. Exact: all elements stay in order. Links of a chain are Reshape, Flatten, Squeeze,
Unsqueeze, and a Gather whose indices count 0, 1, 2, ... up to the size of its first axis. Cases, for the farthest value that
the chain starts from, else for a nearer one:
1. The shape is the one before: readers read the value before the chain.
2. Axes of size 1 come in: Unsqueeze. 3. They go: Squeeze.
4. A constant Reshape: known sizes, 0 for an axis that stays in its place, and at most one -1 for another one. -1 fails when
   other sizes are 0, so these must be known not to be; unless the original has its -1 there too, and fails as well.
Left alone: what is one node with a constant already; a chain that others read in the middle; a target that others read too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, can_replace, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.elements import Extent
from onnxzip.model.sizes import ONE, ZERO, Size
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.size import compact

_LINKS = 16
"""Longer chains are shortened step by step."""


@local("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Gather")
def simplify_reshapes(node: ir.Node, context: Context) -> bool:
    """Compute the shape of a chain before it runs."""
    after = context.symbols.shape(node.outputs[0])
    if after is None or node.graph is None or not _is_link(node, context):
        return False
    worth = _is_computed(node)
    sources = _sources(node, context)
    for index, source in reversed(list(enumerate(sources))):
        before = context.symbols.shape(source)
        if before is None or not (index or worth):
            continue
        if before == after and can_replace(node.outputs[0], source):  # case 1
            read = node.inputs
            replace(node.outputs[0], source)
            remove(node)
            discard(read)
            return True
        made = _direct(node, source, before, after, context)
        if made is not None:
            read = node.inputs
            replace(node.outputs[0], made.outputs[0])
            remove(node)
            discard(read)
            return True
    return False


def _is_link(node: ir.Node, context: Context) -> bool:
    if not is_op(node, "Gather"):
        return is_op(node, "Reshape", "Flatten", "Squeeze", "Unsqueeze")
    shape, axis = context.symbols.shape(node.inputs[0]), node.attributes.get_int("axis", 0)
    if shape is None or axis not in (0, -len(shape)):
        return False
    grid = context.symbols.grid(node.inputs[1])
    if grid is None or not grid.counts_up:
        return False
    amount = ONE
    for size in grid.shape:
        amount *= size
    return amount == shape[0]


def _is_computed(node: ir.Node) -> bool:
    """Whether a constant in this node's place would let others go: a target that only Reshapes read, or indices."""
    if not is_op(node, "Reshape", "Gather"):
        return False
    second = node.inputs[1]
    if second is None or array(second) is not None:
        return False
    return is_op(node, "Gather") or (
        not second.is_graph_output()
        and second.producer() is not None
        and all(is_op(use.node, "Reshape") and use.idx == 1 for use in second.uses())
    )


def _sources(node: ir.Node, context: Context) -> list[ir.Value]:
    """What the chain that ends in `node` reads, nearest first."""
    found: list[ir.Value] = []
    current: ir.Node | None = node
    while current is not None and len(found) < _LINKS and _is_link(current, context):
        source = current.inputs[0]
        if source is None:
            break
        found.append(source)
        producer = source.producer()
        alone = producer is not None and producer.graph is node.graph and sole_consumer(source) is current
        current = producer if alone else None
    return found


def _direct(node: ir.Node, source: ir.Value, before: Extent, after: Extent, context: Context) -> ir.Node | None:
    """One node, put before `node`, that makes the shape `after` of `source`. Cases 2, 3 and 4."""
    graph = node.graph
    if graph is None:
        return None
    inserted = _inserted(before, after)
    removed = _inserted(after, before) if inserted is None else None
    axes = inserted if inserted is not None else removed
    op = "Unsqueeze" if inserted is not None else "Squeeze"
    name = context.names.fresh(node.outputs[0].name or "reshaped")
    if axes is not None and context.opset < 13:
        made = new_node(op, [source], name, name=node.name or "", axes=axes)
    else:
        content = axes if axes is not None else _target(node, source, before, after, context)
        if content is None:
            return None
        constant = add_constant(graph, compact(np.asarray(content, np.int64)), context.names.fresh("shape"))
        made = new_node(op if axes is not None else "Reshape", [source, constant], name, name=node.name or "")
    graph.insert_before(node, made)
    return made


def _inserted(before: Extent, after: Extent) -> list[int] | None:
    """The axes of size 1 that turn one shape into the other, or None."""
    axes: list[int] = []
    at = 0
    for index, size in enumerate(after):
        if at < len(before) and before[at] == size and not (size == ONE and len(before) - at < len(after) - index):
            at += 1
        elif size == ONE:
            axes.append(index)
        else:
            return None
    return axes if at == len(before) and axes else None


def _target(node: ir.Node, source: ir.Value, before: Extent, after: Extent, context: Context) -> list[int] | None:
    """Case 4."""
    target: list[int] = []
    for index, size in enumerate(after):
        if index < len(before) and before[index] == size:
            target.append(size.known or 0)
        elif size.known is not None:
            if size == ZERO:
                return None  # would copy an axis
            target.append(size.known)
        else:
            target.append(-1)
    if target.count(-1) > 1:
        return None
    if -1 in target:
        rest = target.index(-1)
        not_empty = all(s.low is not None and s.low >= 1 for i, s in enumerate(after) if i != rest)
        if not not_empty and not _fails_alike(node, source, rest, context):
            return None
    return target


def _fails_alike(node: ir.Node, source: ir.Value, rest: int, context: Context) -> bool:
    """Whether `node` reshapes `source` itself, with its own -1 in the same place."""
    if not is_op(node, "Reshape") or node.inputs[0] is not source:
        return False
    content = context.symbols.content(node.inputs[1])
    return content is not None and rest < content.size and content.flat[rest] == Size.of(-1)
