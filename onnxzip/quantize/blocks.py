"""Weights of 4 bits: a scale and a zero point for each block of `B` neighbours along the sum. Pure numpy.

    w' = s_b (q − z_b),    q in 0..15,    s_b = c (max w − min w) / 15,    z_b = round(−c min w / s_b),

with max and min over the block and 0, and c the factor in `CLIPS` whose squared error is least (weighted by the mean square of
what each weight is multiplied with, where that is known).

Blocks, in the order of the columns of `matrix.to_rows` (k for a matrix; channel, then tap, for a Conv):

    MatMul, Gemm    k // B                                   scales [K/B, N], or [N, K/B] where the weights are [N, K]
    Conv            (channel // B, tap)                      scales [O, I/B, kernel]

Both are what DequantizeLinear of opset 21 makes of `block_size` along the axis that is not that of the output channels.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.quantize.matrix import from_rows
from onnxzip.quantize.qparams import MAX_SCALE, MIN_SCALE

BITS, LEVELS = 4, 15
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
SIZES = (32, 64, 128)
"""Block sizes to choose from: onnxruntime has kernels for powers of two from 16 on."""

SCALE_BITS = 16 + BITS
"""What a block costs beside its codes: a scale of float16, and a zero point."""


def blocks_of(shape: tuple[int, ...], axis: int, size: int) -> Ids:
    """The number of the block of each column, int64[K]; output channels lie along `axis`, 0 or 1."""
    taps = math.prod(shape[2:])
    column = np.arange(shape[1 - axis] * taps)
    return np.asarray(column // taps // size * taps + column % taps)


def scale_shape(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    """The shape of scales and zero points of weights of this shape."""
    return tuple(-(-n // size) if i == 1 - axis else n for i, n in enumerate(shape))


def grid(rows: Numbers, blocks: Ids, weight: Numbers | None = None) -> tuple[npt.NDArray[np.float32], Ids]:
    """Scale and zero point of each block of each row.

    Args:
        rows: float[R, K].
        blocks: int[K], see `blocks_of`.
        weight: float[K], how much an error in each column counts; None: all alike.

    Returns:
        float32[R, blocks] and int64[R, blocks].
    """
    order = np.argsort(blocks, kind="stable")
    starts = np.flatnonzero(np.diff(blocks[order], prepend=-1))
    sorted_rows = rows[:, order]
    low = np.minimum(np.minimum.reduceat(sorted_rows, starts, axis=1), 0)
    high = np.maximum(np.maximum.reduceat(sorted_rows, starts, axis=1), 0)
    best = np.full(low.shape, np.inf)
    scales, zeros = np.ones(low.shape, np.float32), np.zeros(low.shape, np.int64)
    for clip in CLIPS:
        scale = np.clip((high - low) * clip / LEVELS, MIN_SCALE, MAX_SCALE).astype(np.float32)
        zero = np.clip(np.rint(-low * clip / scale), 0, LEVELS).astype(np.int64)
        off = (rows - dequantized(nearest(rows, blocks, scale, zero), blocks, scale, zero)) ** 2
        error = np.add.reduceat((off if weight is None else off * weight)[:, order], starts, axis=1)
        better = error < best
        best = np.where(better, error, best)
        scales, zeros = np.where(better, scale, scales), np.where(better, zero, zeros)
    return scales, zeros


def nearest(rows: Numbers, blocks: Ids, scales: npt.NDArray[np.float32], zeros: Ids) -> Ids:
    """The nearest codes, int64[R, K] in 0..15."""
    codes = np.rint(rows / scales.astype(np.float64)[:, blocks]) + zeros[:, blocks]
    return np.asarray(np.clip(codes, 0, LEVELS).astype(np.int64))


def dequantized(codes: Ids, blocks: Ids, scales: npt.NDArray[np.float32], zeros: Ids) -> Numbers:
    """What the codes stand for, float64[R, K]."""
    return np.asarray((codes - zeros[:, blocks]) * scales.astype(np.float64)[:, blocks])


def laid_out(matrix: npt.NDArray[np.generic], shape: tuple[int, ...], axis: int) -> npt.NDArray[np.generic]:
    """Rows [R, n] as a tensor of this shape (that of the weights, or of their scales)."""
    return np.ascontiguousarray(from_rows(matrix[None], shape, axis))


def cost(columns: int, size: int, taps: int) -> float:
    """Bits a weight, its share of scale and zero point included."""
    channels = columns // taps
    return BITS + SCALE_BITS * -(-channels // size) / channels
