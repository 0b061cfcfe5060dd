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

from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, constant
from onnxzip.model.edit import add_constant, can_replace, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.elements import Extent
from onnxzip.model.sizes import ONE, ZERO, Size
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.scope import dying
from onnxzip.passes.size import compact, constant_bytes, initializer_bytes, node_bytes

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
            _put(node, source)
            return True
        if _put_direct(node, source, _Change(before, after), context):
            return True
    return False


class _Change(NamedTuple):
    """A shape before and after."""

    before: Extent
    after: Extent


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


def _put_direct(node: ir.Node, source: ir.Value, change: _Change, context: Context) -> bool:
    """Let one node make the new shape of `source`, where that costs no bytes. Cases 2, 3 and 4."""
    inserted, removed = _inserted(change.before, change.after), _inserted(change.after, change.before)
    axes = inserted if inserted is not None else removed
    op = "Reshape" if axes is None else "Squeeze" if inserted is None else "Unsqueeze"
    content = axes if axes is not None else _target(node, source, change, context)
    graph = node.graph
    if content is None or graph is None:
        return False
    name = context.names.fresh(node.outputs[0].name or "reshaped")
    if axes is not None and context.opset < 13:
        made = new_node(op, [source], name, name=node.name or "", axes=axes)
        added = node_bytes(made)
    else:
        tensor, name_of_constant = compact(np.asarray(content, np.int64)), context.names.fresh("shape")
        made = new_node(op, [source, ir.Value(name=name_of_constant)], name, name=node.name or "")
        added = node_bytes(made) + initializer_bytes(tensor, name_of_constant)
        if not _may_add(added, node, source, context):
            return False
        made.replace_input_with(1, add_constant(graph, tensor, name_of_constant))
    graph.insert_before(node, made)
    _put(node, made.outputs[0])
    return True


def _put(node: ir.Node, value: ir.Value) -> None:
    read = node.inputs
    replace(node.outputs[0], value)
    remove(node)
    discard(read)


def _may_add(added: int, node: ir.Node, source: ir.Value, context: Context) -> bool:
    """Whether so many bytes come back: equal constants are stored once, so readers of one target that are alike count together."""
    together = {node: None}
    if is_op(node, "Reshape") and node.inputs[1] is not None and array(node.inputs[1]) is None:
        together |= {use.node: None for use in node.inputs[1].uses() if _are_alike(use.node, node, context)}
    each = [node_bytes(n) for n in together]
    gone = dying(together, keep={source, *(n.inputs[0] for n in together if n is not node and n.inputs[0] is not None)})
    freed = sum(map(node_bytes, gone)) - sum(each) + each[0]
    freed += sum(constant_bytes(v) for v in _constants_of(gone))
    return context.affords(added - freed)


def _constants_of(gone: list[ir.Node]) -> list[ir.Value]:
    """Constants that only these nodes read."""
    read = dict.fromkeys(v for n in gone for v in n.inputs if v is not None and constant(v) is not None)
    return [v for v in read if all(use.node in gone for use in v.uses())]


def _are_alike(one: ir.Node, other: ir.Node, context: Context) -> bool:
    shape = context.symbols.shape
    return shape(one.inputs[0]) == shape(other.inputs[0]) and shape(one.outputs[0]) == shape(other.outputs[0])


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


def _target(node: ir.Node, source: ir.Value, change: _Change, context: Context) -> list[int] | None:
    """Case 4."""
    before, after = change
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
