"""Loading a model without losing anything.

What `onnx_ir` would drop or cannot express is refused by name (training info, sparse initializers) or kept beside the
graph (the exact text of inputs and outputs, which may hold map types). External data is checked before it is mapped:
inside the model's folder, and long enough. The file is only ever opened for reading.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError

from onnxzip.errors import ModelError, first_line, root_cause
from onnxzip.model.defaults import free_weights
from onnxzip.model.proto import without_map_types
from onnxzip.model.save import INTERFACE, Interface, external_protos, model_bytes, model_digest
from onnxzip.model.tensors import check_tensors, detach_tensors
from onnxzip.model.walk import all_nodes, graphs_of

_LONGEST_NAME = 1024

_UNREADABLE = (
    DecodeError,
    json_format.ParseError,
    text_format.ParseError,
    onnx.parser.ParseError,
    ValueError,
    UnicodeDecodeError,
    OSError,
)
"""What onnx raises for a file that is no model; the format, text ones included, goes by the name."""


@dataclass(frozen=True)
class Loaded:
    """A model and where it came from.

    Attributes:
        model: the graph; the caller's object is never touched.
        name: path, or the graph's name, for messages.
        path: the file, or None when the model came from memory.
        bytes: size of the file and its external data (of the serialized model when it came from memory).
        digest: SHA-256 over the file and its external data (over the graph and its weights when from memory), first 16
            hexadecimal digits.
        external: some weights live in external data files.
        notes: what was understood in a special way.
        files: the file and its external data.
    """

    model: ir.Model
    name: str
    path: Path | None
    bytes: int
    digest: str
    external: bool
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def load(source: Any, *, keep_defaults: bool = False) -> Loaded:
    """Load a path, `onnx.ModelProto`, `onnx_ir.Model` or torch `ONNXProgram`.

    Args:
        source: the model. Objects are copied (weights are shared), files are mapped.
        keep_defaults: leave initializers that are also inputs as overridable defaults, even when all of them are.

    Raises:
        ModelError: the file is missing, truncated, not ONNX, or holds what cannot be represented.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        proto = _read(path)
        model = _to_ir(proto, str(path), base=path.parent)
        external = _check_external(model, path)
        files = [path, *sorted(external)]
        digest, size = _digest_of_files(files), sum(p.stat().st_size for p in files)
        name = str(path)
    else:
        path, name = None, "model in memory"
        given = _proto_of(source)
        model = _copy(source) if given is None else _to_ir(given, name, base=None)
        external = {Path(t.path) for t in _external_tensors(model)}
        files = sorted(external)
        size = model_bytes(model) if given is None else given.ByteSize()
        digest = model_digest(model)
    notes = () if keep_defaults else free_weights(model)
    return Loaded(model, name, path, size, digest, bool(external), notes, tuple(files))


def external_files(path: Path) -> frozenset[Path]:
    """Where a model file keeps weights outside of itself, resolved; the weights are not read. Empty where it is no readable model."""
    try:
        graph = _read(path).graph
    except ModelError:
        return frozenset()
    entries = (e for t in external_protos(graph) for e in t.external_data)
    return frozenset((path.parent / e.value).resolve() for e in entries if e.key == "location" and "\0" not in e.value)


def _read(path: Path) -> onnx.ModelProto:
    if not path.exists():
        raise ModelError(f"{path}: there is no such file. Give the path of an ONNX model.")
    if path.is_dir():
        raise ModelError(f"{path}: this is a folder. Give the path of the .onnx file inside it.")
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except _UNREADABLE as error:
        raise ModelError(
            f"{path}: this is not a readable ONNX model ({first_line(error)}). It may be truncated or of another format: export or copy it again."
        ) from error
    if not proto.HasField("graph"):
        raise ModelError(
            f"{path}: the file holds no ONNX graph. It may be empty, truncated or of another format: export or copy it again."
        )
    return proto


def _proto_of(source: Any) -> onnx.ModelProto | None:
    if isinstance(source, onnx.ModelProto):
        if not source.HasField("graph"):
            raise ModelError("the ModelProto holds no graph")
        return source
    if isinstance(source, (bytes, bytearray)):
        raise ModelError(
            "a model is a path, an onnx.ModelProto, an onnx_ir.Model or a torch ONNXProgram; for bytes use onnx.ModelProto.FromString(...)"
        )
    return None


def _copy(source: Any) -> ir.Model:
    """A copy of an `onnx_ir.Model`, or of the one inside a torch `ONNXProgram`. Tensors are shared: they are immutable."""
    model = source if isinstance(source, ir.Model) else getattr(source, "model", None)
    if not isinstance(model, ir.Model):
        raise ModelError(
            f"a model is a path, an onnx.ModelProto, an onnx_ir.Model or a torch ONNXProgram, not {type(source).__name__}"
        )
    model = model.clone()
    model.graph.meta[INTERFACE] = Interface.of(model)
    return model


def _to_ir(proto: onnx.ModelProto, name: str, base: Path | None) -> ir.Model:
    _refuse_what_would_be_lost(proto, name)
    check_tensors(proto.graph, name)
    interface = Interface(_detached(proto.graph.input), _detached(proto.graph.output))
    try:
        model = ir.from_proto(without_map_types(proto))
    except Exception as error:  # onnx_ir raises many types here; each means that the file is not a valid graph
        raise ModelError(
            f"{name}: the graph is not valid ONNX ({first_line(root_cause(error))}). onnx.checker.check_model may tell more."
        ) from error
    model.graph.meta[INTERFACE] = interface
    given = set(_node_names(proto))
    for node in all_nodes(model):
        if node.name not in given:  # onnx_ir invents names; nameless nodes stay nameless, so that files do not grow
            node.name = ""
    detach_tensors(model)
    _sort(model, name)
    if base is not None:
        for graph in graphs_of(model):
            ir.external_data.set_base_dir(graph, base)
    elif any(True for _ in _external_tensors(model)):
        raise ModelError(
            f"{name}: the weights are in external files. Give the path of the model instead, or load it with its data: onnx.load(path)."
        )
    return model


def _refuse_what_would_be_lost(proto: onnx.ModelProto, name: str) -> None:
    if len(proto.training_info):
        raise ModelError(
            f"{name}: the model carries training_info, which would be lost. Export it for inference (or clear the field) first."
        )
    graphs = [proto.graph]
    while graphs:
        graph = graphs.pop()
        if len(graph.sparse_initializer):
            raise ModelError(
                f"{name}: sparse_initializer {graph.sparse_initializer[0].values.name!r} is not supported and would be lost. Store it dense first."
            )
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type in (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS):
                    raise ModelError(
                        f"{name}: attribute {attribute.name!r} of {node.op_type} {node.name or node.output[0]!r} is a sparse tensor, which is not supported. Store it dense first."
                    )
                graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)


def _node_names(proto: onnx.ModelProto) -> Iterator[str]:
    pending = [*proto.graph.node, *(n for f in proto.functions for n in f.node)]
    while pending:
        node = pending.pop()
        yield node.name
        for attribute in node.attribute:
            for graph in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                pending.extend(graph.node)


def _detached(values: Iterable[onnx.ValueInfoProto]) -> tuple[onnx.ValueInfoProto, ...]:
    """Copies that do not keep the whole file in memory, as any part of a parsed protobuf does."""
    return tuple(onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in values)


def _sort(model: ir.Model, name: str) -> None:
    """Put nodes after what they read: some exporters do not, and all that follows relies on it."""
    try:
        model.graph.sort()
        for function in model.functions.values():
            function.sort()
    except ValueError as error:
        raise ModelError(f"{name}: the graph has a cycle, so it is not valid ONNX. Export it again.") from error


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in graphs_of(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
    for node in all_nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                yield attribute.value


def _check_external(model: ir.Model, path: Path) -> set[Path]:
    """The external data files of a model, each checked: inside the folder, present, long enough, of the right length."""
    folder, found = path.parent.resolve(), set()
    for tensor in _external_tensors(model):
        file = folder / tensor.location
        if "\0" in str(tensor.location) or len(str(tensor.location)) > _LONGEST_NAME:
            raise ModelError(
                f"{path}: tensor {tensor.name!r} names an external data file that cannot exist. The file is damaged: export or copy it again."
            )
        if not file.resolve().is_relative_to(folder):
            raise ModelError(
                f"{path}: tensor {tensor.name!r} reads {str(tensor.location)!r}, outside of the model's folder. This is refused: move the data beside the model."
            )
        if file.is_file() and file.stat().st_nlink > 1:
            raise ModelError(
                f"{path}: external data {str(tensor.location)!r} has several hard links, so that others could change it; onnx-ir refuses that. Copy it."
            )
        if not file.is_file():
            raise ModelError(
                f"{path}: tensor {tensor.name!r} needs the external data file {str(tensor.location)!r}, which is not there. Copy it beside the model."
            )
        offset, length = tensor.offset or 0, tensor.nbytes
        if (
            offset < 0
            or (tensor.length is not None and tensor.length != length)
            or file.stat().st_size < offset + length
        ):
            raise ModelError(
                f"{path}: external data {str(tensor.location)!r} does not hold the {length} bytes of tensor {tensor.name!r} at offset {offset}. The file is truncated or of another model: copy it again."
            )
        found.add(file)
    return found


def _digest_of_files(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
