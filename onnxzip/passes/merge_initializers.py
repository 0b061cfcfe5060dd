"""Equal constants are stored once.

Exact: equal means the same type, the same shape and the same bytes, so that 0.0 and -0.0 stay apart and NaN equals
itself. A body may read the constant of a graph around it; what both
branches of an If hold moves into the graph around them. Tensors are compared only where type, shape and hash agree.
Left alone: graph inputs and outputs, whose names are interface; initializers that nobody reads (`remove_dead`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import Names
from onnxzip.model.walk import bodies_of, is_op
from onnxzip.passes.context import Context, Outcome

_CHUNK = 2**20


def merge_initializers(model: ir.Model, context: Context) -> Outcome:
    """Let all readers of equal initializers read the first of them."""
    counts: dict[Hashable, int] = {}
    _count(model.graph, counts)
    return Outcome(_merge(model.graph, [], counts) + _share(model.graph, context.names))


def _count(graph: ir.Graph, counts: dict[Hashable, int]) -> None:
    """How many constants there are of each type and shape: a tensor that is alone with its own is never read."""
    for value in graph.initializers.values():
        if value.const_value is not None:
            kind = _kind(value.const_value)
            counts[kind] = counts.get(kind, 0) + 1
    for node in graph:
        for body in bodies_of(node):
            _count(body, counts)


def _merge(graph: ir.Graph, outer: list[dict[Hashable, list[ir.Value]]], counts: dict[Hashable, int]) -> int:
    seen: dict[Hashable, list[ir.Value]] = {}
    changes = 0
    for name, value in tuple(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or not value.uses() or value.is_graph_input() or value.is_graph_output():
            continue
        if counts[_kind(tensor)] < 2:
            continue
        key = (_kind(tensor), _digest(tensor))
        first = _find(tensor, [v for table in (*outer, seen) for v in table.get(key, ())])
        if first is None:
            seen.setdefault(key, []).append(value)
            continue
        for node, index in tuple(value.uses()):
            node.replace_input_with(index, first)
        del graph.initializers[name]
        changes += 1
    for node in graph:
        for body in bodies_of(node):
            changes += _merge(body, [*outer, seen], counts)
    return changes


def _share(graph: ir.Graph, names: Names) -> int:
    """Bring constants that both branches of an If hold into the graph around it, inner Ifs first."""
    changes = 0
    for node in graph:
        bodies = bodies_of(node)
        changes += sum(_share(body, names) for body in bodies)
        if is_op(node, "If"):
            changes += _bring_out(graph, bodies[0], bodies[1], names)
    return changes


def _bring_out(graph: ir.Graph, first: ir.Graph, second: ir.Graph, names: Names) -> int:
    there: dict[Hashable, list[ir.Value]] = {}
    for value in first.initializers.values():
        if _is_inner(value) and value.const_value is not None:
            there.setdefault(_kind(value.const_value), []).append(value)
    changes = 0
    for name, value in tuple(second.initializers.items()):
        tensor = value.const_value
        found = _find(tensor, there.get(_kind(tensor), [])) if _is_inner(value) and tensor is not None else None
        if found is None:
            continue
        for node, index in tuple(value.uses()):
            node.replace_input_with(index, found)
        del second.initializers[name]
        if found.graph is first:
            del first.initializers[found.name or ""]
            if not names.is_unique(found.name or ""):
                found.name = names.fresh(found.name or "constant")
            graph.register_initializer(found)
        changes += 1
    return changes


def _is_inner(value: ir.Value) -> bool:
    return bool(value.uses()) and not value.is_graph_input() and not value.is_graph_output()


def _find(tensor: ir.TensorProtocol, candidates: list[ir.Value]) -> ir.Value | None:
    for value in candidates:
        held = value.const_value
        if held is tensor or (held is not None and _equal(held, tensor)):
            return value
    return None


def _equal(first: ir.TensorProtocol, second: ir.TensorProtocol) -> bool:
    if first.dtype == ir.DataType.STRING:
        return bool(np.array_equal(first.numpy(), second.numpy()))
    one, two = _bytes(first), _bytes(second)
    return all(
        np.array_equal(one[start : start + _CHUNK], two[start : start + _CHUNK]) for start in range(0, len(one), _CHUNK)
    )


def _digest(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return hashlib.sha256(repr(tensor.numpy().tolist()).encode()).digest()
    content, digest = _bytes(tensor), hashlib.blake2b(digest_size=16)
    for start in range(0, len(content), _CHUNK):
        digest.update(content[start : start + _CHUNK].tobytes())
    return digest.digest()


def _bytes(tensor: ir.TensorProtocol) -> np.ndarray:
    """The content as bytes, without a copy where the tensor allows it (external data stays mapped)."""
    content = tensor.numpy()
    if content.dtype.itemsize * 8 == tensor.dtype.bitwidth:
        return np.ascontiguousarray(content).reshape(-1).view(np.uint8)
    return np.frombuffer(tensor.tobytes(), np.uint8)


def _kind(tensor: ir.TensorProtocol) -> Hashable:
    return (int(tensor.dtype), tuple(tensor.shape.numpy()))
