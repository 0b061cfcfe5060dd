"""What is known about the channels of a model, gathered by the rules in one walk from the inputs to the outputs.

Rules write four kinds of facts, all of them in terms of labels, so that slicing needs no rule of its own:

1. the labels of each value;
2. cuts: along which axis a constant operand of a node carries which labels;
3. reads: which layer consumes labels, with which weights, and what it makes of them;
4. what else must shrink along: group counts and the target shapes of Reshape.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxzip.model import constants
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op, label
from onnxzip.prune.labels import Channels, Flags, Ids, Labels, Numbers

Slot = tuple[ir.Node, int]
"""One operand of one node: the node and the index of the input."""


@dataclass(frozen=True, eq=False)
class Read:
    """A layer that consumes channels: `out[m] = beta · bias[m] + alpha · Σ_k W[m, k] · in[k]`, summed over its taps.

    Attributes:
        node: Conv, ConvTranspose, Gemm or MatMul.
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

    @cached_property
    def reach(self) -> Flags:
        """Whether output m depends on position k at all; shape (M, K)."""
        return _blocks((self.taps != 0).any(axis=-1), self.groups)

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


@dataclass(eq=False)
class Analysis:
    """The facts, and how rules add to them. The model is not changed."""

    model: ir.Model
    shapes: Shapes
    channels: Channels = field(default_factory=Channels)
    labels: dict[ir.Value, Labels] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    cuts: dict[Slot, dict[int, Ids]] = field(default_factory=dict)
    groups: dict[ir.Node, Ids] = field(default_factory=dict)
    targets: dict[ir.Node, tuple[int, Ids]] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    _arrays: dict[ir.Value, np.ndarray] = field(default_factory=dict)

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """The content of a constant, also through Identity nodes; None when the value is not constant."""
        root = source(value)
        if root is None:
            return None
        if root not in self._arrays:
            content = constants.array(root)
            if content is None:
                return None
            self._arrays[root] = content
        return self._arrays[root]

    def floats(self, value: ir.Value | None) -> np.ndarray | None:
        """The content of a constant of floats; None when it is not constant or not float (quantized, for instance)."""
        content = self.constant(value)
        return content if content is not None and content.dtype.kind == "f" else None

    def cut(self, node: ir.Node, index: int, axis: int, ids: Ids) -> None:
        """Note that operand `index` of `node` carries these labels along `axis`, and shrinks with them."""
        self.cuts.setdefault((node, index), {})[axis] = ids

    def mark(self, value: ir.Value, labels: Labels) -> None:
        """Note the labels of a value. One position alone is no channel axis, and is not noted."""
        if labels.ids.size > 1:
            self.labels[value] = labels

    def made(self, node: ir.Node, count: int) -> Ids:
        """Fresh labels for the channels that a layer makes; label 0 for a lone channel, which can never go."""
        if count < 2:
            return np.zeros(count, np.int64)
        ids = self.channels.fresh(count)
        self.layers.append(Layer(node, ids))
        return ids

    def join(self, left: Labels, right: Labels, why: str) -> None:
        """Let channels at equal positions go together; those that meet a position that cannot go stay, for this reason."""
        self.channels.join(left.vector, right.vector, why)
        for one, other in ((left, right), (right, left)):
            stops = (one.vector != 0) & (other.vector == 0)
            if stops.any():
                self.stops.append(Stop(why, int(stops.sum()), int((stops & np.isfinite(one.numbers)).sum())))

    def freeze(self, value: ir.Value | None, why: str) -> None:
        """Let all channels of a value stay, for this reason. Values without channels are left as they are."""
        labels = None if value is None else self.labels.get(value)
        if labels is None or not labels.ids.any():
            return
        self.channels.freeze(labels.vector, why)
        own = labels.vector != 0
        self.stops.append(Stop(why, int(own.sum()), int((own & np.isfinite(labels.numbers)).sum())))

    def freeze_node(self, node: ir.Node, why: str) -> None:
        """Let all channels that a node reads stay: it is not understood, or does something that ties them down."""
        for value in dict.fromkeys(node.inputs):
            self.freeze(value, f"{label(node)} {why}")


def source(value: ir.Value | None) -> ir.Value | None:
    """The value behind Identity nodes (exporters share equal weights through them)."""
    while value is not None and is_op(value.producer(), "Identity"):
        node = value.producer()
        value = None if node is None else node.inputs[0]
    return value
