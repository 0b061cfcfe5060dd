"""Q and DQ on what operators with weights read, never on what they make: for compilers that fuse what follows themselves.

1. Everything that an operator with weights reads is quantized: its activation, and its constant. A product of two activations where the
target says so.
2. An Add of what a Conv makes, and nobody else reads, and of another activation is a residual connection. Quantized is the other
one ("skip"), so that the Conv, the Add and the activation behind them become one operator; or both. Where both come
out of a Conv, the skip is the one on the shorter way from the model's inputs.
3. Where all that read what a pass-through operator or a Concat makes read it quantized, Q moves in front of it; the inputs of a
Concat then share a scale. So do operators in `joins` that read it: they want integers when integers are wanted from them.
4. One pair of Q and DQ serves all that read a tensor quantized; float readers keep the float tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import sole_consumer
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op
from onnxzip.quantize.candidates import Placement, storable
from onnxzip.quantize.groups import Group, Maker, United, in_order
from onnxzip.quantize.kernels import Kernel
from onnxzip.quantize.qparams import UNBOUNDED
from onnxzip.quantize.row import TargetRow


def at_inputs(model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]) -> Placement:
    """Decide which values are quantized. Arguments as for `onnxzip.quantize.placement.place`."""
    found, left = storable(model, target, keep)
    kernels = {k.node: k for k in found}
    readers: dict[ir.Node, tuple[ir.Value, ...]] = {}
    shapes, depths = Shapes(model), _depths(model)
    for node in model.graph:
        if node in keep or node in kernels:
            continue
        quantized = _product(node, target, shapes) or _residual(node, target, kernels, shapes, depths)
        if quantized:
            readers[node] = quantized
            left.pop(node, None)
    sites = {k.data for k in found if k.role != "table"} | {v for values in readers.values() for v in values}
    moved = _moved(model, target, keep, sites, {*kernels, *readers})
    makers = {n: Maker(n, "join", v, ()) for n, v in readers.items()} | moved
    ordered = tuple(makers[n] for n in model.graph if n in makers)
    return Placement(found, ordered, _groups(model, sites, moved), frozenset(), left)


def _product(node: ir.Node, target: TargetRow, shapes: Shapes) -> tuple[ir.Value, ...]:
    """Both inputs of a product of two activations (case 1), or nothing."""
    if not is_op(node, *target.products):
        return ()
    values = tuple(v for v in node.inputs if v is not None)
    return values if len(values) == 2 and all(_is_activation(v, shapes) for v in values) else ()


def _residual(
    node: ir.Node,
    target: TargetRow,
    kernels: Mapping[ir.Node, Kernel],
    shapes: Shapes,
    depths: Mapping[ir.Value, int],
) -> tuple[ir.Value, ...]:
    """What a residual Add reads quantized (case 2), or nothing."""
    if not target.residual or not is_op(node, "Add"):
        return ()
    values = tuple(v for v in node.inputs if v is not None)
    if len(set(values)) != 2 or not all(_is_activation(v, shapes) for v in values):
        return ()
    made = [v for v in values if _made_by_weights(v, target, kernels)]
    if not made:
        return ()
    if target.residual == "both":
        return values
    fused = max(made, key=lambda v: (depths.get(v, 0), v is values[0]))
    skip = next(v for v in values if v is not fused)
    return (skip,) if _same_shape(fused, skip, shapes) else ()


def _made_by_weights(value: ir.Value, target: TargetRow, kernels: Mapping[ir.Node, Kernel]) -> bool:
    """Whether a quantized operator makes a value for this one reader (a constant that is added to it in between is its bias)."""
    producer = value.producer()
    if producer is None or sole_consumer(value) is None:
        return False
    if producer in kernels:
        return producer.op_type in target.residual_of
    if not is_op(producer, "Add") or "MatMul" not in target.residual_of:
        return False
    rest = [v for v in producer.inputs if v is not None and constant(v) is None]
    return len(rest) == 1 and sole_consumer(rest[0]) is producer and rest[0].producer() in kernels


def _moved(
    model: ir.Model,
    target: TargetRow,
    keep: Mapping[ir.Node, str],
    sites: set[ir.Value],
    readers: set[ir.Node],
) -> dict[ir.Node, Maker]:
    """Case 3, from the outputs to the inputs: the operators that read quantized values now. Changes `sites` and `readers`."""
    moved: dict[ir.Node, Maker] = {}
    shapes = Shapes(model)
    for node in reversed(model.graph):
        through = is_op(node, *target.pass_through)
        if node in keep or node in readers or not (through or is_op(node, *target.joins)):
            continue
        outputs = tuple(o for o in node.outputs if o.name)
        wanted = [o in sites and not o.is_graph_output() and _all_in(o, readers) for o in outputs]
        inputs = tuple(v for v in (node.inputs[:1] if through else node.inputs) if v is not None)
        if not all(wanted) or not inputs or not all(_is_activation(v, shapes) for v in inputs):
            continue
        if through and node.op_type == "MaxPool" and len(outputs) > 1:
            continue  # the second output holds indices
        if through or node.op_type == "Concat":
            sites.difference_update(outputs)
        sites.update(inputs)
        readers.add(node)
        moved[node] = Maker(node, "pass" if through else "join", inputs, ())
    return moved


def _groups(model: ir.Model, sites: set[ir.Value], moved: Mapping[ir.Node, Maker]) -> tuple[Group, ...]:
    """One scale for each value, and one for all that a Concat reads."""
    united = United(dict.fromkeys(sites, UNBOUNDED))
    for node, maker in moved.items():
        for value in maker.inputs[1:] if node.op_type == "Concat" else ():
            united.unite(value, maker.inputs[0])
    return tuple(Group(values, values, UNBOUNDED) for values in united.groups(in_order(model, sites)))


def _all_in(value: ir.Value, readers: set[ir.Node]) -> bool:
    return all(use.node in readers for use in value.uses())


def _is_activation(value: ir.Value, shapes: Shapes) -> bool:
    return constant(value) is None and shapes.dtype(value) == ir.DataType.FLOAT


def _same_shape(a: ir.Value, b: ir.Value, shapes: Shapes) -> bool:
    """Whether no axis is known to be broadcast."""
    first, second = shapes.of(a), shapes.of(b)
    if first is None or second is None or len(first) != len(second):
        return first is None or second is None
    return all(not (isinstance(i, int) and isinstance(j, int)) or i == j for i, j in zip(first, second, strict=True))


def _depths(model: ir.Model) -> dict[ir.Value, int]:
    """Length of the longest way from the inputs to each value."""
    found: dict[ir.Value, int] = {}
    for node in model.graph:
        depth = 1 + max((found.get(v, 0) for v in node.inputs if v is not None), default=0)
        found.update(dict.fromkeys(node.outputs, depth))
    return found
