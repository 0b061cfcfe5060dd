"""Second moments that are assumed where there is no data, up to a factor that nobody asks for:

    C = I + a · (1 between the taps of a channel) + b · 1 1ᵀ

Neighbouring pixels are alike (a, for a Conv with a window), and what a Relu, Clip or Sigmoid made is positive, so that its mean is not
zero (b). Rounding that follows C keeps the sums of its errors small, over each kernel and over all channels; that is the idea of
SQuant (Guo et al., 2022). For signed inputs of a matrix C = I: nearest rounding.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Numbers
from onnxzip.model.constants import scalar
from onnxzip.model.walk import is_op

ALIKE, POSITIVE = 1.0, 0.4
"""a and b: between what was tried (0.5 to 2, 0.3 to 0.5), which differs little on ResNet-8, SqueezeNet and UltraFace."""

_SAME_SIGN = ("MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose")


def assumed_moments(node: ir.Node, columns: int, taps: int) -> Numbers:
    """float64[columns, columns] for a layer that reads so many products, `taps` of each channel."""
    moments = np.eye(columns)
    if taps > 1:
        channel = np.arange(columns) // taps
        moments += ALIKE * (channel[:, None] == channel)
    if _positive(node.inputs[0]):
        moments += POSITIVE
    return moments


def _positive(value: ir.Value | None) -> bool:
    node = None if value is None else value.producer()
    while node is not None and is_op(node, *_SAME_SIGN):
        value = node.inputs[0]
        node = None if value is None else value.producer()
    if node is None:
        return False
    if is_op(node, "Clip"):
        low = scalar(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_float("min", -np.inf)
        return low is not None and float(low) >= 0
    return is_op(node, "Relu", "Sigmoid", "HardSigmoid")
