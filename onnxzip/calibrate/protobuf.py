"""Test sets as the ONNX project stores them: `input_0.pb`, `input_1.pb` ..., one serialized value a file.

A file belongs to the input whose name it carries; where the names are missing or foreign, to the input at its number. Tensors
are `TensorProto`, sequences `SequenceProto`, optionals `OptionalProto`; maps are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message

from onnxzip.errors import DataError
from onnxzip.runtime import TensorSpec

_PROTOS: tuple[tuple[str, type[Message]], ...] = (
    ("seq(", onnx.SequenceProto),
    ("optional(", onnx.OptionalProto),
    ("tensor(", onnx.TensorProto),
)


def read_test_set(folder: Path, inputs: Sequence[TensorSpec], known: frozenset[str]) -> dict[str, Any]:
    """The inputs of one test set by name.

    Raises:
        DataError: a file cannot be read, keeps its data elsewhere, or there are more files than inputs.
    """
    files = {int(found[1]): p for p in folder.glob("input_*.pb") if (found := re.fullmatch(r"input_(\d+)\.pb", p.name))}
    if not files:
        raise DataError(f"{folder}: holds no input_0.pb. Take the folder out, or give it the inputs of a test set.")
    raw = {number: files[number].read_bytes() for number in sorted(files)}
    named = {number: _name(content) for number, content in raw.items()}
    if not set(named.values()) <= known or len(set(named.values())) < len(named):
        if max(files) >= len(inputs):
            raise DataError(
                f"{files[max(files)]}: the model has {len(inputs)} inputs ({', '.join(s.name for s in inputs)}), numbered from 0"
            )
        named = {number: inputs[number].name for number in raw}
    kinds = {s.name: s.type for s in inputs}
    return {name: _value(files[n], raw[n], kinds.get(name, "tensor(")) for n, name in named.items()}


def _name(content: bytes) -> str:
    """The name that a serialized tensor (or sequence, or optional) carries, "" when none can be read."""
    for proto in (onnx.TensorProto, onnx.SequenceProto, onnx.OptionalProto):
        try:
            if name := proto.FromString(content).name:
                return str(name)
        except DecodeError:
            continue
    return ""


def _value(path: Path, content: bytes, kind: str) -> Any:
    proto_type = next((proto for prefix, proto in _PROTOS if kind.startswith(prefix)), None)
    if proto_type is None:
        raise DataError(
            f"{path}: the input is {kind}, for which data cannot be read from files. Pass batches from Python."
        )
    try:
        proto = proto_type.FromString(content)
        _refuse_external(path, proto)
        if isinstance(proto, onnx.SequenceProto):
            return onnx.numpy_helper.to_list(proto)
        if isinstance(proto, onnx.OptionalProto):
            return onnx.numpy_helper.to_optional(proto)
        return onnx.numpy_helper.to_array(proto)
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: is not a readable {kind} ({error}). Store it again with onnx.numpy_helper."
        ) from error


def _refuse_external(path: Path, proto: Any) -> None:
    """No tensor may point to another file: that file could be any on this machine."""
    if isinstance(proto, onnx.TensorProto):
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            raise DataError(f"{path}: keeps its data in another file, which is refused. Store the data inside.")
        return
    if isinstance(proto, onnx.SequenceProto):
        for inner in (*proto.tensor_values, *proto.sequence_values, *proto.optional_values):
            _refuse_external(path, inner)
        return
    for field in ("tensor_value", "sequence_value", "optional_value"):
        if isinstance(proto, onnx.OptionalProto) and proto.HasField(field):
            _refuse_external(path, getattr(proto, field))
