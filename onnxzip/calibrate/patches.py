"""What a layer sees of its input, as rows: one for each output position, `out[row, m] = b[m] + Σ_k,t W[m, k, t] · rows[row, k, t]`.

1. Conv: the patch under the kernel at each output pixel (im2col), zero where the kernel hangs over the border.
2. Gemm, MatMul: the rows of the left operand, one tap.
3. ConvTranspose: the input pixels, one tap; several outputs come from each, so there are no targets for its rows.

Rows are taken at chosen positions only; the whole matrix of patches is never made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Flags, Ids
from onnxzip.model.constants import array, source
from onnxzip.model.walk import is_op


@dataclass(frozen=True)
class Site:
    """How a layer reads its input.

    Attributes:
        kernel: sizes of the window, empty for rows and points.
        strides, dilations, begins, ends: of the window.
        mode: `auto_pad`.
        kind: "window" (case 1), "rows" (case 2), "columns" (case 2 with transA), "points" (case 3).
    """

    kind: str
    kernel: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    begins: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    mode: str = "NOTSET"

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return math.prod(self.kernel)

    def grid(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the grid of rows over an input of this shape."""
        if self.kind == "rows":
            return shape[:-1]
        if self.kind == "columns":
            return shape[1:]
        if self.kind == "points":
            return (shape[0], *shape[2:])
        sizes = []
        for size, kernel, stride, dilation, (begin, end) in zip(
            shape[2:], self.kernel, self.strides, self.dilations, self._pads(shape), strict=True
        ):
            sizes.append((size + begin + end - dilation * (kernel - 1) - 1) // stride + 1)
        return (shape[0], *sizes)

    def rows(self, values: np.ndarray, where: Ids) -> np.ndarray:
        """The rows at these positions of the flattened grid, shape (rows, K, taps), in the dtype of the values."""
        if self.kind == "rows":
            return values.reshape(-1, values.shape[-1])[where][:, :, None]
        if self.kind == "columns":
            return values[:, where].T[:, :, None]
        places = np.unravel_index(where, self.grid(values.shape))
        if self.kind == "points":
            return _at(values, places)[:, :, None]
        pads = self._pads(values.shape)
        out = np.empty((len(where), values.shape[1], self.taps), values.dtype)
        for tap, offsets in enumerate(np.ndindex(self.kernel)):
            index, inside = [places[0]], np.ones(len(where), np.bool_)
            for axis, offset in enumerate(offsets):
                at = places[axis + 1] * self.strides[axis] + offset * self.dilations[axis] - pads[axis][0]
                size = values.shape[axis + 2]
                inside &= (at >= 0) & (at < size)
                index.append(np.clip(at, 0, size - 1))
            out[:, :, tap] = _at(values, tuple(index)) * inside[:, None]
        return out

    def targets(self, values: np.ndarray, where: Ids) -> np.ndarray:
        """The outputs at these positions, shape (rows, M), in float32. Not for points."""
        if self.kind in ("rows", "columns"):
            return values.reshape(-1, values.shape[-1])[where].astype(np.float32)
        return _at(values, np.unravel_index(where, (values.shape[0], *values.shape[2:]))).astype(np.float32)

    def grid_of_outputs(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the grid of rows, from the shape of the output. Not for points."""
        return shape[:-1] if self.kind in ("rows", "columns") else (shape[0], *shape[2:])

    def shape_of_outputs(self, grid: tuple[int, ...], channels: int) -> tuple[int, ...]:
        """The shape of an output of so many channels. Not for points."""
        return (*grid, channels) if self.kind in ("rows", "columns") else (grid[0], channels, *grid[1:])

    def _pads(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        if not self.mode.startswith("SAME"):
            return list(zip(self.begins, self.ends, strict=True))
        pads = []
        for size, kernel, stride, dilation in zip(shape[2:], self.kernel, self.strides, self.dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
            small = total // 2
            pads.append((small, total - small) if self.mode == "SAME_UPPER" else (total - small, small))
        return pads


def kernel_of(node: ir.Node) -> tuple[int, ...]:
    """The window of a Conv; empty for other nodes, and where it is not known."""
    if not is_op(node, "Conv"):
        return ()
    declared = tuple(node.attributes.get_ints("kernel_shape", []))
    weights = None if declared else array(source(node.inputs[1]))
    return declared if weights is None else tuple(weights.shape[2:])


def site_of(node: ir.Node) -> Site | None:
    """How Conv, Gemm, MatMul or ConvTranspose reads its first input; None for other nodes, and where the weights come first."""
    flags, kernel = node.attributes, kernel_of(node)
    if is_op(node, "Gemm"):
        return Site("columns" if flags.get_int("transA", 0) else "rows")
    if is_op(node, "MatMul"):
        return Site("rows") if array(source(node.inputs[0])) is None else None
    if is_op(node, "ConvTranspose"):
        return Site("points")
    if not kernel:
        return None
    rank = len(kernel)
    mode = flags.get_string("auto_pad", "NOTSET")
    pads = tuple(flags.get_ints("pads", [])) if mode == "NOTSET" else ()
    pads = pads or (0,) * (2 * rank)
    strides = tuple(flags.get_ints("strides", [])) or (1,) * rank
    dilations = tuple(flags.get_ints("dilations", [])) or (1,) * rank
    return Site("window", kernel, strides, dilations, pads[:rank], pads[rank:], mode)


def sample(grid: tuple[int, ...], limit: int, batch: int, allowed: Flags | None = None) -> Ids:
    """At most `limit` positions of a flattened grid, in order; the same for the same grid and batch number."""
    places = np.arange(math.prod(grid)) if allowed is None else np.flatnonzero(allowed)
    if len(places) <= limit:
        return places
    rng = np.random.default_rng([batch, len(places)])
    return np.sort(rng.choice(places, limit, replace=False, shuffle=False))


def _at(values: np.ndarray, places: tuple[Ids, ...]) -> np.ndarray:
    """Elements (rows, channels) of an array (batch, channels, ...) at places along all axes but the channels."""
    picked: np.ndarray = np.moveaxis(values, 1, -1)[places]
    return picked
