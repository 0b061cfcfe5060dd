"""Weights for integer kernels that add up two products in 16 bits: x86 without VNNI.

`vpmaddubsw` multiplies unsigned activations a with signed weights w and adds neighbours, saturating at 16 bits:

    s = a[2i] w[2i] + a[2i+1] w[2i+1],    |s| <= 32767   for all a in 0..255   if and only if   |w[2i] + w[2i+1]| <= 128
    where the two have one sign; of opposite signs they never overflow.

Neighbours along the sum are, for MatMul and Gemm, neighbours in K. For Conv the sum runs over the window first and the
channels (of a group) last. A depthwise Conv with one filter a channel has a kernel of its own that adds up in 32 bits. Checked against
onnxruntime 1.32 by weights of which only one pair is not zero (Intel 64 manual, VPMADDUBSW; MLAS, U8S8 kernels for AVX2).

Seven-bit weights (|w| <= 64) are safe in any order, and cost 6 dB. Here each row keeps the scale that costs it least: at each of a few
scales the pairs that do not fit are drawn in, half of the excess each, and the scale of the smallest squared error wins.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.calibrate.arrays import Flags, Ids, Numbers
from onnxzip.model.walk import is_op
from onnxzip.quantize.matrix import Array, groups_of

PAIR_MAX = 128
STRETCH = np.linspace(1, 2, 11)
"""Scales that are tried, relative to max |w| / 127: at twice that scale any pair fits."""


def partners(node: ir.Node, shape: tuple[int, ...], axis: int) -> Ids | None:
    """The column that each column of a layer's matrix (see `to_rows`) is added to in 16 bits, -1 for none; None where nothing is.

    Args:
        node: Conv, Gemm or MatMul.
        shape: of its weights.
        axis: of the output channels.
    """
    if not is_op(node, "Conv"):
        return _neighbours(np.arange(int(np.prod(shape)) // shape[axis]))
    channels, taps = shape[1], int(np.prod(shape[2:]))
    if channels == 1 and shape[0] == groups_of(node):
        return None
    return _neighbours(np.arange(channels * taps).reshape(channels, taps).T.reshape(-1))


def _neighbours(order: Ids) -> Ids:
    """Partners, given the columns in the order of the sum."""
    found = np.full(len(order), -1)
    even = order[: len(order) // 2 * 2]
    found[even[0::2]], found[even[1::2]] = even[1::2], even[0::2]
    return found


def overflows(codes: Array, partner: Ids) -> Flags:
    """Which of the rows [..., columns] hold a pair that can overflow: bool[...]."""
    return np.asarray(_excess(codes.astype(np.int16), partner).any(axis=-1))


def _excess(codes: Array, partner: Ids) -> Array:
    """By how much each pair is too large, at its first column; signed, int16 of the shape of the codes' first columns."""
    first = np.flatnonzero(partner > np.arange(len(partner)))
    total = codes[..., first] + codes[..., partner[first]]
    return np.asarray(np.sign(total) * np.maximum(np.abs(total) - PAIR_MAX, 0))


def draw_in(codes: Array, partner: Ids) -> Array:
    """Integer codes [..., columns] with every pair inside the limit; both members of a pair give way alike. int16."""
    out = codes.astype(np.int16)
    first = np.flatnonzero(partner > np.arange(len(partner)))
    excess = _excess(out, partner)
    out[..., first] -= excess - excess // 2
    out[..., partner[first]] -= excess // 2
    return out


def safe_scales(
    rows: Numbers, scales: npt.NDArray[np.float32], partner: Ids, weight_max: int
) -> npt.NDArray[np.float32]:
    """The scale for each row at which rounding to nearest, with pairs drawn in, costs least.

    Args:
        rows: float[R, K].
        scales: float32[R], at which all weights fit on their own.
        partner: int[K].
        weight_max: largest code.

    Returns:
        float32[R]: `scales` times one of STRETCH.
    """
    best, least = scales.copy(), np.full(len(scales), np.inf)
    todo = np.arange(len(scales))
    for stretch in STRETCH:
        tried = (scales[todo] * np.float32(stretch)).astype(np.float32)
        scaled = rows[todo] / tried[:, None]
        codes = np.clip(np.rint(scaled), -weight_max, weight_max)
        fitting = draw_in(codes, partner)
        error = ((scaled - fitting) ** 2).sum(axis=1) * tried.astype(np.float64) ** 2
        better = error < least[todo]
        best[todo[better]], least[todo[better]] = tried[better], error[better]
        todo = todo[(fitting != codes).any(axis=1)]  # a row without overflow gains nothing from a wider scale
        if not len(todo):
            break
    return best
