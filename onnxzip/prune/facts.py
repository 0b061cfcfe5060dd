"""The facts that rules write, as plain data: how operands shrink, what layers read, what follows, where channels were frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxzip.prune.labels import Flags, Ids, Numbers, Twins

Slot = tuple[ir.Node, int]
"""One operand of one node: the node and the index of the input."""

Keep = Callable[[Ids], Flags]
"""By position of an array of labels: whether its channel stays."""


@dataclass(frozen=True, eq=False)
class Cut:
    """How a constant operand shrinks: the labels that its elements carry along some of its axes.

    Attributes:
        axes: the axes, in ascending order; of the operand seen with its first axis split in `groups` parts, where `groups` > 1.
        ids: labels, one axis for each of `axes`.
        groups: parts of the first axis: the weights of a grouped Conv read other channels in each.
    """

    axes: tuple[int, ...]
    ids: Ids
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Follow:
    """A parameter that follows from what stays: an input that is a constant of integers, or an attribute, by its name.

    It is made anew when some of the labels go, and left as it is written when none do.
    """

    node: ir.Node
    where: int | str
    ids: Ids
    make: Callable[[Keep], np.ndarray]


@dataclass(frozen=True, eq=False)
class Gathered:
    """A Slice with steps: where what it takes is not evenly spaced any more, a Gather takes it.

    Attributes:
        node: the Slice.
        axis: the axis that it works on.
        picks: the positions that it takes.
        ids: the labels of what it takes them from.
    """

    node: ir.Node
    axis: int
    picks: np.ndarray
    ids: Ids


@dataclass(frozen=True, eq=False)
class Read:
    """A layer that consumes channels: `out[m] = beta · bias[m] + alpha · Σ_k W[m, k] · in[k]`, summed over its taps.

    Attributes:
        node: Conv, ConvTranspose, Gemm, MatMul or a recurrent layer.
        ids: label of each of the K positions it reads (0 everywhere when its input carries none).
        outs: label of each of the M channels it makes.
        known: what is known about each position, NaN for nothing; length K.
        taps: the weights, shape (M, K / groups, taps).
        weight: the slot of the weights.
        axis: the axis of the stored weights that the K / groups positions lie on.
        groups: each block of M / groups outputs reads its own block of K / groups inputs.
        uniform: every output element sees every tap, so that a constant input adds the same number everywhere.
        bias: the slot that takes a constant, or None when there is none to take it.
        alpha, beta: the factors of Gemm, 1 for all others.
        twins: which positions are the same up to a factor; vectors of length K, or None.
        quantized: the weights are stored as integers, which nothing can be added to exactly.
    """

    node: ir.Node
    ids: Ids
    outs: Ids
    known: Numbers
    taps: np.ndarray
    weight: Slot
    axis: int
    groups: int = 1
    uniform: bool = True
    bias: Slot | None = None
    alpha: float = 1.0
    beta: float = 1.0
    twins: Twins | None = None
    quantized: bool = False

    @cached_property
    def reach(self) -> Flags:
        """Whether output m depends on position k at all; shape (M, K)."""
        return _blocks((self.taps != 0).any(axis=-1), self.groups)

    @cached_property
    def touched(self) -> Flags:
        """Whether any output depends on position k; length K."""
        return np.asarray(self.reach.any(axis=0))

    def total(self, where: Flags) -> Numbers:
        """`Σ_k W[m, k] · known[k]` over the given constant positions and all taps, in float64; length M."""
        if self.groups == 1:
            return np.asarray(self.taps[:, where].sum(axis=-1, dtype=np.float64) @ self.known[where])
        sums = _blocks(self.taps.sum(axis=-1, dtype=np.float64), self.groups)
        return np.asarray(sums[:, where] @ self.known[where])

    @cached_property
    def absorbed(self) -> Flags:
        """Which positions this layer can do without: known to be 0, or constant and taken exactly by the bias; length K."""
        fits = self.uniform and self.bias is not None
        return np.nan_to_num(self.known, nan=1.0) == 0 if not fits else np.isfinite(self.known)


def _blocks(dense: np.ndarray, groups: int) -> np.ndarray:
    """Weights (M, K / groups) of a grouped layer as the (M, K) matrix that they are, zero outside of the blocks."""
    if groups == 1:
        return dense
    out = np.zeros((len(dense), dense.shape[1] * groups), dense.dtype)
    rows, columns = len(dense) // groups, dense.shape[1]
    for g in range(groups):
        out[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = dense[g * rows : (g + 1) * rows]
    return out


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer that made channels: its node and their labels."""

    node: ir.Node
    ids: Ids


@dataclass(frozen=True)
class Stop:
    """A place where channels were frozen: why, how many positions, and how many of them are constant."""

    why: str
    channels: int
    constant: int
