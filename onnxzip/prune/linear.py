"""Rules for the layers that make channels: Conv, ConvTranspose, Gemm, MatMul; and for recurrent ones, which only read them.

A dense layer consumes the labels of its input and gives its output fresh ones: input and output shrink independently.
A depthwise Conv keeps each channel to itself: its output carries the labels of its input. A grouped Conv wants equally many
channels in each of its groups (`onnxzip.prune.balance`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import label
from onnxzip.prune import attention
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.knowledge import through
from onnxzip.prune.labels import Labels
from onnxzip.prune.operands import (
    addend_of,
    balance_groups,
    depthwise_twins,
    follow_group,
    input_of,
    is_uniform,
    is_vector,
    numbers_of,
    operand,
    read_of,
    row_twins,
    vector,
)

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
    bias = vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    x = operand(state, node, input_of(node), 1, weights.ndim, width * groups)
    if isinstance(x, str):
        return x
    depthwise = groups > 1 and width == 1 and label(node) not in state.grouped
    if depthwise:
        outs = np.repeat(x.vector, count // groups)
        follow_group(state, node, x.vector)
    else:
        outs = state.made(node, count)
        balance_groups(state, x.vector, groups, node)
        balance_groups(state, outs, groups, node)
        if groups == 1:
            state.cut(node, 1, 1, x.vector)
        else:
            state.cut(node, 1, (0, 2), x.vector.reshape(groups, width), groups)
    state.cut(node, 1, 0, outs)
    state.cut(node, 2, 0, outs)
    taps = weights.reshape(count, width, -1)
    read = read_of(state, node, x, outs, taps, 1, groups=groups, uniform=is_uniform(node, weights), bias=(node, 2))
    known = through(read, bias, weights.dtype)
    if depthwise:
        twins = depthwise_twins(state, x, taps, bias, known, uniform=read.uniform)
    else:
        state.reads.append(read)
        twins = row_twins(state, read, bias, known)
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
    bias = vector(state, node, 2, count)
    if bias is None:
        return _BIAS
    x = operand(state, node, input_of(node), 1, weights.ndim, width)
    if isinstance(x, str):
        return x
    outs = state.made(node, count) if groups == 1 else x.vector
    state.cut(node, 1, 0, x.vector)
    state.cut(node, 2, 0, outs)
    if groups == 1:
        state.cut(node, 1, 1, outs)
        taps = weights.swapaxes(0, 1).reshape(count, width, -1)
    else:
        follow_group(state, node, x.vector)
        taps = weights.reshape(count, 1, -1)
    read = read_of(state, node, x, outs, taps, 0, groups=groups, uniform=False)
    if groups == 1:
        state.reads.append(read)
    known = through(read, bias, weights.dtype)
    twins = row_twins(state, read, bias, known) if groups == 1 else None
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
    x = operand(state, node, input_of(node), contracted, 2, width)
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
    slot = (node, 2) if beta != 0 and (addend is None or is_vector(addend, count)) else None
    read = read_of(state, node, x, outs, matrix[:, :, None], 1 - rows, bias=slot, alpha=alpha, beta=beta)
    state.reads.append(read)
    numbers = numbers_of(addend, count)
    known = through(read, numbers, weights.dtype)
    twins = None if numbers is None else row_twins(state, read, numbers, known)
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
    x = operand(state, node, value, axis, rank, width)
    if isinstance(x, str):
        return x
    outs = state.made(node, count)
    state.cut(node, side, 1 - side, x.vector)
    state.cut(node, side, side, outs)
    bias = addend_of(state, node, count) if side == 1 else None
    read = read_of(state, node, x, outs, matrix[:, :, None], 1 - side, slot=(node, side), bias=bias)
    state.reads.append(read)
    known = through(read, np.zeros(count), weights.dtype)
    twins = row_twins(state, read, np.zeros(count), known)
    state.mark(node.outputs[0], Labels.along(axis, rank, outs, known, twins))
    return None


def recurrent(state: Analysis, node: ir.Node) -> str | None:
    """LSTM, GRU, RNN: the last axis of the input X (seq, batch, C) can shrink, with W (directions, rows, C).

    The hidden units stay: each takes part in every step through all gates, and states are fed and returned in their order.
    """
    weights = state.floats(node.inputs[1])
    value = input_of(node)
    for other in dict.fromkeys(v for v in node.inputs[1:] if v is not value):
        state.freeze(other, f"{label(node)} is recurrent: its states and weights keep their size")
    if weights is None or weights.ndim != 3:
        return _WEIGHTS
    width = weights.shape[2]
    x = operand(state, node, value, 2, 3, width)
    if isinstance(x, str):
        return x
    state.cut(node, 1, 2, x.vector)
    taps = weights.reshape(-1, width, 1)
    state.reads.append(read_of(state, node, x, np.zeros(len(taps), np.int64), taps, 2))
    return None
