"""A one-hot row times a table is a row of the table: MatMul(OneHot(i), T) = Gather(T, i).

Bit exact, but for the sign of zeros: the sum has one term that is not zero. The one-hot form may
be OneHot with values 0 and 1, or Equal(i, 0 1 2 ... K-1), then a Cast or a Where. Legal cases, T a finite constant [K, N]:
1. Every i is provably a row: T is gathered as it is.
2. Any i, from opset 12: an i that is no row gives zeros. Clip(i, -1, K) sends all of these to a row of zeros behind the
   table, as -1 is its last row, and so is K.
3. Gemm: alpha and a constant C are put into the table first.
Left alone: OneHot of an i that may be negative (it wraps, so that -1 and K would need different rows); one-hot values that
others read; where the table is shared and the file would grow.

Latency against MatMul: a row is copied where K * N products were summed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.edit import new_node
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.noops import keeps_elements
from onnxzip.passes.pattern import between, given_by, new_constant, substitute
from onnxzip.passes.value_range import value_range

_INTEGER_CLIP_SINCE = 12
_SQUEEZE_TAKES_AXES_SINCE = 13
_INDICES = (ir.DataType.INT32, ir.DataType.INT64)


@dataclass(frozen=True)
class _OneHot:
    """Indices, how many rows they choose from, and whether negative ones count from the end."""

    indices: ir.Value
    rows: int
    wraps: bool
    trailing: bool
    """Whether the indices still have an axis of one element where the one-hot values have K."""


@local("MatMul", "Gemm")
def one_hot_to_gather(node: ir.Node, context: Context) -> bool:
    """Gather rows instead of multiplying by one-hot rows."""
    output = node.outputs[0]
    found = _one_hot(node.inputs[0], context)
    table = _table(node) if found is not None else None
    if found is None or table is None or table[0].shape[0] != found.rows:
        return False
    nodes = between(output, [found.indices])
    if nodes is None or context.shapes.dtype(found.indices) not in _INDICES:
        return False
    return _put(found, *table, output, nodes, context)


def _table(node: ir.Node) -> tuple[np.ndarray, np.ndarray] | None:
    """What each one-hot row gives, [K, N], and what a row of zeros gives, [1, N]."""
    table = array(node.inputs[1])
    if table is None or table.dtype.kind != "f" or table.ndim != 2 or not np.isfinite(table).all():
        return None
    if is_op(node, "MatMul"):
        return table, np.zeros((1, table.shape[1]), table.dtype)
    attributes = node.attributes  # case 3
    plain = all(attributes.get_float(key, 1.0) == 1.0 for key in ("alpha", "beta"))
    if attributes.get_int("transA", 0) or not plain:
        return None
    table = table.T if attributes.get_int("transB", 0) else table
    given = node.inputs[2] if len(node.inputs) > 2 else None
    added = np.zeros(1, table.dtype) if given is None else array(given)
    if added is None or (added.size != 1 and added.size != added.shape[-1]):  # a column differs from row to row
        return None
    outside = np.broadcast_to(added.reshape(1, -1), (1, table.shape[1]))
    return table + outside, outside


def _one_hot(value: ir.Value | None, context: Context) -> _OneHot | None:
    node = given_by(value, "OneHot", "Cast", "Where")
    if node is None:
        return None
    if node.op_type == "OneHot":
        return _from_operator(node, context)
    if node.op_type == "Where" and (scalar(node.inputs[1]), scalar(node.inputs[2])) != (1, 0):
        return None
    operator = given_by(node.inputs[0], "OneHot") if node.op_type == "Cast" else None
    if operator is not None:
        return _from_operator(operator, context)
    equal = given_by(node.inputs[0], "Equal")
    if equal is None or context.shapes.rank(equal.outputs[0]) != context.shapes.rank(value):
        return None
    return _from_equal(equal, context)


def _from_operator(node: ir.Node, context: Context) -> _OneHot | None:
    indices, depth, values = node.inputs[0], scalar(node.inputs[1]), array(node.inputs[2])
    rank = context.shapes.rank(indices)
    if indices is None or depth is None or values is None or rank is None or values.tolist() != [0, 1]:
        return None
    last = node.attributes.get_int("axis", -1) in (-1, rank)
    return _OneHot(indices, int(depth), wraps=True, trailing=False) if last else None


def _from_equal(node: ir.Node, context: Context) -> _OneHot | None:
    for indices, numbers in (node.inputs, tuple(reversed(node.inputs))):
        shape, counted = context.shapes.of(indices), array(numbers)
        if indices is None or counted is None or not shape or shape[-1] != 1 or not 1 <= counted.ndim <= len(shape):
            continue
        if counted.shape[-1] == counted.size and np.array_equal(counted.reshape(-1), np.arange(counted.size)):
            node_before = given_by(indices, "Unsqueeze", "Reshape")
            source = node_before.inputs[0] if node_before is not None else None
            before = context.shapes.of(source)
            if source is not None and before is not None and keeps_elements((*before, 1), shape):
                return _OneHot(source, counted.size, wraps=False, trailing=False)
            return _OneHot(indices, counted.size, wraps=False, trailing=True)
    return None


def _put(
    found: _OneHot, table: np.ndarray, outside: np.ndarray, output: ir.Value, nodes: list[ir.Node], context: Context
) -> bool:
    name, fresh = output.name or "rows", context.names.fresh
    low, high = value_range(found.indices, context) or (-1, found.rows)
    is_row = low >= (-found.rows if found.wraps else 0) and high < found.rows
    if not is_row and (context.opset < _INTEGER_CLIP_SINCE or (found.wraps and low < 0)):
        return False
    value, new = found.indices, list[ir.Node]()
    if found.trailing:
        new.append(_squeeze(value, fresh(f"{name}_indices"), f"{name}_axis", context))
        value = new[-1].outputs[0]
    if not is_row:  # case 2
        new.append(_clip(value, found, fresh(f"{name}_clipped"), f"{name}_bound", context))
        value, table = new[-1].outputs[0], np.concatenate([table, outside])
    kept = nodes[0].inputs[1] if is_row and is_op(nodes[0], "MatMul") else None
    rows = new_constant(table, f"{name}_rows") if kept is None else kept
    new.append(new_node("Gather", [rows, value], fresh(name), name=nodes[0].name or ""))
    return substitute(output, nodes, new, context)


def _squeeze(value: ir.Value, output: str, hint: str, context: Context) -> ir.Node:
    if context.opset < _SQUEEZE_TAKES_AXES_SINCE:
        return new_node("Squeeze", [value], output, axes=[(context.shapes.rank(value) or 1) - 1])
    return new_node("Squeeze", [value, new_constant(np.array([-1], np.int64), hint)], output)


def _clip(value: ir.Value, found: _OneHot, output: str, hint: str, context: Context) -> ir.Node:
    dtype = context.shapes.dtype(found.indices)
    kind = np.int32 if dtype == ir.DataType.INT32 else np.int64
    limits = [new_constant(np.asarray(n, kind), hint) for n in (-1, found.rows)]
    return new_node("Clip", [value, *limits], output)
