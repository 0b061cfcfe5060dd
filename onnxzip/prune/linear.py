"""Rules for the layers that make channels: Conv, ConvTranspose, Gemm, MatMul.

A dense layer consumes the labels of its input and gives its output fresh ones: input and output shrink independently.
A depthwise Conv keeps each channel to itself: its output carries the labels of its input. A grouped Conv wants equally many
channels in each of its groups (`onnxzip.prune.balance`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.prune import attention
from onnxzip.prune.analysis import Analysis, Read, Slot
from onnxzip.prune.knowledge import through
from onnxzip.prune.labels import Ids, Labels, Numbers, Twins
from onnxzip.prune.twins import flat, of_rows

_WEIGHTS = "has weights that are not constant floats"
_BIAS = "has a bias that is not constant"


def conv(state: Analysis, node: ir.Node) -> str | None:
    """Conv: `y[m] = b[m] + Σ_c W[m, c] * x[c]`, in groups.

    1. group 1: dense.
    2. one channel a group (depthwise, M / C filters each): labels pass through, each repeated M / C times.
    3. anything between: each group loses equally many channels, on both sides.
    """
    weights, groups = state.floats(node.inputs[1]), node.attributes.get_int("group", 1)
    if weights is None or weights.ndim < 3 or len(weights) % groups:
        return _WEIGHTS
    count, width = weights.shape[:2]
    bias = _vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    x = _operand(state, node, _input(node), 1, weights.ndim, width * groups)
    if isinstance(x, str):
        return x
    depthwise = groups > 1 and width == 1 and label(node) not in state.grouped
    if depthwise:
        outs = np.repeat(x.vector, count // groups)
        _follow_group(state, node, x.vector)
    else:
        outs = state.made(node, count)
        _balance(state, x.vector, groups, node)
        _balance(state, outs, groups, node)
        if groups == 1:
            state.cut(node, 1, 1, x.vector)
        else:
            state.cut(node, 1, (0, 2), x.vector.reshape(groups, width), groups)
    state.cut(node, 1, 0, outs)
    state.cut(node, 2, 0, outs)
    taps = weights.reshape(count, width, -1)
    read = _read(state, node, x, outs, taps, 1, groups=groups, uniform=_uniform(node, weights), bias=(node, 2))
    known = through(read, bias, weights.dtype)
    if depthwise:
        twins = _twins_depthwise(state, x, taps, bias, known, uniform=read.uniform)
    else:
        state.reads.append(read)
        twins = _twins(state, read, bias, known)
    state.mark(node.outputs[0], Labels.along(1, weights.ndim, outs, known, twins))
    return None


def conv_transpose(state: Analysis, node: ir.Node) -> str | None:
    """ConvTranspose, weights (C, M / groups, ...). Its borders see fewer taps, so constants other than 0 do not pass.

    1. group 1: dense.
    2. one channel a group on both sides: labels pass through.
    """
    weights, groups = state.floats(node.inputs[1]), node.attributes.get_int("group", 1)
    if weights is None or weights.ndim < 3:
        return _WEIGHTS
    width, count = len(weights), weights.shape[1] * groups
    if groups > 1 and not (groups == width == count):
        return "has groups"
    bias = _vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    x = _operand(state, node, _input(node), 1, weights.ndim, width)
    if isinstance(x, str):
        return x
    outs = state.made(node, count) if groups == 1 else x.vector
    state.cut(node, 1, 0, x.vector)
    state.cut(node, 2, 0, outs)
    if groups == 1:
        state.cut(node, 1, 1, outs)
        taps = weights.swapaxes(0, 1).reshape(count, width, -1)
    else:
        _follow_group(state, node, x.vector)
        taps = weights.reshape(count, 1, -1)
    read = _read(state, node, x, outs, taps, 0, groups=groups, uniform=False)
    if groups == 1:
        state.reads.append(read)
    known = through(read, bias, weights.dtype)
    twins = _twins(state, read, bias, known) if groups == 1 else None
    state.mark(node.outputs[0], Labels.along(1, weights.ndim, outs, known, twins))
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
    x = _operand(state, node, _input(node), contracted, 2, width)
    if isinstance(x, str):
        return x
    alpha, beta = flags.get_float("alpha", 1.0), flags.get_float("beta", 1.0)
    absent = len(node.inputs) < 3 or node.inputs[2] is None
    addend = None if absent else state.floats(node.inputs[2])
    if not absent and addend is None:
        return _BIAS
    outs = state.made(node, count)
    rows = 0 if flags.get_int("transB", 0) else 1
    state.cut(node, 1, rows, outs)
    state.cut(node, 1, 1 - rows, x.vector)
    if addend is None:
        state.cut(node, 2, 0, outs)
    elif addend.ndim and addend.shape[-1] == count:
        state.cut(node, 2, addend.ndim - 1, outs)
    slot = (node, 2) if beta != 0 and (addend is None or _is_vector(addend, count)) else None
    read = _read(state, node, x, outs, matrix[:, :, None], 1 - rows, bias=slot, alpha=alpha, beta=beta)
    state.reads.append(read)
    numbers = _numbers(addend, count)
    known = through(read, numbers, weights.dtype)
    twins = None if numbers is None else _twins(state, read, numbers, known)
    state.mark(node.outputs[0], Labels.along(1, 2, outs, known, twins))
    return None


def matmul(state: Analysis, node: ir.Node) -> str | None:
    """MatMul.

    1. a constant matrix (K, M) on the right: the last axis of the left operand carries the channels, and gets fresh ones. An Add of
       a constant vector behind it is its bias, for constants to go to.
    2. a constant matrix (M, K) on the left: the last but one axis of the right operand does.
    3. a constant matrix beside a value whose channels lie on other axes: they pass.
    4. both computed: see `onnxzip.prune.attention`.
    """
    left, right = (state.floats(v) for v in node.inputs[:2])
    if left is None and right is None:
        return attention.product(state, node)
    side = 1 if right is not None else 0
    weights, value = (right, node.inputs[0]) if right is not None else (left, node.inputs[1])
    rank = state.shapes.rank(value)
    if weights is None or weights.ndim != 2 or value is None:
        return _WEIGHTS
    if rank is None or rank < 2:
        return "has an operand that is a vector, or of unknown rank"
    axis = rank - 1 if side == 1 else rank - 2  # 1, 2
    labels = state.of(value)
    if labels is not None and axis not in labels.axes:
        known = np.where(labels.known == 0, 0.0, np.nan)
        state.mark(node.outputs[0], Labels(labels.ids, known, labels.twins))  # 3
        return None
    matrix = weights.T if side == 1 else weights
    count, width = matrix.shape
    x = _operand(state, node, value, axis, rank, width)
    if isinstance(x, str):
        return x
    outs = state.made(node, count)
    state.cut(node, side, 1 - side, x.vector)
    state.cut(node, side, side, outs)
    bias = _addend(state, node, count) if side == 1 else None
    read = _read(state, node, x, outs, matrix[:, :, None], 1 - side, slot=(node, side), bias=bias)
    state.reads.append(read)
    known = through(read, np.zeros(count), weights.dtype)
    twins = _twins(state, read, np.zeros(count), known)
    state.mark(node.outputs[0], Labels.along(axis, rank, outs, known, twins))
    return None


def recurrent(state: Analysis, node: ir.Node) -> str | None:
    """LSTM, GRU, RNN: the last axis of the input X (seq, batch, C) can shrink, with W (directions, rows, C).

    The hidden units stay: each takes part in every step through all gates, and states are fed and returned in their order.
    """
    weights = state.floats(node.inputs[1])
    value = _input(node)
    for other in dict.fromkeys(v for v in node.inputs[1:] if v is not value):
        state.freeze(other, f"{label(node)} is recurrent: its states and weights keep their size")
    if weights is None or weights.ndim != 3:
        return _WEIGHTS
    width = weights.shape[2]
    x = _operand(state, node, value, 2, 3, width)
    if isinstance(x, str):
        return x
    state.cut(node, 1, 2, x.vector)
    taps = weights.reshape(-1, width, 1)
    state.reads.append(_read(state, node, x, np.zeros(len(taps), np.int64), taps, 2))
    return None


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node.op_type} without its first input is not valid ONNX")
    return value


def _operand(state: Analysis, node: ir.Node, value: ir.Value, axis: int, rank: int, width: int) -> Labels | str:
    """The labels that a layer contracts over (zeros where there are none), tied to that axis, or why it cannot contract over them."""
    labels = state.of(value)
    if labels is not None and (labels.rank != rank or labels.ids.shape[axis] not in (1, width)):
        return "has weights that do not fit its channels"
    if labels is not None:
        labels = state.only(labels, axis, f"{label(node)} does not contract over the axis that carries the channels")
        if labels.ids.size > 1:
            return labels
    return Labels.along(axis, rank, np.zeros(width, np.int64))


def _read(
    state: Analysis,
    node: ir.Node,
    x: Labels,
    outs: Ids,
    taps: np.ndarray,
    axis: int,
    *,
    slot: Slot | None = None,
    groups: int = 1,
    uniform: bool = True,
    bias: Slot | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Read:
    """A read of the node. Integers take no constants: neither its weights nor its bias, where they are stored as such."""
    slot = (node, 1) if slot is None else slot
    stored = bias is not None and bias[1] < len(bias[0].inputs) and bias[0].inputs[bias[1]] is not None
    if bias is not None and stored and state.constant(bias[0].inputs[bias[1]]) is None:
        bias = None
    quantized = state.constant(slot[0].inputs[slot[1]]) is None
    return Read(
        node, x.vector, outs, x.numbers, taps, slot, axis, groups, uniform, bias, alpha, beta, flat(x.twins), quantized
    )


def _follow_group(state: Analysis, node: ir.Node, ids: Ids) -> None:
    state.follow(node, "group", ids, lambda keep: np.array(int(keep(ids).sum())))


def _twins(state: Analysis, read: Read, bias: Numbers, known: Numbers) -> Twins | None:
    """Rows that are multiples of each other, weights and bias together, in the same group."""
    if read.alpha == 0:
        return None
    count = len(read.outs)
    blocks = [read.taps.reshape(count, -1), read.beta / read.alpha * bias[:, None]]
    group = np.repeat(np.arange(read.groups), count // read.groups)
    return of_rows(state, blocks, np.isnan(known), group)


def _twins_depthwise(
    state: Analysis, x: Labels, taps: np.ndarray, bias: Numbers, known: Numbers, *, uniform: bool
) -> Twins | None:
    """Filters that are multiples of each other, on twins: `f · (W * b) + c`; on constants where padding makes them differ."""
    count, times = len(taps), len(taps) // x.ids.size
    constant = np.repeat(x.numbers, times)
    group, factor = np.zeros(count, np.int64), np.ones(count)
    if x.twins is not None:
        group, factor = np.repeat(x.twins.group.reshape(-1), times), np.repeat(x.twins.factor.reshape(-1), times)
    shifted = np.isfinite(constant) & (constant != 0) & (not uniform)
    factor = np.where(shifted, constant, factor)
    blocks = [taps.reshape(count, -1) * factor[:, None], bias[:, None]]
    return of_rows(state, blocks, np.isnan(known) & ((group > 0) | shifted), np.where(shifted, 0, group))


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


def _balance(state: Analysis, ids: Ids, groups: int, node: ir.Node) -> None:
    """Let equally many channels of each group stay, and at least one."""
    if 1 < groups == ids.size:
        why = f"{label(node)} wants one channel in each of {groups} groups"
        state.freeze_labels(Labels(ids, np.full(ids.shape, np.nan)), why)
    elif groups > 1:
        state.balance(
            ids.reshape(groups, -1),
            f"{label(node)} wants equally many channels in each of {groups} groups",
            rows_stay=True,
        )


def _uniform(node: ir.Node, weights: np.ndarray) -> bool:
    """Whether no output element of a Conv sees padding."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return True
    if mode != "NOTSET":
        return all(size == 1 for size in weights.shape[2:])
    return not any(node.attributes.get_ints("pads", []))
