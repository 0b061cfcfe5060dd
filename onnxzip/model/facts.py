"""What a model weighs."""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import parameters
from onnxzip.model.opset import opset_of
from onnxzip.model.save import model_bytes
from onnxzip.model.walk import operators
from onnxzip.records import Facts


def facts(model: ir.Model) -> Facts:
    """Size, nodes, parameters, opset and operators of a model."""
    counts = operators(model)
    return Facts(
        bytes=model_bytes(model),
        nodes=sum(counts.values()),
        parameters=parameters(model),
        opset=opset_of(model),
        operators=counts,
    )
