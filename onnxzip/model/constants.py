"""Which values are constants, and what they hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import graphs_of, is_op

_CONSTANT_ATTRIBUTES = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor behind a value that no caller can change: an initializer that is not an input, or a Constant node."""
    if value is None:
        return None
    if value.is_initializer():
        return None if value.is_graph_input() else value.const_value
    node = value.producer()
    if node is None or not is_op(node, "Constant"):
        return None
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return attribute.as_tensor()
        if name in _CONSTANT_ATTRIBUTES:
            return ir.tensor(np.asarray(attribute.value, _CONSTANT_ATTRIBUTES[name]))
    return None


def source(value: ir.Value | None) -> ir.Value | None:
    """The value behind Identity nodes (exporters share equal weights through them)."""
    while value is not None and is_op(value.producer(), "Identity"):
        node = value.producer()
        value = None if node is None else node.inputs[0]
    return value


def array(value: ir.Value | None) -> np.ndarray | None:
    """The constant as a numpy array (do not write into it), or None when the value is not constant."""
    tensor = constant(value)
    return None if tensor is None else tensor.numpy()


def scalar(value: ir.Value | None) -> float | int | bool | None:
    """The constant as a Python number when it holds exactly one element, else None."""
    tensor = constant(value)
    if tensor is None or tensor.size != 1 or tensor.dtype == ir.DataType.STRING:
        return None
    number: float | int | bool = tensor.numpy().reshape(()).item()
    return number


def parameters(model: ir.Model) -> int:
    """Number of weights: elements of all float and quantized tensors held by the model, tied tensors counted once."""
    return sum(t.size for t in _tensors(model))


def _tensors(model: ir.Model) -> Iterable[ir.TensorProtocol]:
    seen: dict[int, ir.TensorProtocol] = {}
    for graph in graphs_of(model):
        held = [v.const_value for v in graph.initializers.values()]
        held += [constant(n.outputs[0]) for n in graph if is_op(n, "Constant")]
        for tensor in held:
            if tensor is not None and tensor.dtype not in (ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING):
                seen[id(tensor)] = tensor
    return seen.values()
