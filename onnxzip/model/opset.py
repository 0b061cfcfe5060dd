"""The opset version of a model, and raising it where a later stage needs it."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError, first_line, root_cause
from onnxzip.model.proto import without_map_types
from onnxzip.model.save import INTERFACE
from onnxzip.model.walk import ONNX_DOMAINS

_SMALL = 1024
"""Larger initializers are no shapes, axes or scalars that a conversion could want to read."""


def opset_of(model: ir.Model) -> int:
    """Version of the standard operators, 0 when the model imports none (pure ONNX-ML)."""
    return next((v for d, v in model.graph.opset_imports.items() if d in ONNX_DOMAINS), 0)


def raise_opset(model: ir.Model, version: int) -> ir.Model:
    """A model of at least this opset, converted by `onnx.version_converter`; the same model when it is new enough.

    Weights do not pass through the converter: it sees them as inputs, and they are shared with the result.
    The caller checks the numbers of what comes back, as after any rewrite.

    Raises:
        ModelError: onnx cannot convert it.
    """
    if opset_of(model) >= version:
        return model
    copy, weights = model.clone(), dict[str, ir.TensorProtocol]()
    for name, value in tuple(copy.graph.initializers.items()):
        if value.const_value is not None and value.const_value.nbytes > _SMALL and not value.is_graph_input():
            weights[name] = value.const_value
            del copy.graph.initializers[name]
            copy.graph.inputs.append(value)
    try:
        converted = ir.from_proto(without_map_types(onnx.version_converter.convert_version(ir.to_proto(copy), version)))
    except Exception as error:  # the converter throws RuntimeError, ConvertError or protobuf errors
        reason = first_line(root_cause(error))
        raise ModelError(
            f"opset {opset_of(model)} cannot be raised to {version} by onnx {onnx.__version__} ({reason}): "
            f"export the model with opset {version} or newer"
        ) from error
    _put_back(converted, weights)
    converted.graph.meta[INTERFACE] = model.graph.meta.get(INTERFACE)
    converted.metadata_props.update(model.metadata_props)
    return converted


def _put_back(model: ir.Model, weights: dict[str, ir.TensorProtocol]) -> None:
    """Turn the inputs that stand for weights into initializers again."""
    graph = model.graph
    stand_ins = [v for v in graph.inputs if v.name in weights]
    for value in stand_ins:
        graph.inputs.remove(value)
        value.const_value = weights[value.name or ""]
        graph.register_initializer(value)
