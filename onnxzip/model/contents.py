"""What constants a model holds, and which axes of its interface are dynamic."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterator

import onnx
import onnx_ir as ir

from onnxzip.inspected import Weight
from onnxzip.model.constants import constant
from onnxzip.model.signature import type_text
from onnxzip.model.walk import graphs_of, is_op


def weights_of(model: ir.Model) -> tuple[Weight, ...]:
    """Initializers and Constant nodes of all graphs, largest first."""
    held = tuple(_held(model))
    kinds = Counter(_kind(tensor) for _, tensor in held)
    first: dict[Hashable, str] = {}
    found = []
    for value, tensor in held:
        key = (_kind(tensor), _digest(tensor)) if kinds[_kind(tensor)] > 1 else id(value)  # what is alone is not read
        name = value.name or ""
        original = first.setdefault(key, name)
        found.append(
            Weight(
                name=name,
                type=type_text(onnx.helper.make_tensor_type_proto(tensor.dtype, tensor.shape.numpy())),
                elements=tensor.size,
                bytes=_bytes(tensor),
                readers=len({use.node for use in value.uses()}),
                copy_of=original if original != name else None,
            )
        )
    return tuple(sorted(found, key=lambda w: (-w.bytes, w.name)))


def types_of(weights: tuple[Weight, ...]) -> dict[str, int]:
    """Bytes of constants by element type, largest first."""
    totals: Counter[str] = Counter()
    for weight in weights:
        totals[weight.type.partition("[")[0]] += weight.bytes
    return dict(totals.most_common())


def dynamic_axes(model: ir.Model) -> dict[str, tuple[str, ...]]:
    """Names of dynamic axes, and where they are: `input[0]`. Axes without a name are under `?`."""
    found: dict[str, list[str]] = {}
    for value in (*model.graph.inputs, *model.graph.outputs):
        for axis, size in enumerate(value.shape or ()):
            if isinstance(size, ir.SymbolicDim):
                found.setdefault(size.value or "?", []).append(f"{value.name}[{axis}]")
    return {name: tuple(places) for name, places in found.items()}


def _held(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in graphs_of(model):
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value
        for node in graph:
            if is_op(node, "Constant") and (tensor := constant(node.outputs[0])) is not None:
                yield node.outputs[0], tensor


def _kind(tensor: ir.TensorProtocol) -> Hashable:
    return int(tensor.dtype), tuple(tensor.shape.numpy())


def _digest(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return repr(tensor.numpy().tolist()).encode()
    return hashlib.blake2b(tensor.tobytes(), digest_size=16).digest()


def _bytes(tensor: ir.TensorProtocol) -> int:
    if tensor.dtype == ir.DataType.STRING:
        return sum(len(text) for text in tensor.numpy().reshape(-1).tolist())
    return tensor.nbytes
