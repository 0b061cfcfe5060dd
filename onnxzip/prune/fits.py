"""Which layers of a pruned model are re-fitted, in which order, and toward what.

1. A layer is re-fitted when its input differs from the original's: it lost inputs, or is computed from what lost some.
2. Its target is what the original computes there, on the channels that are left.
3. Where its output (through the Add that is its bias) feeds nothing but an Add with another computed operand (a shortcut),
   the target is the original's sum less the pruned model's other operand, so that the layer makes up for the shortcut's error
   too. Of two layers that meet in one Add only the later one does.
4. Layers wait for those that their input or their shortcut depends on: these have a lower level. Layers of one level are
   looked at together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.calibrate.gather import Look
from onnxzip.calibrate.patches import site_of
from onnxzip.model.constants import constant, source
from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import bodies_of, is_op, label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Read, Slot
from onnxzip.prune.labels import Ids


@dataclass(frozen=True, eq=False)
class Kept:
    """What is left of one layer: whether it reads all that it read, and which of its channels it still makes, in order."""

    whole: bool
    outs: Ids


@dataclass(frozen=True, eq=False)
class Fit:
    """A layer of the pruned model that is re-fitted.

    Attributes:
        read: the layer.
        look: how it reads its input.
        outs: which of the original's channels it still makes.
        point: the value whose content in the original is the target.
        shortcut: the value of the pruned model that is taken off, or None.
        bias: where the intercept goes, or None when there is no place for one.
        level: see case 4.
    """

    read: Read
    look: Look
    outs: Ids
    point: str
    shortcut: str | None
    bias: Slot | None
    level: int

    @property
    def channels(self) -> int:
        """How many channels it makes."""
        return len(self.outs)


def plan(state: Analysis, kept: Mapping[str, Kept]) -> tuple[list[Fit], list[str]]:
    """The layers of the analysed (pruned) model to re-fit by level, and why others are not."""
    reads = {r.node: r for r in state.reads}
    levels: dict[ir.Value, int] = {}
    order = {node: i for i, node in enumerate(state.model.graph)}
    fits: list[Fit] = []
    notes: list[str] = []
    for node in state.model.graph:
        level = max((levels.get(v, 0) for v in _read(node) if v is not None), default=0)
        left = kept.get(node.outputs[0].name or "")
        if left is not None and node in reads and (level or not left.whole):
            level = max(level, 1)
            fit = _fit(reads[node], left, levels, order)
            if isinstance(fit, Fit):
                fits.append(fit)
                level = fit.level + 1
            else:
                notes.append(f"{label(node)}: not re-fitted, for {fit}")
        levels.update(dict.fromkeys(node.outputs, level))
    return sorted(fits, key=lambda f: f.level), notes


def _fit(read: Read, left: Kept, levels: Mapping[ir.Value, int], order: Mapping[ir.Node, int]) -> Fit | str:
    """One layer, or why it is not re-fitted."""
    node, site = read.node, site_of(read.node)
    value, out = node.inputs[0], node.outputs[0]
    if site is None or site.kind == "points" or value is None:
        return "its outputs overlap"
    if read.weight != (node, 1) or not _owned(node.inputs[1]):
        return "its weights have another reader, or are no floats of their own"
    if is_op(node, "Gemm") and read.bias is None:
        return "its addend is no vector"
    point = out
    if read.bias is not None and read.bias[0] is not node:
        point = read.bias[0].outputs[0]
    shortcut = _shortcut(point, node, order)
    level = max(1, levels.get(value, 0), levels.get(shortcut, 0) if shortcut is not None else 0)
    look = Look(out.name or "", value.name or "", site, len(read.ids) * read.taps.shape[2], read.groups)
    target = out if point is out else point
    if shortcut is not None:
        target = next(iter(point.uses())).node.outputs[0]
    return Fit(read, look, left.outs, target.name or "", None if shortcut is None else shortcut.name, read.bias, level)


def _shortcut(point: ir.Value, node: ir.Node, order: Mapping[ir.Node, int]) -> ir.Value | None:
    """The other operand of the Add behind a layer (case 3)."""
    add = sole_consumer(point)
    if add is None or not is_op(add, "Add"):
        return None
    other = add.inputs[1] if add.inputs[0] is point else add.inputs[0]
    if other is None or constant(source(other)) is not None:
        return None
    maker = other.producer()
    return None if maker is not None and order.get(maker, -1) > order[node] else other


def _owned(value: ir.Value | None) -> bool:
    """Whether a constant is read by one node alone and may be changed."""
    if value is None or value.const_value is None or not value.is_initializer() or value.is_graph_input():
        return False
    return len(value.uses()) == 1 and not value.is_graph_output() and value.const_value.dtype.is_floating_point()


def _read(node: ir.Node) -> Iterator[ir.Value | None]:
    yield from node.inputs
    for body in bodies_of(node):
        for inner in body.all_nodes():
            yield from inner.inputs
