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

import numpy as np
import onnx_ir as ir

from onnxzip.model import constants
from onnxzip.model.constants import source
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op, label
from onnxzip.prune import quantized
from onnxzip.prune.facts import Cut, Follow, Gathered, Keep, Layer, Read, Slot, Stop
from onnxzip.prune.labels import Channels, Ids, Labels


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
