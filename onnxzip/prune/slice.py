"""The one place that shrinks tensors: everything follows from the labels, no operator has a case of its own.

In this order, on the full size: constants that go are added to the biases, merged weights are added up; then every operand
is cut along its labelled axes, and all parameters that follow (group counts, shapes, sizes, bounds, indices) are set.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxzip.model import edit, shapes
from onnxzip.model.constants import source
from onnxzip.model.walk import is_op
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.classes import Decision
from onnxzip.prune.facts import Cut, Follow, Gathered, Read, Slot
from onnxzip.prune.labels import Ids, extents
from onnxzip.prune.merges import pairs
from onnxzip.prune.selection import new_indices


def apply(state: Analysis, decision: Decision) -> None:
    """Carry a decision out in the model that was analysed. The analysis is of no use afterwards."""
    contents: dict[Slot, np.ndarray] = {}
    for read in state.reads:
        _absorb(state, decision, read, contents)
        _merge(state, decision, read, contents)
    writer = _Writer(state)
    for slot in dict.fromkeys((*contents, *state.cuts)):
        cuts = [c for c in state.cuts.get(slot, ()) if _matters(decision, c)]
        if slot in contents or (cuts and _present(slot)):
            writer.put(slot, contents.get(slot), tuple(_Piece.of(decision, c) for c in cuts))
    for follow in state.follows:
        _follow(state, follow, decision, writer)
    writer.write()
    for gathered in state.gathers:
        _gather(state, gathered, decision)
    shapes.forget(state.model)


def _matters(decision: Decision, cut: Cut) -> bool:
    if not decision.keeps(cut.ids).all():
        return True
    return bool((decision.sources(cut.ids) != np.arange(cut.ids.size)).any())


def _follow(state: Analysis, follow: Follow, decision: Decision, writer: _Writer) -> None:
    """Set a parameter where it changes."""
    if decision.keeps(follow.ids).all():
        return
    node, new = follow.node, follow.make(decision.keeps)
    if isinstance(follow.where, str):
        scalar = new.ndim == 0
        node.attributes.add(
            ir.AttrInt64(follow.where, int(new)) if scalar else ir.AttrInt64s(follow.where, new.tolist())
        )
        return
    old = state.constant(node.inputs[follow.where]) if _present((node, follow.where)) else None
    if old is None or old.shape != new.shape or (old != new).any():
        if is_op(node, "Split"):
            node.attributes.pop("num_outputs", None)  # sizes say it, and only one of them may
        writer.put((node, follow.where), new, ())


def _gather(state: Analysis, gathered: Gathered, decision: Decision) -> None:
    """Let a Gather take what a Slice with steps took, where something went."""
    if decision.keeps(gathered.ids).all():
        return
    old, names = gathered.node, edit.Names(state.model)
    picks = new_indices(gathered.picks, gathered.axis, gathered.ids, np.dtype(np.int64), decision.keeps)
    indices = edit.add_constant(state.model.graph, picks, names.fresh(f"{old.outputs[0].name}_indices"))
    output = names.fresh(f"{old.outputs[0].name}_gathered")
    new = edit.new_node("Gather", [old.inputs[0], indices], output, name=old.name or "", axis=gathered.axis)
    state.model.graph.insert_before(old, new)
    edit.replace(old.outputs[0], new.outputs[0])
    edit.discard(old.outputs)


def _absorb(state: Analysis, decision: Decision, read: Read, contents: dict[Slot, np.ndarray]) -> None:
    """`bias += alpha / beta · Σ_k W · k` over the constant positions that go."""
    going = decision.leaves(read.ids) & read.absorbed & (read.known != 0)
    if read.bias is None or not going.any():
        return
    delta = read.alpha / read.beta * read.total(going)
    node, index = read.bias
    old = state.constant(node.inputs[index]) if _present(read.bias) else np.zeros(len(read.outs), read.taps.dtype)
    if old is not None and delta.any():
        contents[read.bias] = (old.astype(np.float64) + delta).astype(old.dtype)


def _merge(state: Analysis, decision: Decision, read: Read, contents: dict[Slot, np.ndarray]) -> None:
    """`W_s += factor · W_r` for each class r that goes to its stand-in s."""
    found = pairs(read, decision.roots, decision.merges)
    node, index = read.weight
    old = state.constant(node.inputs[index])
    if not found or old is None:
        return
    width = len(read.ids) // read.groups
    weights = np.moveaxis(old.astype(np.float64), read.axis, 0)
    if read.groups > 1:  # filters lie on the first axis: each group sums up its own
        weights = weights.reshape(width, read.groups, -1, *weights.shape[2:])
    for r, s, factor in found:
        if read.groups > 1:
            weights[s % width, s // width] += factor * weights[r % width, r // width]
        else:
            weights[s] += factor * weights[r]
    weights = weights.reshape(width, -1, *weights.shape[3:]) if read.groups > 1 else weights
    contents[read.weight] = np.ascontiguousarray(np.moveaxis(weights, 0, read.axis)).astype(old.dtype)


def _present(slot: Slot) -> bool:
    node, index = slot
    return index < len(node.inputs) and node.inputs[index] is not None


@dataclass(frozen=True, eq=False)
class _Piece:
    """What stays of an operand along the axes of one cut: elements in their new order, and the sizes they are laid out in."""

    axes: tuple[int, ...]
    groups: int
    taken: Ids
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, decision: Decision, cut: Cut) -> _Piece:
        keep = decision.keeps(cut.ids)
        return cls(cut.axes, cut.groups, decision.sources(cut.ids)[keep.reshape(-1)], extents(keep))

    @property
    def key(self) -> object:
        return self.axes, self.groups, self.sizes, self.taken.tobytes()

    def of_content(self, content: np.ndarray) -> np.ndarray:
        parts = content.reshape(self.groups, -1, *content.shape[1:]) if self.groups > 1 else content
        front = range(len(self.axes))
        lines = np.moveaxis(parts, self.axes, front)
        rest = lines.shape[len(self.axes) :]
        taken = (
            lines.reshape(int(np.prod(lines.shape[: len(front)])), *rest)
            .take(self.taken, 0)
            .reshape(*self.sizes, *rest)
        )
        result = np.moveaxis(taken, front, self.axes)
        return result.reshape(-1, *result.shape[2:]) if self.groups > 1 else result


@dataclass(frozen=True, eq=False)
class _Job:
    """New content for one operand: `content`, or what it holds, cut along axes."""

    slot: Slot
    content: np.ndarray | None
    pieces: tuple[_Piece, ...]

    @property
    def key(self) -> object:
        """Jobs on one constant with equal keys give equal results."""
        return self if self.content is not None else tuple(p.key for p in self.pieces)

    def result(self, held: np.ndarray | None) -> np.ndarray:
        content = held if self.content is None else self.content
        if content is None:
            raise ValueError(f"operand {self.slot[1]} of {self.slot[0].op_type} {self.slot[0].name!r} is not constant")
        for piece in sorted(
            self.pieces, key=lambda p: -p.groups
        ):  # groups first: filters are told apart by their number
            content = piece.of_content(content)
        return np.ascontiguousarray(content) if content.ndim else content


@dataclass(eq=False)
class _Writer:
    """Puts new constants into the graph: in place where all readers agree, else beside the old one, each content once."""

    state: Analysis
    jobs: dict[ir.Value | None, list[_Job]] = field(default_factory=dict)

    def put(self, slot: Slot, content: np.ndarray | None, pieces: tuple[_Piece, ...]) -> None:
        node, index = slot
        root = source(node.inputs[index]) if _present(slot) else None
        self.jobs.setdefault(root, []).append(_Job(slot, content, pieces))

    def write(self) -> None:
        names, graph = edit.Names(self.state.model), self.state.model.graph
        for root, jobs in self.jobs.items():
            held = None if root is None else self.state.constant(root)
            if root is not None and _agree(root, jobs):
                tensor = ir.tensor(jobs[0].result(held), name=root.name)
                root.const_value, root.shape = tensor, ir.Shape(tensor.shape.numpy())
                continue
            made: dict[object, ir.Value] = {}
            for job in jobs:
                node, index = job.slot
                if job.key not in made:
                    hint = (root.name if root is not None else None) or f"{node.outputs[0].name}_bias"
                    made[job.key] = edit.add_constant(graph, job.result(held), names.fresh(hint))
                _replace(node, index, made[job.key])


def _agree(root: ir.Value, jobs: list[_Job]) -> bool:
    """Whether a constant may be changed where it stands: an initializer with no other readers, all of one mind."""
    if not root.is_initializer() or root.is_graph_output():
        return False
    readers = {(node, index) for node, index in root.uses()}
    return readers == {j.slot for j in jobs} and len({j.key for j in jobs}) == 1


def _replace(node: ir.Node, index: int, new: ir.Value) -> None:
    """Let an operand read `new`; what nothing reads any more goes."""
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    old = node.inputs[index]
    node.replace_input_with(index, new)
    while old is not None and not old.uses() and not old.is_graph_output():
        producer = old.producer()
        if producer is None:
            if old.is_initializer() and not old.is_graph_input() and old.graph is not None:
                del old.graph.initializers[old.name or ""]
            return
        old = producer.inputs[0] if producer.inputs else None
        edit.remove(producer)
