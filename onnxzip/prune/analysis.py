"""What is known about the channels of a model, gathered by the rules in one walk from the inputs to the outputs.

Rules write five kinds of facts, all of them in terms of labels, so that slicing needs no rule of its own:

1. the labels of each value;
2. cuts: along which axes a constant operand of a node carries which labels;
3. reads: which layer consumes labels, with which weights, and what it makes of them;
4. what else must follow: group counts, target shapes, sizes of Split, bounds of Slice, indices of Gather;
5. balances: sets of labels of which equally many must stay (the groups of a Conv, the rows of a channel shuffle).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnxzip.model import constants
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op, label
from onnxzip.prune import quantized
from onnxzip.prune.labels import Channels, Flags, Ids, Labels, Numbers, Twins

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


@dataclass(eq=False)
class Analysis:
    """The facts, and how rules add to them. The model is not changed."""

    model: ir.Model
    shapes: Shapes
    grouped: frozenset[str] = frozenset()
    """Convs that make channels of their own, also where each group has a single channel left."""
    channels: Channels = field(default_factory=Channels)
    labels: dict[ir.Value, Labels] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    used: list[Ids] = field(default_factory=list)
    cuts: dict[Slot, list[Cut]] = field(default_factory=dict)
    follows: list[Follow] = field(default_factory=list)
    gathers: list[Gathered] = field(default_factory=list)
    balances: list[tuple[Ids, str, bool]] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    readers: dict[ir.Node, set[Slot]] = field(default_factory=dict)
    _arrays: dict[ir.Value, np.ndarray | None] = field(default_factory=dict)
    _floats: dict[ir.Value, np.ndarray | None] = field(default_factory=dict)
    _groups: int = 0

    # Constants

    def constant(self, value: ir.Value | None) -> np.ndarray | None:
        """The content of a constant, also through Identity nodes; None when the value is not constant."""
        root = source(value)
        if root is None:
            return None
        if root not in self._arrays:
            self._arrays[root] = constants.array(root)
        return self._arrays[root]

    def floats(self, value: ir.Value | None) -> np.ndarray | None:
        """The content of a constant of floats, also of one that is stored quantized; None when it is neither."""
        root = source(value)
        content = self.constant(root)
        if content is not None:
            return content if content.dtype.kind == "f" else None
        node = None if root is None else root.producer()
        if root is None or node is None or not is_op(node, "DequantizeLinear"):
            return None
        if root not in self._floats:
            self._floats[root] = quantized.dequantized(node, [self.constant(v) for v in node.inputs])
        return self._floats[root]

    # Labels

    def mark(self, value: ir.Value, labels: Labels) -> None:
        """Note the labels of a value. One position alone is no channel axis: it stays, so that the value is not empty."""
        if labels.ids.size > 1:
            self.labels[value] = labels
        else:
            self.freeze_labels(labels, f"{value.name!r} has no other channel")

    def of(self, value: ir.Value | None) -> Labels | None:
        """The labels of a value, or None when it has none."""
        return None if value is None else self.labels.get(value)

    def made(self, node: ir.Node, count: int) -> Ids:
        """Fresh labels for the channels that a layer makes; label 0 for a lone channel, which can never go."""
        if count < 2:
            return np.zeros(count, np.int64)
        ids = self.channels.fresh(count)
        self.layers.append(Layer(node, ids))
        return ids

    def groups(self, count: int) -> Ids:
        """Numbers for groups of twins that are not in use yet."""
        start, self._groups = self._groups + 1, self._groups + count
        return np.arange(start, start + count, dtype=np.int64)

    # What ties channels

    def join(self, left: Labels, right: Labels, why: str) -> None:
        """Let channels at equal positions go together; those that meet a position that cannot go stay, for this reason."""
        self.channels.join(left.ids, right.ids, why)
        for one, other in ((left, right), (right, left)):
            stops = (one.ids != 0) & (other.ids == 0)
            if stops.any():
                constant = stops & np.isfinite(one.known)
                self.stops.append(Stop(why, int(stops.sum()), int(constant.sum())))

    def freeze(self, value: ir.Value | None, why: str) -> None:
        """Let all channels of a value stay, for this reason. Values without channels are left as they are."""
        labels = self.of(value)
        if labels is not None:
            self.freeze_labels(labels, why)

    def freeze_labels(self, labels: Labels, why: str) -> None:
        """Let channels stay, for this reason."""
        own = labels.vector != 0
        if own.any():
            self.channels.freeze(labels.vector, why)
            self.stops.append(Stop(why, int(own.sum()), int((own & np.isfinite(labels.numbers)).sum())))

    def freeze_node(self, node: ir.Node, why: str) -> None:
        """Let all channels that a node reads stay: it is not understood, or does something that ties them down."""
        for value in dict.fromkeys(node.inputs):
            self.freeze(value, f"{label(node)} {why}")

    def tie(self, labels: Labels, axes: Iterable[int], why: str) -> Labels:
        """Let channels that lie along these axes go together, so that labels change along other axes only.

        Where nothing else changes, all of them stay, for this reason.
        """
        along = [a for a in axes if labels.ids.shape[a] > 1]
        if set(along) == set(labels.axes):
            if along:
                self.freeze_labels(labels, why)
            return Labels(np.zeros((1,) * labels.rank, np.int64), np.full((1,) * labels.rank, np.nan))
        ids, known = labels.ids, labels.known
        for axis in along:
            first = ids.take([0], axis)
            self.channels.join(np.broadcast_to(first, ids.shape), ids, why)
            head = known.take([0], axis)
            ids, known = first, np.where((known == head).all(axis=axis, keepdims=True), head, np.nan)
        return Labels(ids, known, labels.twins if not along else None)

    def only(self, labels: Labels, axis: int, why: str) -> Labels:
        """The labels, tied so that they change along one axis only."""
        return self.tie(labels, (a for a in labels.axes if a != axis), why)

    def block(self, ids: Ids, why: str) -> None:
        """Note that labels which change along several axes must leave a block: in each row equally many stay."""
        sizes = [size for size in ids.shape if size > 1]
        for k in range(1, len(sizes)):
            rows = int(np.prod(sizes[:k]))
            self.balance(ids.reshape(rows, -1), f"{why} equally many channels in each of {rows} rows")

    def balance(self, ids: Ids, why: str, *, rows_stay: bool = False) -> None:
        """Note that of each row equally many channels must stay. Whole rows may go, unless `rows_stay`."""
        if len(ids) > 1 and ids.shape[1] > 1:
            self.balances.append((ids, why, rows_stay))

    # What shrinks

    def cut(self, node: ir.Node, index: int, axes: int | tuple[int, ...], ids: Ids, groups: int = 1) -> None:
        """Note that operand `index` of `node` carries these labels along some axes, and shrinks with them."""
        if not ids.any():
            return
        cut = Cut((axes,) if isinstance(axes, int) else axes, ids, groups)
        value = source(node.inputs[index]) if index < len(node.inputs) else None
        producer = None if value is None or self.constant(value) is not None else value.producer()
        if producer is None:
            self.cuts.setdefault((node, index), []).append(cut)
            return
        self.readers.setdefault(producer, set()).add((node, index))
        for operand, own in quantized.cuts(producer, cut, [self.constant(v) for v in producer.inputs]):
            self._cut_once((producer, operand), own)

    def _cut_once(self, slot: Slot, cut: Cut) -> None:
        """Weights behind a DequantizeLinear that several layers read shrink for all of them alike."""
        for other in self.cuts.setdefault(slot, []):
            if (other.axes, other.groups, other.ids.shape) == (cut.axes, cut.groups, cut.ids.shape):
                self.channels.join(other.ids, cut.ids, f"{label(slot[0])} is shared with channels that stay")
                return
        self.cuts[slot].append(cut)

    def follow(self, node: ir.Node, where: int | str, ids: Ids, make: Callable[[Keep], np.ndarray]) -> None:
        """Note a parameter that follows from what stays of these labels."""
        self.follows.append(Follow(node, where, ids, make))


def source(value: ir.Value | None) -> ir.Value | None:
    """The value behind Identity nodes (exporters share equal weights through them)."""
    while value is not None and is_op(value.producer(), "Identity"):
        node = value.producer()
        value = None if node is None else node.inputs[0]
    return value
