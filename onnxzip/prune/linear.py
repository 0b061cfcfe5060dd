"""Rules for the layers that make channels: Conv, ConvTranspose, Gemm, MatMul.

A dense layer consumes the labels of its input and gives its output fresh ones: input and output shrink independently.
A depthwise Conv keeps each channel to itself: its output carries the labels of its input. A grouped Conv ties equal
indices across its groups, so that every group shrinks alike.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.prune.analysis import Analysis, Read, Slot
from onnxzip.prune.knowledge import through
from onnxzip.prune.labels import Ids, Labels, Numbers

_WEIGHTS = "has weights that are not constant floats"
_BIAS = "has a bias that is not constant"


def conv(state: Analysis, node: ir.Node) -> str | None:
    """Conv: `y[m] = b[m] + Σ_c W[m, c] * x[c]`, in groups.

    1. group 1: dense.
    2. one channel a group (depthwise, M / C filters each): labels pass through, each repeated M / C times.
    3. anything between: equal indices are tied across groups, on both sides.
    """
    weights, groups = state.floats(node.inputs[1]), node.attributes.get_int("group", 1)
    if weights is None or weights.ndim < 3 or len(weights) % groups:
        return _WEIGHTS
    count, width = weights.shape[:2]
    bias = _vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    labels = _operand(state, _input(node), 1, weights.ndim, width * groups)
    if isinstance(labels, str):
        return labels
    ids, known = labels.vector, labels.numbers
    depthwise = groups > 1 and width == 1
    if depthwise:
        outs = np.repeat(ids, count // groups)
        state.groups[node] = ids
    else:
        outs = state.made(node, count)
        _tie(state, ids, groups, node)
        _tie(state, outs, groups, node)
        state.cut(node, 1, 1, ids[:width])
    state.cut(node, 1, 0, outs)
    state.cut(node, 2, 0, outs)
    read = Read(
        node,
        ids,
        outs,
        known,
        weights.reshape(count, width, -1),
        (node, 1),
        1,
        groups,
        _uniform(node, weights),
        (node, 2),
    )
    if not depthwise:
        state.reads.append(read)
    state.mark(node.outputs[0], Labels.along(1, weights.ndim, outs, through(read, bias, weights.dtype)))
    return None


def conv_transpose(state: Analysis, node: ir.Node) -> str | None:
    """ConvTranspose, group 1, weights (C, M, ...). Its borders see fewer taps, so constants other than 0 do not pass."""
    weights = state.floats(node.inputs[1])
    if weights is None or weights.ndim < 3:
        return _WEIGHTS
    if node.attributes.get_int("group", 1) != 1:
        return "has groups"
    width, count = weights.shape[:2]
    bias = _vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    labels = _operand(state, _input(node), 1, weights.ndim, width)
    if isinstance(labels, str):
        return labels
    ids, known = labels.vector, labels.numbers
    outs = state.made(node, count)
    for index, axis, cut in ((1, 0, ids), (1, 1, outs), (2, 0, outs)):
        state.cut(node, index, axis, cut)
    taps = weights.swapaxes(0, 1).reshape(count, width, -1)
    read = Read(node, ids, outs, known, taps, (node, 1), 0, uniform=False)
    state.reads.append(read)
    state.mark(node.outputs[0], Labels.along(1, weights.ndim, outs, through(read, bias, weights.dtype)))
    return None


def gemm(state: Analysis, node: ir.Node) -> str | None:
    """Gemm: `Y = alpha · A' B' + beta · C` with constant B and C; the contracted axis of A carries the channels."""
    weights = state.floats(node.inputs[1])
    if weights is None or weights.ndim != 2:
        return _WEIGHTS
    flags = node.attributes
    contracted = 1 - int(bool(flags.get_int("transA", 0)))
    matrix = weights if flags.get_int("transB", 0) else weights.T
    count, width = matrix.shape
    labels = _operand(state, _input(node), contracted, 2, width)
    if isinstance(labels, str):
        return labels
    alpha, beta = flags.get_float("alpha", 1.0), flags.get_float("beta", 1.0)
    absent = len(node.inputs) < 3 or node.inputs[2] is None
    addend = None if absent else state.floats(node.inputs[2])
    if not absent and addend is None:
        return _BIAS
    ids, known = labels.vector, labels.numbers
    outs = state.made(node, count)
    rows = 0 if flags.get_int("transB", 0) else 1
    state.cut(node, 1, rows, outs)
    state.cut(node, 1, 1 - rows, ids)
    if addend is None:
        state.cut(node, 2, 0, outs)
    elif addend.ndim and addend.shape[-1] == count:
        state.cut(node, 2, addend.ndim - 1, outs)
    slot = (node, 2) if beta != 0 and (addend is None or _is_vector(addend, count)) else None
    read = Read(node, ids, outs, known, matrix[:, :, None], (node, 1), 1 - rows, bias=slot, alpha=alpha, beta=beta)
    state.reads.append(read)
    knowledge = through(read, _numbers(addend, count), weights.dtype)
    state.mark(node.outputs[0], Labels.along(1, 2, outs, knowledge))
    return None


def matmul(state: Analysis, node: ir.Node) -> str | None:
    """MatMul with a constant matrix (K, M) on the right: the last axis of the left operand carries the channels.

    An Add of a constant vector behind it is its bias, for constants to go to.
    """
    weights, value = state.floats(node.inputs[1]), _input(node)
    rank = state.shapes.rank(value)
    if weights is None or weights.ndim != 2:
        return _WEIGHTS
    if rank is None or rank < 2:
        return "has a left operand that is a vector, or of unknown rank"
    width, count = weights.shape
    labels = _operand(state, value, rank - 1, rank, width)
    if isinstance(labels, str):
        return labels
    ids, known = labels.vector, labels.numbers
    outs = state.made(node, count)
    state.cut(node, 1, 0, ids)
    state.cut(node, 1, 1, outs)
    read = Read(node, ids, outs, known, weights.T[:, :, None], (node, 1), 0, bias=_addend(state, node, count))
    state.reads.append(read)
    knowledge = through(read, np.zeros(count), weights.dtype)
    state.mark(node.outputs[0], Labels.along(rank - 1, rank, outs, knowledge))
    return None


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node.op_type} without its first input is not valid ONNX")
    return value


def _operand(state: Analysis, value: ir.Value, axis: int, rank: int, width: int) -> Labels | str:
    """The labels that a layer contracts over (zeros where there are none), or why it cannot contract over them."""
    labels = state.labels.get(value)
    if labels is not None and (labels.rank, labels.axis, labels.ids.size) == (rank, axis, width):
        return labels
    if labels is not None and labels.ids.any():
        return f"does not contract over the axis that carries the channels ({labels.axis})"
    return Labels.along(axis, rank, np.zeros(width, np.int64))


def _vector(state: Analysis, node: ir.Node, index: int, count: int) -> Numbers | None:
    """The bias operand, zeros when it is left out; None when it is not a constant."""
    if len(node.inputs) <= index or node.inputs[index] is None:
        return np.zeros(count)
    return _numbers(state.floats(node.inputs[index]), count) if state.floats(node.inputs[index]) is not None else None


def _numbers(addend: np.ndarray | None, count: int) -> Numbers | None:
    """A constant addend as one number a channel; None when it differs within a channel."""
    if addend is None:
        return np.zeros(count)
    if addend.size not in (1, count) or (addend.size == count and not _is_vector(addend, count)):
        return None
    return np.broadcast_to(addend.reshape(-1).astype(np.float64), count)


def _is_vector(addend: np.ndarray, count: int) -> bool:
    return addend.ndim > 0 and addend.size == count == addend.shape[-1]


def _addend(state: Analysis, node: ir.Node, count: int) -> Slot | None:
    """The slot of the constant vector in the Add that alone reads this MatMul, or None."""
    add = sole_consumer(node.outputs[0])
    if add is None or not is_op(add, "Add"):
        return None
    index = 1 - next(i for i, v in enumerate(add.inputs) if v is node.outputs[0])
    addend = state.floats(add.inputs[index])
    rank = state.shapes.rank(node.outputs[0])
    if addend is None or not _is_vector(addend, count) or rank is None or addend.ndim > rank:
        return None
    return add, index


def _tie(state: Analysis, ids: Ids, groups: int, node: ir.Node) -> None:
    """Let equal indices of all groups go together."""
    if groups > 1 and len(ids) > 1:
        first, *others = ids.reshape(groups, -1)
        for other in others:
            state.channels.join(first, other, f"{node.op_type} {node.name!r} ties its groups")


def _uniform(node: ir.Node, weights: np.ndarray) -> bool:
    """Whether no output element of a Conv sees padding."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return True
    if mode != "NOTSET":
        return all(size == 1 for size in weights.shape[2:])
    return not any(node.attributes.get_ints("pads", []))
