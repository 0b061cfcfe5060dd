"""Rules for operators that work element by element: each channel stays where it is.

One operand: labels pass, constants go through the operator. Several operands: labels that meet are joined, constant operands are
cut along the axes of the channels. An operand of size 1 along such an axis is broadcast over it and makes no claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import scalar, source
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.knowledge import evaluate
from onnxzip.prune.labels import Ids, Labels, Numbers, Twins
from onnxzip.prune.twins import HOMOGENEOUS, paired, proportional, refined


def unary(state: Analysis, node: ir.Node) -> str | None:
    """`y = f(x)`; further inputs are parameters (the bounds of Clip, scale and zero point of QuantizeLinear), which must not vary."""
    labels = state.of(node.inputs[0])
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
    twins = labels.twins if node.op_type in HOMOGENEOUS else refined(state, labels.twins)
    state.mark(node.outputs[0], Labels(labels.ids, known.reshape(labels.ids.shape), twins))
    return None


def dropout(state: Analysis, node: ir.Node) -> str | None:
    """Dropout at inference is the identity."""
    if len(node.inputs) > 2 and node.inputs[2] is not None and scalar(source(node.inputs[2])) is not False:
        return "may be in training mode"
    labels = state.of(node.inputs[0])
    if labels is not None:
        state.mark(node.outputs[0], labels)
    return None


@dataclass(frozen=True, eq=False)
class _Operand:
    """One operand of a broadcasting operator, seen with as many axes as the result has.

    Attributes:
        index, value: which operand.
        shape: its size along each axis, None where that is unknown.
        labels: its channels, or None.
        content: its content where it is constant, with the axes of the result.
        skipped: axes of the result that it has not.
    """

    index: int
    value: ir.Value
    shape: tuple[int | str | None, ...]
    labels: Labels | None
    content: np.ndarray | None
    skipped: int


def broadcast(state: Analysis, node: ir.Node) -> str | None:
    """`y = f(a, b, ...)` with broadcasting: labels at equal positions are joined.

    1. constant operands are cut along the axes of the channels on which they have more than one element.
    2. other operands without labels: of size 1 there, no claim; else what meets them is frozen.
    3. a position is constant where all operands are, or where a factor of Mul is 0.
    """
    if all(state.of(v) is None for v in node.inputs):
        return None
    ranks = [_rank(state, v) for v in node.inputs]
    if None in ranks:
        return "has an operand of unknown rank"
    rank = max(r for r in ranks if r is not None)
    operands = [_operand(state, i, v, rank) for i, v in enumerate(node.inputs) if v is not None]
    carriers = [o.labels for o in operands if o.labels is not None]
    sizes = np.broadcast_shapes(*(c.ids.shape for c in carriers)) if _fit(carriers) else None
    if sizes is None:
        return "ties channels of different numbers"
    axes = [a for a, size in enumerate(sizes) if size > 1]
    for o in operands:
        if o.labels is None and any(o.shape[a] not in (1, sizes[a]) for a in axes):
            return f"ties its channels to {o.value.name!r}, whose size is unknown"
    carriers = [_claimed(state, node, o, axes) for o in operands if o.labels is not None]
    for other in carriers[1:]:
        state.join(carriers[0], other, f"{label(node)} ties it to channels that stay")
    ids: Ids = np.broadcast_to(np.maximum.reduce(np.broadcast_arrays(*(c.ids for c in carriers))), sizes)
    for o in operands:
        ids = _meet(state, node, o, ids, operands)
    known = _constants(state, node, operands, ids.shape)
    state.mark(node.outputs[0], Labels(np.ascontiguousarray(ids), known, _twins(state, node, operands, ids.shape)))
    return None


def _fit(carriers: list[Labels]) -> bool:
    sizes = [{c.ids.shape[a] for c in carriers} - {1} for a in range(carriers[0].rank)]
    return all(len(s) < 2 for s in sizes)


def _operand(state: Analysis, index: int, value: ir.Value, rank: int) -> _Operand:
    labels, content = state.of(value), state.floats(value)
    content = state.constant(value) if content is None else content
    shape = content.shape if content is not None else state.shapes.of(value) or ()
    skipped = rank - len(shape)
    return _Operand(
        index,
        value,
        (1,) * skipped + tuple(shape),
        None if labels is None else labels.lifted(rank),
        None if content is None else content.reshape((1,) * skipped + content.shape),
        skipped,
    )


def _claimed(state: Analysis, node: ir.Node, operand: _Operand, axes: list[int]) -> Labels:
    """The labels of an operand; where others change along an axis on which it has elements of its own, it is tied along it.

    (Its elements there are not channels, but go with those of the others: they must go alike.)
    """
    labels = operand.labels
    if labels is None:
        raise ValueError("an operand without labels makes no claim")
    if any(labels.ids.shape[a] == 1 and operand.shape[a] != 1 for a in axes):
        state.freeze_labels(labels, f"{label(node)} ties channels that lie on different axes")
        return Labels(np.zeros_like(labels.ids), labels.known)
    return labels


def _meet(state: Analysis, node: ir.Node, o: _Operand, ids: Ids, operands: list[_Operand]) -> Ids:
    """What an operand without labels does to those of the others. Cases 1, 2."""
    along = [a for a, size in enumerate(ids.shape) if size > 1 and o.shape[a] != 1]
    if o.labels is not None or not along:
        return ids
    if o.content is None:
        for other in operands:
            state.freeze(other.value, f"{label(node)} ties it to {o.value.name!r}, which has no channels that can go")
        return ids
    rest = [a for a, size in enumerate(ids.shape) if size > 1 and a not in along]
    tied = ids
    if rest:  # one element serves several channels: they go together
        tied = state.tie(Labels(ids, np.full(ids.shape, np.nan)), rest, f"{label(node)} has constants for several").ids
    vector = tied.reshape([tied.shape[a] for a in along])
    state.cut(node, o.index, tuple(a - o.skipped for a in along), vector)
    return ids


def _constants(state: Analysis, node: ir.Node, operands: list[_Operand], sizes: tuple[int, ...]) -> Numbers:
    """Case 3."""
    numbers = [_numbers(o, sizes) for o in operands]
    known = np.full(sizes, np.nan)
    where = np.all([np.isfinite(n) for n in numbers], axis=0)
    dtypes = [o.content.dtype if o.content is not None else _dtype(state, o.value) for o in operands]
    if where.any() and all(d is not None for d in dtypes):
        result = evaluate(node, [n[where].astype(d) for n, d in zip(numbers, dtypes, strict=True)], state.model)
        if result is not None:
            known[where] = result
    if node.op_type == "Mul":
        known[np.any([n == 0 for n in numbers], axis=0)] = 0.0
    return known


def _numbers(operand: _Operand, sizes: tuple[int, ...]) -> Numbers:
    """What is known about an operand at each channel."""
    if operand.labels is not None:
        return np.broadcast_to(operand.labels.known, sizes)
    content = operand.content
    if content is None or content.size == 0 or content.dtype.kind not in "fiub":
        return np.full(sizes, np.nan)
    inside = tuple(a for a, size in enumerate(sizes) if size == 1)
    first = content[tuple(slice(0, 1) if a in inside else slice(None) for a in range(content.ndim))]
    same = (content == first).all(axis=inside, keepdims=True)
    return np.broadcast_to(np.where(same, first.astype(np.float64), np.nan), sizes)


def _twins(state: Analysis, node: ir.Node, operands: list[_Operand], sizes: tuple[int, ...]) -> Twins | None:
    """Twins of the result: of two operands, see `onnxzip.prune.twins`, cases 3 to 5."""
    if len(operands) != 2 or all(o.labels is None or o.labels.twins is None for o in operands):
        return None
    left, right = operands
    if left.labels is not None and right.labels is not None:
        pairs = paired(left.labels.twins, right.labels.twins)
        if pairs is None or left.labels.twins is None or right.labels.twins is None:
            return None
        factors = [np.broadcast_to(x.factor, sizes) for x in (left.labels.twins, right.labels.twins)]
        if node.op_type == "Mul":
            return proportional(state, pairs, np.zeros(sizes), factors[0] * factors[1])
        if node.op_type in ("Add", "Sub"):
            return proportional(state, pairs, factors[1] / factors[0], factors[0])
        return refined(state, pairs, factors[1])
    carrier, other = (left, right) if left.labels is not None else (right, left)
    twins = None if carrier.labels is None else carrier.labels.twins
    if twins is None:
        return None
    twins = Twins(np.broadcast_to(twins.group, sizes), np.broadcast_to(twins.factor, sizes))
    if other.content is None:  # the same for all channels
        return (
            twins if node.op_type in ("Mul",) or (node.op_type == "Div" and carrier is left) else refined(state, twins)
        )
    number = _numbers(other, sizes)
    with np.errstate(all="ignore"):
        if node.op_type == "Mul":
            return proportional(state, twins, np.sign(number), twins.factor * np.abs(number))
        if node.op_type == "Div" and carrier is left:
            return proportional(state, twins, np.sign(number), twins.factor / np.abs(number))
        if node.op_type in ("Add", "Sub"):
            return proportional(state, twins, number / twins.factor, twins.factor)
        if node.op_type == "PRelu" and carrier is left:
            return proportional(state, twins, number, twins.factor)
    return refined(state, twins, number)


def _rank(state: Analysis, value: ir.Value | None) -> int | None:
    if value is None:
        return 0
    content = state.constant(value)
    return state.shapes.rank(value) if content is None else content.ndim


def _dtype(state: Analysis, value: ir.Value | None) -> np.dtype[np.generic] | None:
    dtype = state.shapes.dtype(value)
    return None if dtype is None or dtype == ir.DataType.STRING else dtype.numpy()
