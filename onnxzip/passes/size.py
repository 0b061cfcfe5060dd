"""Bytes in the file: what a tensor or a node costs. Estimates err on the side of leaving things alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.model.constants import constant


def tensor_bytes(dtype: ir.DataType, shape: Iterable[int], name: str = "") -> int:
    """Bytes of an initializer: content, dimensions, type, name and lengths."""
    sizes = tuple(shape)
    content = math.ceil(math.prod(sizes) * dtype.itemsize)
    return content + len(name.encode()) + sum(_varint(d) + 1 for d in sizes) + 2 * _varint(content) + 6


def node_bytes(node: ir.Node) -> int:
    """Bytes of a node, its attributes included."""
    return int(ir.to_proto(node).ByteSize())


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
