"""Rules for operators that look at several elements of a channel and make one of them: pooling, reductions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.labels import Labels, Numbers


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
    """ReduceMean, ReduceMax, ReduceMin, ReduceSum over other axes than those of the channels.

    A constant stays what it is; under ReduceSum only 0 does.
    """
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    axes = _axes(state, node)
    if axes is None:
        return "reduces over axes that are not constant"
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) != 0:
        return "may be without effect"
    reduced = sorted({a % labels.rank for a in axes} or set(range(labels.rank)))
    labels = state.tie(labels, reduced, f"{label(node)} reduces over its channels")
    known = _only_zeros(labels.known) if node.op_type == "ReduceSum" else labels.known
    result = Labels(labels.ids, known, labels.twins)
    if not node.attributes.get_int("keepdims", 1):
        result = result.moved(lambda a: a.squeeze(tuple(reduced)))
    state.mark(node.outputs[0], result)
    return None


def _pool(state: Analysis, node: ir.Node, *, keeps_constants: bool) -> str | None:
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    labels = state.only(labels, 1, f"{label(node)} works on axis 1, but its channels lie elsewhere")
    known = labels.known if keeps_constants else _only_zeros(labels.known)
    state.mark(node.outputs[0], Labels(labels.ids, known, labels.twins))
    return None


def _only_zeros(numbers: Numbers) -> Numbers:
    return np.where(numbers == 0, numbers, np.nan)


def _axes(state: Analysis, node: ir.Node) -> list[int] | None:
    """The axes of a reduction, from attribute or input; empty means all of them; None when they are not constant."""
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        content = state.constant(node.inputs[1])
        return None if content is None else [int(a) for a in content.reshape(-1)]
    return [int(a) for a in node.attributes.get_ints("axes", [])]
