"""Rules for operators that treat each channel alone but look at more than one element: BatchNormalization, pooling, reductions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.prune.analysis import Analysis
from onnxzip.prune.knowledge import normalized
from onnxzip.prune.labels import Labels, Numbers

_NOT_AXIS_1 = "works on axis 1, but its channels lie on axis {}"


def batch_normalization(state: Analysis, node: ir.Node) -> str | None:
    """BatchNormalization at inference: its four terms are cut with the channels; scale 0 makes a channel constant."""
    if node.attributes.get_int("training_mode", 0):
        return "is in training mode"
    labels = _on_axis_1(state, node)
    if labels is None or isinstance(labels, str):
        return labels
    terms = [state.floats(v) for v in node.inputs[1:5]]
    if any(t is None or t.shape != labels.vector.shape for t in terms):
        return "has terms that are not constant"
    for index in range(1, 5):
        state.cut(node, index, 0, labels.vector)
    known = normalized(labels.numbers, [t for t in terms if t is not None], node.attributes.get_float("epsilon", 1e-5))
    state.mark(node.outputs[0], Labels.along(1, labels.rank, labels.vector, known))
    return None


def max_pool(state: Analysis, node: ir.Node) -> str | None:
    """MaxPool: padding never wins, so a constant stays what it is."""
    return _pool(state, node, keeps_constants=True)


def average_pool(state: Analysis, node: ir.Node) -> str | None:
    """AveragePool: a constant other than 0 stays what it is unless padding counts as zeros."""
    flags = node.attributes
    padded = any(flags.get_ints("pads", [])) or flags.get_string("auto_pad", "NOTSET").startswith("SAME")
    counted = bool(flags.get_int("count_include_pad", 0)) and (padded or bool(flags.get_int("ceil_mode", 0)))
    return _pool(state, node, keeps_constants=not counted)


def global_pool(state: Analysis, node: ir.Node) -> str | None:
    """GlobalAveragePool, GlobalMaxPool: mean or maximum over all pixels of a channel."""
    return _pool(state, node, keeps_constants=True)


def reduction(state: Analysis, node: ir.Node) -> str | None:
    """ReduceMean, ReduceMax, ReduceMin, ReduceSum over other axes than that of the channels.

    A constant stays what it is; under ReduceSum only 0 does.
    """
    value = node.inputs[0]
    labels = None if value is None else state.labels.get(value)
    if labels is None:
        return None
    axes = _axes(state, node)
    if axes is None:
        return "reduces over axes that are not constant"
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        return "may be without effect"
    reduced = {a % labels.rank for a in axes} or set(range(labels.rank))
    if labels.axis in reduced:
        return "reduces over its channels"
    known = _only_zeros(labels.numbers) if node.op_type == "ReduceSum" else labels.numbers
    gone = 0 if node.attributes.get_int("keepdims", 1) else sum(a < labels.axis for a in reduced)
    rank = labels.rank if node.attributes.get_int("keepdims", 1) else labels.rank - len(reduced)
    state.mark(node.outputs[0], Labels.along(labels.axis - gone, rank, labels.vector, known))
    return None


def _pool(state: Analysis, node: ir.Node, *, keeps_constants: bool) -> str | None:
    labels = _on_axis_1(state, node)
    if labels is None or isinstance(labels, str):
        return labels
    known = labels.numbers if keeps_constants else _only_zeros(labels.numbers)
    state.mark(node.outputs[0], Labels.along(1, labels.rank, labels.vector, known))
    return None


def _on_axis_1(state: Analysis, node: ir.Node) -> Labels | str | None:
    """The labels of the first operand, None where it has none, or why they are in the wrong place."""
    value = node.inputs[0]
    labels = None if value is None else state.labels.get(value)
    if labels is not None and labels.axis != 1:
        return _NOT_AXIS_1.format(labels.axis)
    return labels


def _only_zeros(numbers: Numbers) -> Numbers:
    return np.where(numbers == 0, numbers, np.nan)


def _axes(state: Analysis, node: ir.Node) -> list[int] | None:
    """The axes of a reduction, from attribute or input; empty means all of them; None when they are not constant."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        content = state.constant(node.inputs[1])
        return None if content is None else [int(a) for a in content.reshape(-1)]
    return [int(a) for a in node.attributes.get_ints("axes", [])]
