"""What is computed on gathered rows is computed on the table, once: f(Gather(T, i)) = Gather(f(T), i).

`fold_constants` then computes f(T). Exact, but that vectorized kernels may round the last elements of a row in another way.
Legal cases, for a constant T that one Gather alone reads, along axis 0, and f made of
1. unary elementwise operators and Cast;
2. binary ones, with a number, a constant along the rows, or another value computed from the same rows;
3. Softmax, LogSoftmax, LayerNormalization and reductions that keep their axes, along axes of the rows.
f may be a whole formula, such as a Gelu that is spelled out: the rows may be read many times, as long as all ends in one
value. Of several such values the last one is taken.
Left alone: results that take more bytes than T (a Cast to a wider type), a T that others read (it would be stored twice),
quantized tables (DequantizeLinear stays), and division of integers, which fails on a 0 in a row that is never gathered.

Latency: f is free at run time, whatever the number of rows that are gathered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, constant
from onnxzip.model.edit import add_constant, discard, new_node, replace
from onnxzip.model.walk import is_op
from onnxzip.passes.constant_part import FOLDABLE
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import is_own
from onnxzip.passes.local import local
from onnxzip.passes.moments import axes_of

_LONGEST = 48
"""Nodes of a formula, at most."""

_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf"),
    *("Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "Not", "Reciprocal"),
    *("Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt", "Tan", "Tanh"),
)
_MIXED = ("Add", "And", "Clip", "Div", "Max", "Mean", "Min", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where")
_ALONG = ("Softmax", "LogSoftmax", "LayerNormalization")
_FIRST_ONLY = ("Clip", "PRelu", "LayerNormalization")
"""Operators whose other inputs may not have more axes than these have: only their first one may be rows."""

_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare")
_ANY_AXIS_SINCE = 13


@local("Gather")
def compute_on_table(gather: ir.Node, context: Context) -> bool:
    """Move what is computed on the rows of a constant table to the table."""
    table = gather.inputs[0]
    tensor = constant(table)
    if table is None or tensor is None or not is_own(table) or tensor.dtype not in FOLDABLE or not len(tensor.shape):
        return False
    if gather.attributes.get_int("axis", 0) != 0:
        return False
    region = _region(gather, len(tensor.shape) - 1, context)
    formula = _cut(gather, region)
    if not formula or not _fits(formula[-1].outputs[0], tensor, context):
        return False
    _move(gather, table, formula, len(tensor.shape) - 1, context)
    return True


def _region(gather: ir.Node, axes: int, context: Context) -> list[ir.Node]:
    """The nodes that work on nothing but the rows, in an order in which they can run."""
    rank = context.shapes.rank(gather.outputs[0])
    if rank is None:
        return []
    region: dict[ir.Node, None] = {}
    values, pending = {gather.outputs[0]}, [gather.outputs[0]]
    while pending and len(region) < _LONGEST:
        for use in pending.pop(0).uses():
            node = use.node
            if node in region or node.graph is not gather.graph or not _works_on_rows(node, axes, rank, context):
                continue
            if is_op(node, *_FIRST_ONLY) and [v for v in node.inputs if v in values] != [node.inputs[0]]:
                continue
            if all(v is None or v in values or _row_constant(v, axes, rank) is not None for v in node.inputs):
                region[node] = None
                values.add(node.outputs[0])
                pending.append(node.outputs[0])
    return list(region)


def _works_on_rows(node: ir.Node, axes: int, rank: int, context: Context) -> bool:
    dtype = context.shapes.dtype(node.outputs[0])
    if len(node.outputs) != 1 or dtype is None or dtype not in FOLDABLE:
        return False
    if is_op(node, "Div") and not dtype.is_floating_point():
        return False  # a row that is never gathered may hold a 0
    if is_op(node, *_UNARY, *_MIXED):
        return context.shapes.rank(node.outputs[0]) == rank
    if is_op(node, *_REDUCTIONS):
        named = "axes" in node.attributes or (len(node.inputs) > 1 and node.inputs[1] is not None)
        kept = node.attributes.get_int("keepdims", 1) == 1
        reduced = axes_of(node, context) if named and kept else None
        return reduced is not None and bool(reduced) and reduced[0] >= rank - axes
    if not is_op(node, *_ALONG) or context.opset < _ANY_AXIS_SINCE:
        return False
    return -axes <= _axis(node, rank) < 0


def _axis(node: ir.Node, rank: int) -> int:
    """Counted from the end."""
    axis = node.attributes.get_int("axis", -1)
    return axis if axis < 0 else axis - rank


def _row_constant(value: ir.Value, axes: int, rank: int) -> np.ndarray | None:
    """The constant without leading axes of one element, when it is the same for all rows."""
    content = array(value)
    if content is None or content.ndim > rank:
        return None
    extra = max(0, content.ndim - axes)
    return content.reshape(content.shape[extra:]) if content.shape[:extra] == (1,) * extra else None


def _cut(gather: ir.Node, region: Sequence[ir.Node]) -> Sequence[ir.Node]:
    """As much of the region as ends in one value."""
    done, best = {gather}, 0
    for count, node in enumerate(region, start=1):
        done.add(node)
        live = [
            n for n in done if n.outputs[0].is_graph_output() or any(u.node not in done for u in n.outputs[0].uses())
        ]
        if live == [node]:
            best = count
    return region[:best]


def _fits(result: ir.Value, table: ir.TensorProtocol, context: Context) -> bool:
    """Whether the new table takes no more bytes than the old one."""
    shape, dtype = context.shapes.of(result), context.shapes.dtype(result)
    axes = len(table.shape) - 1
    row = [d for d in (shape or ())[len(shape or ()) - axes :] if isinstance(d, int)]
    if shape is None or dtype is None or len(row) != axes:
        return False
    return table.shape.numpy()[0] * math.prod(row) * dtype.itemsize <= table.nbytes


def _move(gather: ir.Node, table: ir.Value, formula: Sequence[ir.Node], axes: int, context: Context) -> None:
    graph, rank = gather.graph, context.shapes.rank(gather.outputs[0]) or 0
    if graph is None:
        raise ValueError(f"{gather.name!r} is not in a graph")
    fresh, copies = context.names.fresh, {gather.outputs[0]: table}
    for node in formula:
        given = [copies[v] if v in copies else _stripped(v, axes, rank, graph, context) for v in node.inputs]
        name = fresh(f"{node.outputs[0].name}_table")
        copy = ir.Node(node.domain, node.op_type, given, list(node.attributes.values()), num_outputs=1, name=node.name)
        copy.outputs[0].name = name
        if is_op(node, *_ALONG):
            copy.attributes["axis"] = ir.AttrInt64("axis", _axis(node, rank))
        if is_op(node, *_REDUCTIONS):
            _reduce_rows(copy, [axis - rank for axis in axes_of(node, context) or ()], graph, context)
        graph.insert_before(gather, [copy])
        copies[node.outputs[0]] = copy.outputs[0]
    result = formula[-1].outputs[0]
    rows = new_node("Gather", [copies[result], gather.inputs[1]], fresh(result.name or "rows"), name=gather.name or "")
    graph.insert_before(gather, [rows])
    replace(result, rows.outputs[0])
    discard([result])


def _reduce_rows(copy: ir.Node, axes: list[int], graph: ir.Graph, context: Context) -> None:
    """Axes counted from the end are the same in the table and in the rows."""
    if len(copy.inputs) > 1:
        name = context.names.fresh(f"{copy.outputs[0].name}_axes")
        copy.replace_input_with(1, add_constant(graph, np.array(axes, np.int64), name))
    elif "axes" in copy.attributes:
        copy.attributes["axes"] = ir.AttrInt64s("axes", axes)


def _stripped(value: ir.Value | None, axes: int, rank: int, graph: ir.Graph, context: Context) -> ir.Value | None:
    content = array(value)
    if value is None or content is None or content.ndim <= axes:
        return value
    row = _row_constant(value, axes, rank)
    return value if row is None else add_constant(graph, row, context.names.fresh(value.name or "row"))
