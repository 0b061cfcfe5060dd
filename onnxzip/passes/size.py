"""Bytes in the file: what a tensor or a node costs. Estimates err on the side of leaving things alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.proto import node_proto

_SHORT = 1024
"""Longer lists of integers are data, not shapes, and stay in the form that maps into memory."""


def tensor_bytes(dtype: ir.DataType, shape: Iterable[int], name: str = "") -> int:
    """Bytes of an initializer: content, dimensions, type, name and lengths."""
    sizes = tuple(shape)
    content = math.ceil(math.prod(sizes) * dtype.itemsize)
    return content + len(name.encode()) + sum(_varint(d) + 1 for d in sizes) + 2 * _varint(content) + 6


def compact(array: np.ndarray) -> ir.TensorProtocol:
    """A tensor of this content in the form that takes fewer bytes: small integers (shapes, axes) take one each, not eight."""
    if array.dtype != np.int64 or array.size > _SHORT:
        return ir.tensor(array)
    proto = onnx.TensorProto(data_type=onnx.TensorProto.INT64, dims=array.shape, int64_data=array.reshape(-1).tolist())
    plain = tensor_bytes(ir.DataType.INT64, array.shape)
    return ir.TensorProtoTensor(proto) if int(proto.ByteSize()) + 2 < plain else ir.tensor(array)


def initializer_bytes(tensor: ir.TensorProtocol, name: str) -> int:
    """Bytes of an initializer of this content and name."""
    if isinstance(tensor, ir.TensorProtoTensor):
        return int(tensor.raw.ByteSize()) + len(name.encode()) + 4
    return tensor_bytes(tensor.dtype, tensor.shape.numpy(), name)


def node_bytes(node: ir.Node) -> int:
    """Bytes of a node in its graph, its attributes included."""
    content = int(node_proto(node).ByteSize())
    return content + _varint(content) + 1


def constant_bytes(value: ir.Value) -> int:
    """Bytes that go when nobody reads this constant any more (integers may be stored in fewer bytes than they need later)."""
    tensor = constant(value)
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return 0
    if isinstance(tensor, ir.TensorProtoTensor):
        return int(tensor.raw.ByteSize())
    return tensor_bytes(tensor.dtype, tensor.shape.numpy(), value.name or "")


def _varint(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)
