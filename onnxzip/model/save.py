"""Writing a model: to `onnx.ModelProto`, and to a file, atomically.

A file is written in full under a temporary name in the same folder, flushed to disk, and moved over the target in one
step; whoever kills the process leaves the old file or the new one. External data goes to a file whose name carries the
digest of its content, so that the old model keeps its old data until the very moment the new model replaces it, and two
writers cannot mix. Data files of earlier versions are never deleted: a model that was renamed or copied may still read them.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.files import replacing
from onnxzip.model.proto import WeightRule, as_they_are, inline, model_proto
from onnxzip.model.walk import graphs_of

INTERFACE = "onnxzip.interface"
PROTOBUF_LIMIT = 2**31 - 2**20
"""Bytes above which weights must live outside the protobuf (its limit is 2 GiB; some room is left for the graph)."""

EXTERNAL_THRESHOLD = 1024
"""Tensors below this many bytes stay inside the model file even when the rest is external."""


@dataclass(frozen=True)
class Interface:
    """Inputs and outputs of a graph exactly as its exporter wrote them, map types and denotations included."""

    inputs: tuple[onnx.ValueInfoProto, ...]
    outputs: tuple[onnx.ValueInfoProto, ...]

    @classmethod
    def of(cls, model: ir.Model) -> Interface:
        """The interface of a model that came from memory."""
        graph = model.graph
        return cls(*(tuple(map(ir.serde.serialize_value, values)) for values in (graph.inputs, graph.outputs)))


def model_bytes(model: ir.Model) -> int:
    """Size in bytes of the model as one file with its weights inside. Large weights are counted, not serialized."""
    rest, weights = _apart(model)
    graph, added = int(rest.graph.ByteSize()), sum(_tensor_bytes(t, name) for name, t in weights)
    return int(rest.ByteSize()) + added + _varint_bytes(graph + added) - _varint_bytes(graph)


def model_digest(model: ir.Model) -> str:
    """SHA-256 of a model in memory, weights included, first 16 hexadecimal digits. Equal for equal models."""
    rest, weights = _apart(model)
    digest = hashlib.sha256(rest.SerializeToString(deterministic=True))
    for _, tensor in weights:
        digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]


def _apart(model: ir.Model) -> tuple[onnx.ModelProto, list[tuple[str, ir.TensorProtocol]]]:
    """The model without its large weights, and these, each with its name."""
    weights: list[tuple[str, ir.TensorProtocol]] = []

    def set_aside(value: ir.Value, tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
        if not isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= EXTERNAL_THRESHOLD:
            return tensor
        weights.append((value.name or "", tensor))
        return None

    return to_shallow_proto(model, set_aside), weights


def _tensor_bytes(tensor: ir.TensorProtocol, name: str) -> int:
    """Bytes of a tensor inside a protobuf: its content, its header, and the two lengths before them."""
    if isinstance(tensor, ir.TensorProtoTensor) and not tensor.raw.HasField("raw_data"):
        size = int(tensor.raw.ByteSize()) + _text_bytes(name) - _text_bytes(tensor.raw.name)
    else:
        header = onnx.TensorProto(name=name, data_type=tensor.dtype, dims=tensor.shape.numpy())
        size = int(header.ByteSize()) + 1 + _varint_bytes(tensor.nbytes) + tensor.nbytes
    return 1 + _varint_bytes(size) + size


def _text_bytes(text: str) -> int:
    size = len(text.encode())
    return 1 + _varint_bytes(size) + size if size else 0


def _varint_bytes(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as protobuf, weights inline.

    Raises:
        ModelError: it would be larger than protobuf's 2 GiB.
    """
    if (size := model_bytes(model)) > PROTOBUF_LIMIT:
        raise ModelError(
            f"the model is {size / 2**30:.1f} GiB, above protobuf's 2 GiB: save it to a file instead, its weights go to external data"
        )
    return to_shallow_proto(model, inline)


def save(model: ir.Model, path: str | os.PathLike[str], *, external: bool = False) -> tuple[Path, ...]:
    """Write `model` to `path`, atomically; weights go to a file beside it when `external` or when they exceed 2 GiB.

    Returns:
        The files that were written, model first.

    Raises:
        ModelError: the folder does not exist or cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ModelError(f"{target}: the folder {target.parent} does not exist. Create it first.")
    if target.is_dir():
        raise ModelError(f"{target}: this is a folder. Give the name of the file to write.")
    try:
        if external or model_bytes(model) > PROTOBUF_LIMIT:
            return _save_external(model, target)
        with replacing(target) as temporary:
            temporary.write_bytes(to_proto(model).SerializeToString(deterministic=True))
        return (target,)
    except OSError as error:
        raise ModelError(
            f"{target}: cannot be written ({error.strerror or error}). Check the permissions and the free space of {target.parent}."
        ) from error


def _save_external(model: ir.Model, target: Path) -> tuple[Path, ...]:
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        data = Path(folder) / "data"
        copy = ir.external_data.unload_from_model(
            _inlined(model, below=EXTERNAL_THRESHOLD), folder, data.name, size_threshold_bytes=EXTERNAL_THRESHOLD
        )
        if not data.exists():
            with replacing(target) as temporary:
                temporary.write_bytes(to_proto(model).SerializeToString(deterministic=True))
            return (target,)
        with data.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
            os.fsync(file.fileno())
        final = target.with_name(f"{target.name}.{digest}.data")
        proto = to_shallow_proto(copy)
        for tensor in external_protos(proto.graph):
            next(e for e in tensor.external_data if e.key == "location").value = final.name
        new = not final.exists()
        data.replace(final)
        try:
            with replacing(target) as temporary:
                temporary.write_bytes(proto.SerializeToString(deterministic=True))
        except BaseException:  # Ctrl-C too: data without its model is of no use to anybody
            if new:
                final.unlink(missing_ok=True)
            raise
    return target, final


def to_shallow_proto(model: ir.Model, weights: WeightRule = as_they_are) -> onnx.ModelProto:
    """The model as protobuf, each weight as the rule says. Inputs and outputs are written exactly as they were read."""
    proto = model_proto(model, weights)
    interface = model.graph.meta.get(INTERFACE)
    if isinstance(interface, Interface):
        for values, originals in ((proto.graph.input, interface.inputs), (proto.graph.output, interface.outputs)):
            verbatim = {v.name: v for v in originals}
            for value in values:
                if value.name in verbatim:
                    value.CopyFrom(verbatim[value.name])
    return proto


def _inlined(model: ir.Model, below: int) -> ir.Model:
    """A copy whose external weights of up to `below` bytes count as tensors in memory."""
    copy = model.clone()
    for graph in graphs_of(copy):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.nbytes <= below:
                value.const_value = inline(value, tensor)
    return copy


def external_protos(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """The initializers of a graph and of the bodies in it whose weights are in another file."""
    yield from (t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
    for body in _bodies(graph):
        yield from external_protos(body)


def _bodies(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
            yield from attribute.graphs
