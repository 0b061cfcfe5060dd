"""Whether the tensors of a file hold what they claim: checked before any memory is taken for them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError

_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


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
