"""The table of rules, one entry an operator, and the walk that applies them.

A rule is `rule(state, node)`: it writes what it knows into the `Analysis` and returns None, or it returns why the channels that the
node reads must stay, having written nothing. An operator that is not in the table freezes what it reads, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxzip.model.opset import opset_of
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import ONNX_DOMAINS, label
from onnxzip.prune import linear, movement, pointwise, window
from onnxzip.prune.analysis import Analysis, Slot, source

Rule = Callable[[Analysis, ir.Node], str | None]

# fmt: off
_UNARY = (
    "Abs", "Cast", "Celu", "Clip", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg",
    "Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu",
)
_BROADCAST = ("Add", "Div", "Max", "Mean", "Min", "Mul", "PRelu", "Pow", "Sub", "Sum")
# fmt: on

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_UNARY, pointwise.unary),
    **dict.fromkeys(_BROADCAST, pointwise.broadcast),
    "AveragePool": window.average_pool,
    "BatchNormalization": window.batch_normalization,
    "Concat": movement.concat,
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "Dropout": pointwise.dropout,
    "Flatten": movement.flatten,
    "Gemm": linear.gemm,
    "GlobalAveragePool": window.global_pool,
    "GlobalMaxPool": window.global_pool,
    "Identity": movement.identity,
    "MatMul": linear.matmul,
    "MaxPool": window.max_pool,
    "ReduceMax": window.reduction,
    "ReduceMean": window.reduction,
    "ReduceMin": window.reduction,
    "ReduceSum": window.reduction,
    "Reshape": movement.reshape,
    "Shape": movement.shape,
    "Squeeze": movement.flatten,
    "Transpose": movement.transpose,
    "Unsqueeze": movement.flatten,
}

REFUSALS: Mapping[str, str] = {
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "is recurrent, which is not supported yet"),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), "compares its channels with each other"),
    **dict.fromkeys(
        ("GroupNormalization", "LayerNormalization", "LRN", "LpNormalization"), "normalizes over its channels"
    ),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "is quantization, which is not supported yet"),
}
"""Operators that are known to tie channels down, and how."""

OLDEST_OPSET = 7
"""Before it, elementwise operators broadcast by attributes, and BatchNormalization trains by default."""


def analyse(model: ir.Model) -> Analysis:
    """Label the channels of the main graph. Bodies and local functions are not entered: what they read stays."""
    state = Analysis(model, Shapes(model))
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
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
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
        cuts = [state.cuts[s] for s in slots]
        if not _only_read_by(weight, slots) or any(set(c) != set(cuts[0]) for c in cuts):
            for value in dict.fromkeys(v for node, _ in slots for v in (*node.inputs, *node.outputs)):
                state.freeze(value, f"weight {weight.name!r} is also used where it cannot shrink")  # 3
            continue
        for axis, ids in cuts[0].items():
            for other in cuts[1:]:
                state.channels.join(ids, other[axis], f"weight {weight.name!r} is shared with channels that stay")  # 2


def _by_weight(state: Analysis) -> dict[ir.Value, list[Slot]]:
    found: dict[ir.Value, list[Slot]] = {}
    for node, index in state.cuts:
        root = source(node.inputs[index]) if index < len(node.inputs) else None
        if root is not None:
            found.setdefault(root, []).append((node, index))
    return found


def _only_read_by(weight: ir.Value, slots: list[Slot]) -> bool:
    """Whether a weight has no other readers than these slots, Identity nodes in between aside."""
    pending, known = [weight], set(slots)
    while pending:
        value = pending.pop()
        if value.is_graph_output():
            return False
        for node, index in value.uses():
            if source(node.outputs[0]) is weight:
                pending.append(node.outputs[0])
            elif (node, index) not in known:
                return False
    return True
