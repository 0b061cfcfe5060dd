"""A graph as protobuf, without a copy of it in between.

`ir.to_proto` writes everything a model holds. Much here wants less: its size, a session that reads the weights where they
are, the types of its values. So what becomes of each weight, and which values are declared, is the caller's choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx
import onnx_ir as ir

WeightRule = Callable[[ir.Value, ir.TensorProtocol], ir.TensorProtocol | None]
"""Which tensor is written for an initializer; None: none at all."""

TypeRule = Callable[[ir.Value], tuple[ir.TypeProtocol | None, ir.Shape | None]]
"""What is declared of a value. With such a rule, weights that are not written are declared in their place."""

_ANNOTATION = "quant_parameter_tensor_names"
"""Where `onnx_ir` keeps what an exporter says about the quantization of a value."""


def as_they_are(value: ir.Value, tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
    """Weights are written as they are held: external ones stay references."""
    return tensor


def inline(value: ir.Value, tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
    """All weights are written into the protobuf."""
    if isinstance(tensor, ir.ExternalTensor):
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
    return tensor


def model_proto(model: ir.Model, weights: WeightRule = as_they_are, types: TypeRule | None = None) -> onnx.ModelProto:
    """The model as protobuf. The type of an initializer is not declared: its tensor says it.

    Args:
        model: the model.
        weights: what is written for each initializer, bodies included (not in functions, which have none).
        types: what is declared of each value, inputs and outputs included; None: all that is known, as exporters do.
    """
    rest = ir.Graph((), (), nodes=(), opset_imports=dict(model.graph.opset_imports))
    shell = ir.Model(
        rest,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        domain=model.domain,
        model_version=model.model_version,
        doc_string=model.doc_string,
        functions=tuple(model.functions.values()),
        metadata_props=dict(model.metadata_props),
        device_configurations=model.device_configurations,
    )
    proto = ir.to_proto(shell)
    for opset in proto.opset_import:
        if not opset.domain:
            opset.ClearField("domain")
    _Writer(weights, types).graph(proto.graph, model.graph)
    return proto


def node_proto(node: ir.Node) -> onnx.NodeProto:
    """One node as protobuf, its bodies included."""
    proto = onnx.NodeProto()
    _Writer(as_they_are, None).node(proto, node)
    return proto


class _Writer:
    """Writes graphs and the bodies inside them."""

    def __init__(self, weights: WeightRule, types: TypeRule | None) -> None:
        self._weights = weights
        self._types = types

    def graph(self, proto: onnx.GraphProto, graph: ir.Graph) -> None:
        if graph.name:
            proto.name = graph.name
        if graph.doc_string:
            proto.doc_string = graph.doc_string
        if graph.metadata_props:
            _entries(proto.metadata_props, graph.metadata_props)
        for value in graph.inputs:
            self._value(proto.input.add(), value)
            if not value.is_initializer():
                _annotate(proto, value)
        for value in graph.initializers.values():
            self._initializer(proto, value)
        for node in graph:
            self.node(proto.node.add(), node)
            for output in node.outputs:
                if not output.is_graph_output() and output.name:
                    self._inner(proto, output)
        for value in graph.outputs:
            self._value(proto.output.add(), value)
            _annotate(proto, value)

    def node(self, proto: onnx.NodeProto, node: ir.Node) -> None:
        proto.op_type = node.op_type
        if node.domain:
            proto.domain = node.domain
        if node.name:
            proto.name = node.name
        if node.overload:
            proto.overload = node.overload
        if node.doc_string:
            proto.doc_string = node.doc_string
        if node.metadata_props:
            _entries(proto.metadata_props, node.metadata_props)
        proto.input.extend("" if v is None else v.name or "" for v in node.inputs)
        proto.output.extend(_without_trailing([o.name or "" for o in node.outputs]))
        for attribute in node.attributes.values():
            self._attribute(proto.attribute.add(), attribute)
        if node.device_configurations:
            proto.device_configurations.extend(ir.serde.serialize_node(node).device_configurations)

    def _attribute(self, proto: onnx.AttributeProto, attribute: ir.Attr) -> None:
        if attribute.is_ref():
            ir.serde.serialize_reference_attribute_into(proto, attribute)
        elif attribute.type == ir.AttributeType.GRAPH:
            proto.name, proto.type = attribute.name, onnx.AttributeProto.GRAPH
            self.graph(proto.g, attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            proto.name, proto.type = attribute.name, onnx.AttributeProto.GRAPHS
            for body in attribute.as_graphs():
                self.graph(proto.graphs.add(), body)
        else:
            ir.serde.serialize_attribute_into(proto, attribute)

    def _initializer(self, proto: onnx.GraphProto, value: ir.Value) -> None:
        _annotate(proto, value)
        tensor = None if value.const_value is None else self._weights(value, value.const_value)
        if tensor is not None:
            written = proto.initializer.add()
            ir.serde.serialize_tensor_into(written, tensor)
            written.name = value.name or ""  # a tensor may be held under several names
        elif self._types is not None and not value.is_graph_input():
            self._value(proto.value_info.add(), value)

    def _inner(self, proto: onnx.GraphProto, value: ir.Value) -> None:
        _annotate(proto, value)
        kind, shape = (value.type, value.shape) if self._types is None else self._types(value)
        if kind is not None or shape is not None:
            self._value(proto.value_info.add(), value)

    def _value(self, proto: onnx.ValueInfoProto, value: ir.Value) -> None:
        if self._types is None:
            ir.serde.serialize_value_into(proto, value)
            return
        kind, shape = self._types(value)
        proto.name = value.name or ""
        if kind is not None:
            ir.serde.serialize_type_into(proto.type, kind)
            if shape is not None:
                ir.serde.serialize_shape_into(proto.type, shape)


def _annotate(proto: onnx.GraphProto, value: ir.Value) -> None:
    if names := value.meta.get(_ANNOTATION):
        _entries(proto.quantization_annotation.add(tensor_name=value.name).quant_parameter_tensor_names, names)


def _entries(proto: Iterable[onnx.StringStringEntryProto], texts: Mapping[str, str]) -> None:
    proto.extend(onnx.StringStringEntryProto(key=key, value=texts[key]) for key in sorted(texts))  # type: ignore[attr-defined]


def _without_trailing(names: list[str]) -> list[str]:
    while names and not names[-1]:
        names.pop()
    return names


def without_map_types(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The proto, or a copy without the map types that `onnx_ir` cannot hold; `Interface` brings them back on saving."""
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    if not any(_holds_map(v.type) for v in values):
        return proto
    stripped = onnx.ModelProto()
    stripped.CopyFrom(proto)
    for value in (*stripped.graph.input, *stripped.graph.output, *stripped.graph.value_info):
        if _holds_map(value.type):
            value.ClearField("type")
    return stripped


def _holds_map(kind: onnx.TypeProto) -> bool:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        return _holds_map(getattr(kind, which).elem_type)
    return bool(which == "map_type")
