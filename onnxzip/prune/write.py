"""Putting new weights and biases into a model, in place where nothing else reads the old ones, else beside them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model import edit
from onnxzip.model.constants import array, source
from onnxzip.prune.facts import Read, Slot
from onnxzip.prune.labels import Numbers


def put_weights(model: ir.Model, node: ir.Node, read: Read, taps: np.ndarray, names: edit.Names) -> None:
    """Write weights (M, K / groups, taps) the way this kind of layer stores them. ConvTranspose stores them transposed."""
    old = array(source(node.inputs[1]))
    if old is None:
        raise ValueError(f"{node.op_type} {node.name!r} has no constant weights")
    if node.op_type in ("Gemm", "MatMul"):
        taps = taps[:, :, 0].T if read.axis == 0 else taps[:, :, 0]
    elif read.axis == 0:
        taps = taps.swapaxes(0, 1)
    put(model, (node, 1), np.ascontiguousarray(taps.reshape(old.shape)).astype(old.dtype), names)


def put(model: ir.Model, slot: Slot, content: np.ndarray, names: edit.Names) -> None:
    """Let an operand hold this content. Vectors take the shape of the vector that they replace."""
    node, index = slot
    old = node.inputs[index] if index < len(node.inputs) else None
    tensor = None if old is None else old.const_value
    if old is not None and tensor is not None and tensor.size == content.size and _alone(old):
        old.const_value = ir.tensor(content.reshape(tensor.shape.numpy()), name=old.name)
        return
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, edit.add_constant(model.graph, content, names.fresh(f"{node.outputs[0].name}_fit")))
    edit.discard([old])


def held_bias(slot: Slot, count: int) -> Numbers:
    """What a bias slot holds: a number a channel, zeros where it is empty."""
    node, index = slot
    content = array(source(node.inputs[index])) if index < len(node.inputs) else None
    return np.zeros(count) if content is None else np.broadcast_to(content.reshape(-1).astype(np.float64), (count,))


def _alone(value: ir.Value) -> bool:
    return (
        value.is_initializer() and not value.is_graph_input() and len(value.uses()) == 1 and not value.is_graph_output()
    )
