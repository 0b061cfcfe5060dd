"""What the rules of linear layers share: their operands read one way, and the `Read` that they write."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Read, Slot
from onnxzip.prune.labels import Ids, Labels, Numbers, Twins
from onnxzip.prune.twins import flat, of_rows


def input_of(node: ir.Node) -> ir.Value:
    """The first operand.

    Raises:
        ValueError: there is none.
    """
    value = node.inputs[0]
    if value is None:
        raise ValueError(f"{node.op_type} without its first input is not valid ONNX")
    return value


def operand(state: Analysis, node: ir.Node, value: ir.Value, axis: int, rank: int, width: int) -> Labels | str:
    """The labels that a layer contracts over (zeros where there are none), tied to that axis, or why it cannot contract over them."""
    labels = state.of(value)
    if labels is not None and (labels.rank != rank or labels.ids.shape[axis] not in (1, width)):
        return "has weights that do not fit its channels"
    if labels is not None:
        labels = state.only(labels, axis, f"{label(node)} does not contract over the axis that carries the channels")
        if labels.ids.size > 1:
            return labels
    return Labels.along(axis, rank, np.zeros(width, np.int64))


def read_of(
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


def follow_group(state: Analysis, node: ir.Node, ids: Ids) -> None:
    """Let the group count of a depthwise layer be the number of its channels."""
    state.follow(node, "group", ids, lambda keep: np.array(int(keep(ids).sum())))


def row_twins(state: Analysis, read: Read, bias: Numbers, known: Numbers) -> Twins | None:
    """Rows that are multiples of each other, weights and bias together, in the same group."""
    if read.alpha == 0:
        return None
    count = len(read.outs)
    blocks = [read.taps.reshape(count, -1), read.beta / read.alpha * bias[:, None]]
    group = np.repeat(np.arange(read.groups), count // read.groups)
    return of_rows(state, blocks, np.isnan(known), group)


def depthwise_twins(
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


def vector(state: Analysis, node: ir.Node, index: int, count: int) -> Numbers | None:
    """The bias operand, zeros when it is left out; None when it is not a constant."""
    if len(node.inputs) <= index or node.inputs[index] is None:
        return np.zeros(count)
    return numbers_of(state.floats(node.inputs[index]), count) if state.floats(node.inputs[index]) is not None else None


def numbers_of(addend: np.ndarray | None, count: int) -> Numbers | None:
    """A constant addend as one number a channel; None when it differs within a channel."""
    if addend is None:
        return np.zeros(count)
    if addend.size not in (1, count) or (addend.size == count and not is_vector(addend, count)):
        return None
    return np.broadcast_to(addend.reshape(-1).astype(np.float64), count)


def is_vector(addend: np.ndarray, count: int) -> bool:
    """Whether an addend is one number a channel, along the last axis."""
    return addend.ndim > 0 and addend.size == count == addend.shape[-1]


def addend_of(state: Analysis, node: ir.Node, count: int) -> Slot | None:
    """The slot of the constant vector in the Add that alone reads this MatMul, or None."""
    add = sole_consumer(node.outputs[0])
    if add is None or not is_op(add, "Add"):
        return None
    index = 1 - next(i for i, v in enumerate(add.inputs) if v is node.outputs[0])
    addend = state.floats(add.inputs[index])
    rank = state.shapes.rank(node.outputs[0])
    if addend is None or not is_vector(addend, count) or rank is None or addend.ndim > rank:
        return None
    return add, index


def balance_groups(state: Analysis, ids: Ids, groups: int, node: ir.Node) -> None:
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


def is_uniform(node: ir.Node, weights: np.ndarray) -> bool:
    """Whether no output element of a Conv sees padding."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return True
    if mode != "NOTSET":
        return all(size == 1 for size in weights.shape[2:])
    return not any(node.attributes.get_ints("pads", []))
