"""The product of two computed operands, `y[.., m, n] = Σ_k a[.., m, k] · b[.., k, n]`: what attention is made of.

1. along leading axes (heads), channels at equal positions go together, and matrices go as a whole: labels that change along a leading
   axis are tied along those of the matrix, so that a class is a head with its queries, keys and values.
2. along k, where only it carries channels: equal positions go together. They are consumed here; where one side is 0 nothing is lost.
3. along m or n: they pass.
4. what comes out is 0 where a head of either side is 0.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.labels import Ids, Labels, Numbers


def product(state: Analysis, node: ir.Node) -> str | None:
    """MatMul of computed operands."""
    left, right = node.inputs[:2]
    ranks = [state.shapes.rank(v) for v in (left, right)]
    if state.of(left) is None and state.of(right) is None:
        return None
    if None in ranks or min(r or 0 for r in ranks) < 2:
        return "has an operand that is a vector, or of unknown rank"
    rank = max(r or 0 for r in ranks)
    a, b = (_side(state, v, rank) for v in (left, right))
    why = _unclaimed(state, (left, a), (right, b), rank)
    if why is not None:
        return why
    a, b = (_whole(state, node, x, rank) for x in (a, b))
    _contract(state, node, a, b)
    rows, columns = a.ids.shape[-2] > 1, b.ids.shape[-1] > 1
    if rows and columns:
        return "makes a matrix of its channels"
    ids, known = np.broadcast_arrays(_joined(state, node, a, b), _zeros(a, b))
    state.mark(node.outputs[0], Labels(ids, known).compact())
    return None


def _side(state: Analysis, value: ir.Value | None, rank: int) -> Labels:
    labels = state.of(value)
    if labels is None:
        return Labels(np.zeros((1,) * rank, np.int64), np.full((1,) * rank, np.nan))
    return labels.lifted(rank)


def _unclaimed(
    state: Analysis, left: tuple[ir.Value | None, Labels], right: tuple[ir.Value | None, Labels], rank: int
) -> str | None:
    """Why channels along leading axes or k meet something that has none; an axis of size 1 makes no claim."""
    for (_, own), (value, other), k in ((left, right, rank - 2), (right, left, rank - 1)):
        contracted = rank - 1 if k == rank - 2 else rank - 2
        for axis in own.axes:
            mirror = k if axis == contracted else axis
            if (axis >= rank - 2 and axis != contracted) or other.ids.shape[mirror] > 1:
                continue
            shape = state.shapes.of(value) or ()
            place = mirror - rank + len(shape)
            size = shape[place] if place >= 0 else 1
            if size != 1:
                return f"ties its channels to {value.name if value else ''!r}, which has no channels that can go"
    return None


def _whole(state: Analysis, node: ir.Node, labels: Labels, rank: int) -> Labels:
    """Case 1."""
    if not any(a < rank - 2 for a in labels.axes):
        return labels
    known = labels.known  # what is known of a head's columns stays known, though they go together
    tied = state.tie(labels, (rank - 2, rank - 1), f"{label(node)} takes matrices as a whole")
    return Labels(tied.ids, known)


def _contract(state: Analysis, node: ir.Node, a: Labels, b: Labels) -> None:
    """Case 2."""
    left, right = np.moveaxis(a.ids, -1, -2), b.ids
    if left.shape[-2] == 1 and right.shape[-2] == 1:
        return
    left = left if left.shape[-2] > 1 else np.zeros_like(right)
    right = right if right.shape[-2] > 1 else np.zeros_like(left)
    state.channels.join(left, right, f"{label(node)} ties it to channels that stay")
    lost = (np.moveaxis(a.known, -1, -2) == 0) | (b.known == 0)
    ids, lost = np.broadcast_arrays(np.maximum(left, right), lost)
    state.used.append(np.unique(ids[~lost]))


def _joined(state: Analysis, node: ir.Node, a: Labels, b: Labels) -> Ids:
    """Cases 1 and 3: the labels of the result."""
    left = a.ids if a.ids.shape[-1] == 1 else a.ids[..., :1] * 0
    right = b.ids if b.ids.shape[-2] == 1 else b.ids[..., :1, :] * 0
    if left.any() and right.any():
        state.channels.join(left, right, f"{label(node)} ties it to channels that stay")
    return np.maximum(left, right)


def _zeros(a: Labels, b: Labels) -> Numbers:
    """Case 4: NaN, or 0 where a row of the left matrix or a column of the right one is 0."""
    rows = (a.known == 0).all(axis=-1, keepdims=True)
    columns = (b.known == 0).all(axis=-2, keepdims=True)
    return np.where(rows | columns, 0.0, np.nan)
