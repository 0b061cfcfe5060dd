"""Rules for operators that mix or compare along axes: normalizations, Softmax. What lies along those axes goes together, or stays.

1. along the axes that an operator mixes, labels are tied; where they change along others too, what is mixed goes as a whole
   (a head, a group). Where they do not, nothing can go: mean and variance, or the sum of exponentials, would change.
2. the terms of InstanceNormalization and BatchNormalization belong to channels, and are cut with them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.opset import opset_of
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.knowledge import normalized
from onnxzip.prune.labels import Labels
from onnxzip.prune.twins import proportional

_TERMS_A_CHANNEL = 21
"""From this opset on GroupNormalization has one scale a channel; before, one a group."""

_FLATTENS = 13
"""Before this opset Softmax works on all axes from its own on."""


def batch_normalization(state: Analysis, node: ir.Node) -> str | None:
    """BatchNormalization at inference: its four terms are cut with the channels; scale 0 makes a channel constant."""
    if node.attributes.get_int("training_mode", 0):
        return "is in training mode"
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    terms = [state.floats(v) for v in node.inputs[1:5]]
    size = max(labels.ids.shape[1], 1)
    if any(t is None or (size > 1 and t.shape != (size,)) for t in terms):
        return "has terms that are not constant"
    labels = state.only(labels, 1, f"{label(node)} works on axis 1, but its channels lie elsewhere")
    if labels.ids.size == 1:
        return None
    for index in range(1, 5):
        state.cut(node, index, 0, labels.vector)
    scale, offset, mean, variance = (np.asarray(t, np.float64) for t in terms)
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    known = normalized(labels.numbers, [t for t in terms if t is not None], epsilon)
    twins = None
    if labels.twins is not None:
        with np.errstate(all="ignore"):
            slope = scale / np.sqrt(variance + epsilon)
            factor = labels.twins.factor.reshape(-1) * np.abs(slope)
            key = np.stack([np.sign(slope), (offset - slope * mean) / factor], axis=1)
        twins = proportional(state, labels.twins, key, factor)
    state.mark(node.outputs[0], Labels.along(1, labels.rank, labels.vector, known, twins))
    return None


def instance_normalization(state: Analysis, node: ir.Node) -> str | None:
    """InstanceNormalization: scale 0, or an input of 0, leaves the bias."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    scale, bias = (state.floats(v) for v in node.inputs[1:3])
    size = labels.ids.shape[1]
    if scale is None or bias is None or (size > 1 and (scale.shape != (size,) or bias.shape != (size,))):
        return "has terms that are not constant"
    labels = state.only(labels, 1, f"{label(node)} normalizes over its channels")
    if labels.ids.size == 1:
        return None
    state.cut(node, 1, 0, labels.vector)
    state.cut(node, 2, 0, labels.vector)
    known = np.where((labels.numbers == 0) | (scale == 0), bias.astype(np.float64), np.nan)
    state.mark(node.outputs[0], Labels.along(1, labels.rank, labels.vector, known))
    return None


def group_normalization(state: Analysis, node: ir.Node) -> str | None:
    """GroupNormalization: a group goes as a whole."""
    labels, groups = state.of(node.inputs[0]), node.attributes.get_int("num_groups", 1)
    if labels is None:
        return None
    scale, bias = (state.floats(v) for v in node.inputs[1:3])
    size = labels.ids.shape[1]
    wanted = size if opset_of(state.model) >= _TERMS_A_CHANNEL else groups
    if scale is None or bias is None or size % groups or scale.shape != (wanted,) or bias.shape != (wanted,):
        return "has terms that are not constant"
    labels = state.only(labels, 1, f"{label(node)} normalizes over its channels")
    if labels.ids.size == 1:
        return None
    rows = Labels(labels.vector.reshape(groups, -1), np.full((groups, size // groups), np.nan))
    first = state.tie(rows, (1,), f"{label(node)} normalizes over its channels").vector
    if not first.any():
        return None
    ids = np.repeat(first, size // groups)
    state.follow(node, "num_groups", first, lambda keep: np.array(int(keep(first).sum())))
    for index in (1, 2):
        state.cut(node, index, 0, ids if wanted == size else first)
    state.mark(node.outputs[0], Labels.along(1, labels.rank, ids))
    return None


def layer_normalization(state: Analysis, node: ir.Node) -> str | None:
    """LayerNormalization: over its axis and all behind it."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    first = node.attributes.get_int("axis", -1) % labels.rank
    return _mix(state, node, labels, range(first, labels.rank), "normalizes over its channels")


def lp_normalization(state: Analysis, node: ir.Node) -> str | None:
    """LpNormalization: over one axis."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    axis = node.attributes.get_int("axis", -1) % labels.rank
    return _mix(state, node, labels, (axis,), "normalizes over its channels")


def softmax(state: Analysis, node: ir.Node) -> str | None:
    """Softmax, LogSoftmax, Hardmax: over one axis (all axes from it on before opset 13)."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    modern = opset_of(state.model) >= _FLATTENS
    axis = node.attributes.get_int("axis", -1 if modern else 1) % labels.rank
    axes = (axis,) if modern else range(axis, labels.rank)
    return _mix(state, node, labels, axes, "compares its channels with each other")


def _mix(state: Analysis, node: ir.Node, labels: Labels, axes: range | tuple[int, ...], why: str) -> str | None:
    tied = state.tie(labels, axes, f"{label(node)} {why}")
    state.mark(node.outputs[0], Labels(tied.ids, np.full(tied.ids.shape, np.nan)))
    return None
