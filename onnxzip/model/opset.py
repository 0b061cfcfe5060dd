"""The opset version of a model, and raising it where a later stage needs it."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.save import INTERFACE
from onnxzip.model.walk import ONNX_DOMAINS


def opset_of(model: ir.Model) -> int:
    """Version of the standard operators, 0 when the model imports none (pure ONNX-ML)."""
    return next((v for d, v in model.graph.opset_imports.items() if d in ONNX_DOMAINS), 0)


def raise_opset(model: ir.Model, version: int) -> ir.Model:
    """A model of at least this opset, converted by `onnx.version_converter`; the same model when it is new enough.

    The caller checks the numbers of what comes back, as after any rewrite.

    Raises:
        ModelError: onnx cannot convert it.
    """
    if opset_of(model) >= version:
        return model
    weights = {n: v.const_value for n, v in model.graph.initializers.items()}
    try:
        proto = ir.to_proto(ir.external_data.load_to_model(model.clone()))
        converted = ir.from_proto(onnx.version_converter.convert_version(proto, version))
    except Exception as error:  # the converter throws RuntimeError, ConvertError or protobuf errors
        raise ModelError(
            f"opset {opset_of(model)} cannot be raised to {version}: {str(error).splitlines()[0][:200]}. Export the model with opset {version} or newer."
        ) from error
    for name, value in converted.graph.initializers.items():
        if name in weights:
            value.const_value = weights[name]  # share the tensors instead of holding the converter's copies
    converted.graph.meta[INTERFACE] = model.graph.meta.get(INTERFACE)
    converted.metadata_props.update(model.metadata_props)
    return converted
