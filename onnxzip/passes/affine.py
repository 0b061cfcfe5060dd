"""Which nodes are an affine map per channel, y = scale * x + shift: pure analysis.

Legal cases, for constants that are one number, or one number per channel once broadcasting has aligned them:
1. Add, Sub, Mul, Div with one constant operand (Div only by a constant), and Neg.
2. BatchNormalization for inference: scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale.
A constant of shape [W] belongs to the last axis, whatever the number of channels is (failures.md 5).
All is computed in float64; rounding happens once, where the result is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.walk import is_op

FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


@dataclass(frozen=True)
class Layout:
    """Where the channels of a value are: `axis` (negative: counted from the end) of `rank` axes, `channels` of them.

    `rank` is None where it is not known; then only constants that fit any rank are understood.
    """

    axis: int
    channels: int
    rank: int | None


@dataclass(frozen=True)
class Affine:
    """y = scale * x + shift; both float64, of shape () or (channels,)."""

    scale: np.ndarray
    shift: np.ndarray

    def then(self, later: Affine) -> Affine:
        """The map that applies `self` first."""
        with np.errstate(all="ignore"):
            return Affine(self.scale * later.scale, self.shift * later.scale + later.shift)

    def is_finite(self) -> bool:
        """Whether it can be applied at all: a BatchNormalization of a negative variance cannot."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())

    def scales(self) -> bool:
        """Whether it is more than a shift."""
        return bool((self.scale != 1).any())

    def shifts(self) -> bool:
        """Whether it is more than a scale."""
        return bool(self.shift.any())


IDENTITY = Affine(np.ones(()), np.zeros(()))


def affine_of(node: ir.Node, value: ir.Value, layout: Layout, opset: int) -> Affine | None:
    """The map from `value` to the output of `node`; None when it is none, or not known to be one."""
    if opset < 7 or sum(v is value for v in node.inputs) != 1:
        return None
    if is_op(node, "BatchNormalization"):
        return _batch_norm(node, value, layout)
    if is_op(node, "Neg"):
        return Affine(-np.ones(()), np.zeros(()))
    if not is_op(node, "Add", "Sub", "Mul", "Div"):
        return None
    left = node.inputs[0] is value
    constant = per_channel(array(node.inputs[1 if left else 0]), layout)
    return None if constant is None else _binary(node.op_type, constant, left=left)


def per_channel(constant: np.ndarray | None, layout: Layout) -> np.ndarray | None:
    """The constant as float64 of shape () or (channels,), when it is the same everywhere else."""
    if constant is None or constant.dtype not in FLOATS:
        return None
    exact = constant.astype(np.float64)
    if constant.ndim == 0:
        return exact
    if layout.rank is None:
        fits = layout.axis == -1 and constant.ndim == 1 and constant.size in (1, layout.channels)
        return exact if fits else None
    if constant.ndim > layout.rank:
        return None
    aligned = (1,) * (layout.rank - constant.ndim) + constant.shape
    if constant.size == 1:
        return exact.reshape(())
    fits = aligned[layout.axis] == layout.channels and constant.size == layout.channels
    return exact.reshape(-1) if fits else None


def is_inference(node: ir.Node) -> bool:
    """Whether a BatchNormalization normalises by what it stored, each channel as one.

    Before opset 14 a named second output, read or not, is what says that it trains.
    """
    extra = any(o.name for o in node.outputs[1:])
    return not extra and not node.attributes.get_int("training_mode", 0) and node.attributes.get_int("spatial", 1) == 1


def deviation(node: ir.Node) -> np.ndarray | None:
    """sqrt(variance + epsilon) of a BatchNormalization, float64 of shape (channels,)."""
    variance = array(node.inputs[4])
    if variance is None or variance.dtype not in FLOATS:
        return None
    with np.errstate(all="ignore"):
        return np.asarray(np.sqrt(variance.astype(np.float64) + node.attributes.get_float("epsilon", 1e-5)))


def _batch_norm(node: ir.Node, value: ir.Value, layout: Layout) -> Affine | None:
    if layout.axis != 1 or node.inputs[0] is not value or not is_inference(node):
        return None
    spread = deviation(node)
    gamma, beta, mean = (array(v) for v in node.inputs[1:4])
    if spread is None or gamma is None or beta is None or mean is None:
        return None
    if any(p.shape != (layout.channels,) or p.dtype not in FLOATS for p in (gamma, beta, mean)):
        return None
    with np.errstate(all="ignore"):
        scale = gamma.astype(np.float64) / spread
        return Affine(scale, beta.astype(np.float64) - mean.astype(np.float64) * scale)


def _binary(op_type: str, constant: np.ndarray, *, left: bool) -> Affine | None:
    """The map of `value op constant` (`left`) or `constant op value`."""
    one, zero = np.ones(()), np.zeros(())
    if op_type == "Add":
        return Affine(one, constant)
    if op_type == "Mul":
        return Affine(constant, zero)
    if op_type == "Sub":
        return Affine(one, -constant) if left else Affine(-one, constant)
    if not left:
        return None
    with np.errstate(all="ignore"):
        return Affine(one / constant, zero)
