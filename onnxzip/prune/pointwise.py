"""Rules for operators that work element by element: each channel stays where it is.

One operand: labels pass, constants go through the operator. Several operands: labels that meet are joined, constant operands are
cut along the channel axis. An operand of size 1 along the channel axis is broadcast over it and makes no claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis, source
from onnxzip.prune.knowledge import evaluate
from onnxzip.prune.labels import Ids, Labels, Numbers


def unary(state: Analysis, node: ir.Node) -> str | None:
    """`y = f(x)`; further inputs are parameters (the bounds of Clip), which must not vary."""
    labels = _labels(state, node.inputs[0])
    if labels is None:
        return None
    parameters = [state.constant(v) for v in node.inputs[1:]]
    for value, content in zip(node.inputs[1:], parameters, strict=True):
        if value is not None and (content.size if content is not None else state.shapes.rank(value)) not in (0, 1):
            return f"has a parameter {value.name!r} that is not a scalar"
    known = np.full(labels.ids.size, np.nan)
    computable = all(v is None or c is not None for v, c in zip(node.inputs[1:], parameters, strict=True))
    dtype = _dtype(state, node.inputs[0])
    where = np.isfinite(labels.numbers)
    if computable and dtype is not None and where.any():
        result = evaluate(node, [labels.numbers[where].astype(dtype), *parameters], state.model)
        if result is not None:
            known[where] = result
    state.mark(node.outputs[0], Labels.along(labels.axis, labels.rank, labels.vector, known))
    return None


def dropout(state: Analysis, node: ir.Node) -> str | None:
    """Dropout at inference is the identity."""
    if len(node.inputs) > 2 and node.inputs[2] is not None and scalar(source(node.inputs[2])) is not False:
        return "may be in training mode"
    labels = _labels(state, node.inputs[0])
    if labels is not None:
        state.mark(node.outputs[0], labels)
    return None


@dataclass(frozen=True, eq=False)
class _Operand:
    """One operand of a broadcasting operator: where its axis of channels is, and how long."""

    index: int
    value: ir.Value
    axis: int
    size: int | None
    labels: Labels | None
    content: np.ndarray | None


def broadcast(state: Analysis, node: ir.Node) -> str | None:
    """`y = f(a, b, ...)` with broadcasting: labels at equal positions are joined.

    1. constant operands of size 1 along the channel axis, or of lower rank, stay; others are cut there.
    2. other operands without labels: of size 1, no claim; else what meets them is frozen.
    3. a position is constant where all operands are, or where a factor of Mul is 0.
    """
    ranks = [_rank(state, v) for v in node.inputs]
    carriers = {v: labels for v in node.inputs if v is not None and (labels := _labels(state, v)) is not None}
    if not carriers:
        return None
    if None in ranks:
        return "has an operand of unknown rank"
    rank = max(r for r in ranks if r is not None)
    axes = {labels.axis + rank - labels.rank for labels in carriers.values()}
    sizes = {labels.ids.size for labels in carriers.values()}
    if len(axes) > 1 or len(sizes) > 1:
        return "ties channels that lie on different axes"
    axis, size = axes.pop(), sizes.pop()
    operands = [_operand(state, i, v, axis - rank, carriers.get(v)) for i, v in enumerate(node.inputs) if v is not None]
    for o in operands:
        if o.labels is None and o.size not in (1, size):
            return f"ties its channels to {o.value.name!r}, whose size is unknown"
    ids = _joined(state, node, operands)
    state.mark(node.outputs[0], Labels.along(axis, rank, ids, _constants(state, node, operands, size)))
    return None


def _operand(state: Analysis, index: int, value: ir.Value, from_end: int, labels: Labels | None) -> _Operand:
    content = state.constant(value)
    shape = content.shape if content is not None else state.shapes.of(value) or ()
    axis = len(shape) + from_end
    found = shape[axis] if axis >= 0 else 1
    return _Operand(index, value, axis, found if isinstance(found, int) else None, labels, content)


def _joined(state: Analysis, node: ir.Node, operands: list[_Operand]) -> Ids:
    """Join what meets; the labels of the result."""
    carriers = [o.labels for o in operands if o.labels is not None]
    ids: Ids = np.maximum.reduce([c.vector for c in carriers])  # where one is 0 the others are frozen
    for o in operands:
        if o.labels is not None:
            state.join(carriers[0], o.labels, f"{label(node)} ties it to channels that stay")
        elif o.size == 1:
            continue  # 1, 2: broadcast along the channels
        elif o.content is not None:
            state.cut(node, o.index, o.axis, ids)  # 1
        else:
            for other in operands:
                state.freeze(
                    other.value, f"{label(node)} ties it to {o.value.name!r}, which has no channels that can go"
                )
    return ids


def _constants(state: Analysis, node: ir.Node, operands: list[_Operand], size: int) -> Numbers:
    """Case 3."""
    numbers = [_numbers(o, size) for o in operands]
    known = np.full(size, np.nan)
    where = np.all([np.isfinite(n) for n in numbers], axis=0)
    dtypes = [o.content.dtype if o.content is not None else _dtype(state, o.value) for o in operands]
    if where.any() and all(d is not None for d in dtypes):
        result = evaluate(node, [n[where].astype(d) for n, d in zip(numbers, dtypes, strict=True)], state.model)
        if result is not None:
            known[where] = result
    if node.op_type == "Mul":
        known[np.any([n == 0 for n in numbers], axis=0)] = 0.0
    return known


def _numbers(operand: _Operand, size: int) -> Numbers:
    """What is known about an operand at each channel."""
    if operand.labels is not None:
        return operand.labels.numbers
    content = operand.content
    if content is None or content.size == 0 or content.dtype.kind not in "fiub":
        return np.full(size, np.nan)
    axis = operand.axis
    lines = content.reshape(1, -1) if axis < 0 else np.moveaxis(content, axis, 0).reshape(content.shape[axis], -1)
    numbers = lines[:, 0].astype(np.float64)
    numbers = np.where((lines == lines[:, :1]).all(axis=1), numbers, np.nan)
    return np.broadcast_to(numbers, size)


def _labels(state: Analysis, value: ir.Value | None) -> Labels | None:
    return None if value is None else state.labels.get(value)


def _rank(state: Analysis, value: ir.Value | None) -> int | None:
    if value is None:
        return 0
    content = state.constant(value)
    return state.shapes.rank(value) if content is None else content.ndim


def _dtype(state: Analysis, value: ir.Value | None) -> np.dtype[np.generic] | None:
    dtype = state.shapes.dtype(value)
    return None if dtype is None or dtype == ir.DataType.STRING else dtype.numpy()
