"""What only repeats a value is left out where the readers broadcast anyway: Add(x, Expand(m, s)) = Add(x, m).

Exact, down to the bit. A node repeats `w` when it is an Expand or Tile of `w` along axes of size 1, an And with true, an Or
with false, a Where with a condition that is provably the same everywhere, a sum with integers 0 or a product with integers
1; a ConstantOfShape repeats one number. Provable are comparisons of Range-like integers, such as positions >= 0. Cases:
1. The repeated value provably has the shape of `w`: readers read `w`.
2. Every reader is elementwise, and its result has the same shape with `w`: readers read `w`.
3. A reader's result is smaller then, but its readers are such as in 2 (up to a few nodes on): the nodes in between are
   made anew on the smaller shape.
Left alone: values that are graph outputs, that bodies read, or whose shape somebody asks for.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, can_replace, discard, replace
from onnxzip.model.elements import Extent
from onnxzip.model.operators import BROADCASTING, ELEMENTWISE
from onnxzip.model.sizes import ONE, ZERO
from onnxzip.model.symbol_shapes import broadcast_all
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.size import initializer_bytes, node_bytes

_BETWEEN = 8
"""So many nodes may be made anew."""


@local("Expand", "Tile", "And", "Or", "Where", "Add", "Sub", "Mul", "ConstantOfShape")
def skip_broadcasts(node: ir.Node, context: Context) -> bool:
    """Let readers do the broadcasting."""
    value = node.outputs[0]
    repeated = _repeated(node, context)
    if repeated is None or node.graph is None:
        return False
    shape = () if isinstance(repeated, np.ndarray) else context.symbols.shape(repeated)
    if shape is None:
        return False
    if isinstance(repeated, ir.Value) and _is_shape_of(shape, value, context):  # case 1
        if not can_replace(value, repeated):
            return False
        replace(value, repeated)
    else:
        between = _absorbed(value, shape, context)
        if between is None:
            return False
        source = _constant(node, repeated, context) if isinstance(repeated, np.ndarray) else repeated
        if source is None:
            return False
        _rebuild(value, source, between, context)
    discard([value])
    return True


def _is_shape_of(shape: Extent, value: ir.Value, context: Context) -> bool:
    return shape == context.symbols.shape(value)


def _repeated(node: ir.Node, context: Context) -> ir.Value | np.ndarray | None:
    """The value that the result of `node` is made of by broadcasting; a number for ConstantOfShape."""
    if node.op_type == "Expand":
        return node.inputs[0]
    if node.op_type == "Tile":
        return _tiled(node, context)
    if node.op_type == "ConstantOfShape":
        given = node.attributes.get("value")
        return np.zeros((), np.float32) if given is None else given.as_tensor().numpy().reshape(())
    uniform = context.symbols.uniform
    if node.op_type == "Where":
        condition = uniform(node.inputs[0])
        return None if condition is None or condition.known is None else node.inputs[1 if condition.known else 2]
    neutral = {"And": ONE, "Mul": ONE, "Or": ZERO, "Add": ZERO, "Sub": ZERO}[node.op_type]
    if uniform(node.inputs[1]) == neutral:
        return node.inputs[0]
    return node.inputs[1] if node.op_type != "Sub" and uniform(node.inputs[0]) == neutral else None


def _tiled(node: ir.Node, context: Context) -> ir.Value | None:
    shape, repeats = context.symbols.shape(node.inputs[0]), context.symbols.content(node.inputs[1])
    if shape is None or repeats is None or len(shape) != repeats.size:
        return None
    return node.inputs[0] if all(ONE in (s, r) for s, r in zip(shape, repeats.flat, strict=True)) else None


def _absorbed(value: ir.Value, shape: Extent, context: Context) -> list[ir.Node] | None:
    """The nodes between `value` and where its smaller shape makes no difference any more; None when it always does."""
    smaller, between, pending = {value: shape}, dict[ir.Node, None](), [value]
    while pending:
        current = pending.pop(0)
        if current.is_graph_output() or not current.uses() or len(between) > _BETWEEN:
            return None
        for reader in {use.node: None for use in current.uses()}:
            if (
                reader.graph is not value.graph
                or not is_op(reader, *BROADCASTING, *ELEMENTWISE)
                or len(reader.outputs) > 1
            ):
                return None
            result, before = reader.outputs[0], context.symbols.shape(reader.outputs[0])
            after = broadcast_all(
                context.symbols,
                [smaller[v] if v in smaller else context.symbols.shape(v) for v in reader.inputs if v is not None],
                result,
            )
            if before is None or after is None:
                return None
            if after != before and smaller.get(result) != after:
                between.pop(reader, None)  # again, and later: another of its operands got smaller too
                between[reader] = None
                smaller[result] = after
                pending.append(result)
    return list(between)


def _constant(node: ir.Node, number: np.ndarray, context: Context) -> ir.Value | None:
    """The number of a ConstantOfShape by itself, where it takes no more bytes."""
    graph, name = node.graph, node.outputs[0].name or "constant"
    if graph is None or initializer_bytes(ir.tensor(number), name) > node_bytes(node):
        return None
    return add_constant(graph, number, context.names.fresh(name))


def _rebuild(value: ir.Value, source: ir.Value, between: list[ir.Node], context: Context) -> None:
    """Cases 2 and 3: what is between is made anew, because its results have another shape now."""
    stand_ins, copies = {value: source}, list[ir.Node]()
    for node in between:
        copy = ir.Node(node.domain, node.op_type, node.inputs, list(node.attributes.values()), name=node.name or "")
        copy.outputs[0].name = context.names.fresh(node.outputs[0].name or "smaller")
        if node.graph is not None:
            node.graph.insert_before(node, copy)
        stand_ins[node.outputs[0]] = copy.outputs[0]
        copies.append(copy)
    for old, new in stand_ins.items():
        for reader, index in tuple(old.uses()):
            reader.replace_input_with(index, new)
    for node in reversed(between):
        discard(node.outputs)
