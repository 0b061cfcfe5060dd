"""The interface of a model as a value that can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onnxzip.model.save import INTERFACE, Interface


@dataclass(frozen=True)
class Slot:
    """One input or output: its name, and its type with symbolic axes as text, such as `float32[N,3,224,224]`."""

    name: str
    type: str

    def __str__(self) -> str:
        return f"{self.name}: {self.type}"


@dataclass(frozen=True)
class Signature:
    """Inputs, overridable defaults and outputs, in order. Equal signatures are interchangeable for a caller."""

    inputs: tuple[Slot, ...]
    defaults: tuple[Slot, ...]
    outputs: tuple[Slot, ...]


def signature(model: ir.Model) -> Signature:
    """The signature of a model. Inputs that have an initializer are `defaults`: the caller may leave them out."""
    graph, stored = model.graph, model.graph.meta.get(INTERFACE)
    interface = stored if isinstance(stored, Interface) else Interface.of(model)
    inputs = {v.name: _slot(v) for v in interface.inputs}
    outputs = {v.name: _slot(v) for v in interface.outputs}
    return Signature(
        inputs=tuple(inputs[v.name] for v in graph.inputs if v.name in inputs and v.name not in graph.initializers),
        defaults=tuple(inputs[v.name] for v in graph.inputs if v.name in inputs and v.name in graph.initializers),
        outputs=tuple(outputs.get(v.name or "", Slot(v.name or "", "?")) for v in graph.outputs),
    )


def differences(before: Signature, after: Signature) -> tuple[str, ...]:
    """What a caller of `before` would trip over in `after`, one sentence each; empty when they are equal."""
    found: list[str] = []
    for kind in ("inputs", "defaults", "outputs"):
        old, new = getattr(before, kind), getattr(after, kind)
        if old == new:
            continue
        word = {"inputs": "input", "defaults": "overridable default", "outputs": "output"}[kind]
        found += [f"{word} {slot} is gone or changed" for slot in old if slot not in new]
        found += [f"{word} {slot} is new" for slot in new if slot not in old]
        if set(old) == set(new):
            found.append(f"the order of the {kind} changed")
    return tuple(found)


def _slot(value: onnx.ValueInfoProto) -> Slot:
    return Slot(value.name, type_text(value.type))


def type_text(kind: onnx.TypeProto) -> str:
    """A type as text: `float32[batch,3]`, `sequence(map(int64,float32))`.

    >>> type_text(onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["N", 3, None]))
    'float32[N,3,?]'
    """
    which = kind.WhichOneof("value")
    if which in ("tensor_type", "sparse_tensor_type"):
        tensor = getattr(kind, which)
        name = _dtype_text(tensor.elem_type)
        if not tensor.HasField("shape"):
            return f"{name}[...]"
        return f"{name}[{','.join(_dim_text(d) for d in tensor.shape.dim)}]"
    if which in ("sequence_type", "optional_type"):
        return f"{which.removesuffix('_type')}({type_text(getattr(kind, which).elem_type)})"
    if which == "map_type":
        return f"map({_dtype_text(kind.map_type.key_type)},{type_text(kind.map_type.value_type)})"
    return "?"


def _dtype_text(elem_type: int) -> str:
    names = {"FLOAT": "float32", "DOUBLE": "float64"}
    name: str = onnx.TensorProto.DataType.Name(elem_type)
    return names.get(name, name.lower())


def _dim_text(dim: onnx.TensorShapeProto.Dimension) -> str:
    return str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "?"
