"""Tensors as they come out of a file: checked before any memory is taken for them, and freed from the file.

A parsed protobuf is one block of memory that lives as long as any part of it; and reading the bytes of a tensor copies them,
every time. So each tensor gets memory of its own, once: large ones as arrays, small ones as protobufs of their own (whose
encoding of integers may be shorter than raw bytes, and files must not grow).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.walk import all_nodes, graphs_of

_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


_SMALL = 1024
_PLAIN = frozenset(ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (8, 16, 32, 64)) | {
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.DOUBLE,
    ir.DataType.BOOL,
}


def check_tensors(graph: onnx.GraphProto, name: str) -> None:
    """Refuse tensors whose content is not as long as their type and shape say.

    Raises:
        ModelError: names the first such tensor.
    """
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            continue
        if any(d < 0 for d in tensor.dims) or not _fits(tensor):
            raise ModelError(
                f"{name}: tensor {tensor.name!r} of shape {list(tensor.dims)} does not hold as many elements as it says. "
                "The file is damaged: export or copy it again."
            )


def detach_tensors(model: ir.Model) -> None:
    """Give every tensor of a freshly parsed model memory of its own."""
    for graph in graphs_of(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.TensorProtoTensor):
                value.const_value = _detached(value.const_value)
    for node in all_nodes(model):
        for name, attribute in tuple(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.TensorProtoTensor):
                node.attributes[name] = ir.AttrTensor(name, _detached(attribute.value), doc_string=attribute.doc_string)


def _detached(tensor: ir.TensorProtoTensor) -> ir.TensorProtocol:
    raw = tensor.raw.HasField("raw_data") or len(tensor.raw.float_data) > 0
    if raw and tensor.dtype in _PLAIN and tensor.nbytes > _SMALL:
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string)
    return ir.TensorProtoTensor(onnx.TensorProto.FromString(tensor.raw.SerializeToString()))


def _fits(tensor: onnx.TensorProto) -> bool:
    elements = math.prod(tensor.dims)
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):  # strings have no width; unknown types are for the runtime to refuse
        bits = 0
    if tensor.HasField("raw_data") and bits:
        return bool(len(tensor.raw_data) == (elements * bits + 7) // 8)
    stored = max(len(getattr(tensor, field)) for field in _FIELDS)
    parts = 2 if tensor.data_type in (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128) else 1
    packed = 8 // bits if 0 < bits < 8 else 1
    return bool(stored * packed >= elements if packed > 1 else stored == elements * parts)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(body)
