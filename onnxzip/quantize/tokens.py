"""Activations that are scaled before they are quantized, in standard operators.

smoothed      y = x / s, s a factor for each channel of the last axis
per token     m = max(max_j |y_j|, tiny) for each row y,    n = y / m in -1..1 is quantized with a fixed scale, and what a MatMul makes of
              n is multiplied by m. onnxruntime fuses DQ(n) MatMul DQ(W) to MatMulIntegerToFloat as before.

A scale for each row follows rows that are much larger than others; it is known without a look at other rows, so the result for
a row does not depend on what else is in the batch (as it does with DynamicQuantizeLinear).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import Names, new_node

Store = Callable[[str, np.ndarray], ir.Value]
"""Gives the initializer with this content."""

TINY = np.float32(1e-30)
"""Rows of zeros are divided by this."""

AXES_INPUT_OPSET = 18
"""First opset in which ReduceMax takes its axes as an input."""


def smoothed(x: ir.Value, factors: np.ndarray, names: Names, store: Store) -> ir.Node:
    """x / factors, along the last axis."""
    return new_node(
        "Mul", [x, store("scale", (1 / factors.astype(np.float64)).astype(np.float32))], names.fresh("smooth")
    )


def normalized(x: ir.Value, opset: int, names: Names, store: Store) -> tuple[list[ir.Node], ir.Value]:
    """The nodes that divide each row by its largest magnitude, the last of which gives the quotient; and that magnitude."""
    size = new_node("Abs", [x], names.fresh("token"))
    if opset < AXES_INPUT_OPSET:
        largest = new_node("ReduceMax", [size.outputs[0]], names.fresh("token"), axes=[-1], keepdims=1)
    else:
        inputs = [size.outputs[0], store("axis", np.array([-1], np.int64))]
        largest = new_node("ReduceMax", inputs, names.fresh("token"), keepdims=1)
    positive = new_node("Max", [largest.outputs[0], store("tiny", np.asarray(TINY))], names.fresh("token"))
    quotient = new_node("Div", [x, positive.outputs[0]], names.fresh("token"))
    return [size, largest, positive, quotient], positive.outputs[0]
