"""The table of rules, one entry an operator, and the walk that applies them.

A rule is `rule(state, node)`: it writes what it knows into the `Analysis` and returns None, or it returns why the channels that the
node reads must stay, having written nothing. An operator that is not in the table freezes what it reads, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import source
from onnxzip.model.opset import opset_of
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import ONNX_DOMAINS, is_op, label
from onnxzip.prune import linear, movement, norms, pointwise, selection, window
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Slot
from onnxzip.prune.labels import Labels

Rule = Callable[[Analysis, ir.Node], str | None]

# fmt: off
_UNARY = (
    "Abs", "Acos", "Asin", "Atan", "Cast", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear", "Elu", "Erf", "Exp", "Floor", "Gelu",
    "HardSigmoid", "HardSwish", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "QuantizeLinear", "Reciprocal", "Relu", "Round",
    "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu",
)
_BROADCAST = (
    "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu",
    "Pow", "Sub", "Sum", "Where", "Xor",
)
# fmt: on

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_UNARY, pointwise.unary),
    **dict.fromkeys(_BROADCAST, pointwise.broadcast),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), norms.softmax),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), linear.recurrent),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), window.reduction),
    **dict.fromkeys(("Flatten", "Squeeze", "Unsqueeze"), movement.flatten),
    **dict.fromkeys(("GlobalAveragePool", "GlobalMaxPool"), window.global_pool),
    **dict.fromkeys(("Resize", "Upsample"), selection.resize),
    "AveragePool": window.average_pool,
    "BatchNormalization": norms.batch_normalization,
    "Concat": movement.concat,
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "DepthToSpace": movement.depth_to_space,
    "Dropout": pointwise.dropout,
    "Expand": movement.expand,
    "Gather": selection.gather,
    "Gemm": linear.gemm,
    "GroupNormalization": norms.group_normalization,
    "Identity": movement.identity,
    "InstanceNormalization": norms.instance_normalization,
    "LayerNormalization": norms.layer_normalization,
    "LpNormalization": norms.lp_normalization,
    "MatMul": linear.matmul,
    "MaxPool": window.max_pool,
    "Pad": selection.pad,
    "Reshape": movement.reshape,
    "Shape": movement.shape,
    "Slice": selection.slice_,
    "SpaceToDepth": movement.space_to_depth,
    "Split": selection.split,
    "Tile": movement.tile,
    "Transpose": movement.transpose,
}

REFUSALS: Mapping[str, str] = {
    "LRN": "normalizes over its channels",
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), "compares its channels with each other"),
}
"""Operators that are known to tie channels down, and how."""

_ONE_OUTPUT = frozenset(RULES) - {"Split", "GRU", "LSTM", "RNN"}
"""Operators whose further outputs, where they are used, are not understood."""

OLDEST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes, and BatchNormalization trains by default."""


def analyse(model: ir.Model, grouped: frozenset[str] = frozenset()) -> Analysis:
    """Label the channels of the main graph. Bodies and local functions are not entered: what they read stays.

    Args:
        model: the model.
        grouped: Convs that are no depthwise ones, whatever they look like.
    """
    state = Analysis(model, Shapes(model), grouped)
    for node in model.graph:
        why = _apply(state, node)
        if why is not None:
            state.freeze_node(node, why)
    for output in model.graph.outputs:
        state.freeze(output, f"graph output {output.name!r} keeps its shape")
    _freeze_captured(state)
    _tie_shared(state)
    return state


def _apply(state: Analysis, node: ir.Node) -> str | None:
    rule = RULES.get(node.op_type) if node.domain in ONNX_DOMAINS else None
    if rule is None:
        return REFUSALS.get(node.op_type, "is not understood")
    if opset_of(state.model) < OLDEST_OPSET:
        return f"is of an opset before {OLDEST_OPSET}"
    if node.op_type in _ONE_OUTPUT and any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return "has further outputs that are used"
    return rule(state, node)


def _freeze_captured(state: Analysis) -> None:
    """What If, Loop and Scan bodies read from outside stays."""
    graph = state.model.graph
    for value in tuple(state.labels):
        reader = next((use.node for use in value.uses() if use.node.graph is not graph), None)
        if reader is not None:
            state.freeze(value, f"{label(reader)} reads it from inside a body")


def _tie_shared(state: Analysis) -> None:
    """Let the readers of one weight shrink it alike.

    1. vectors (biases, BatchNormalization terms) are copied where they must differ: exporters share equal ones by chance.
    2. matrices are tied: labels along the same axis of the same weight are joined.
    3. a matrix that is read where it cannot be cut stays whole.
    """
    for weight, slots in _by_weight(state).items():
        content = state.constant(weight)
        if content is None or content.size == max(content.shape, default=1):
            continue  # 1
        cuts = [{(c.axes, c.groups): c.ids for c in state.cuts[s]} for s in slots]
        if not _only_read_by(state, weight, slots) or any(set(c) != set(cuts[0]) for c in cuts):
            for ids in (i for c in cuts for i in c.values()):
                labels = Labels(ids, np.full(ids.shape, np.nan))
                state.freeze_labels(labels, f"weight {weight.name!r} is also used where it cannot shrink")  # 3
            continue
        for key, ids in cuts[0].items():
            for other in cuts[1:]:
                state.channels.join(ids, other[key], f"weight {weight.name!r} is shared with channels that stay")  # 2


def _by_weight(state: Analysis) -> dict[ir.Value, list[Slot]]:
    found: dict[ir.Value, list[Slot]] = {}
    for node, index in state.cuts:
        root = source(node.inputs[index]) if index < len(node.inputs) else None
        if root is not None:
            found.setdefault(root, []).append((node, index))
    return found


def _only_read_by(state: Analysis, weight: ir.Value, slots: list[Slot]) -> bool:
    """Whether a weight has no other readers than these slots, Identity and DequantizeLinear nodes in between aside."""
    pending, known = [weight], {*slots, *(s for n, _ in slots for s in state.readers.get(n, ()))}
    while pending:
        value = pending.pop()
        if value.is_graph_output():
            return False
        for node, index in value.uses():
            through = is_op(node, "Identity") or (is_op(node, "DequantizeLinear") and (node, index) in known)
            if through:
                pending.append(node.outputs[0])
            elif (node, index) not in known:
                return False
    return True
