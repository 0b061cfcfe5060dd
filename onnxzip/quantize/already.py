"""Models that are quantized already are recognised by their operators, and left alone."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from onnxzip.model.walk import all_nodes

QUANTIZED_OPS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
        "QLinearMatMul",
        "MatMulNBits",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "QGemm",
        "DynamicQuantizeLSTM",
    }
)


def already_quantized(model: ir.Model) -> str | None:
    """Why a model counts as quantized, or None."""
    found = Counter(n.op_type for n in all_nodes(model) if n.op_type in QUANTIZED_OPS)
    if not found:
        return None
    return f"the model is quantized already ({', '.join(f'{count} {op}' for op, count in sorted(found.items()))})"
