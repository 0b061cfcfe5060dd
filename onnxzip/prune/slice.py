"""The one place that shrinks tensors: everything follows from the labels, no operator has a case of its own.

In this order, on the full size: constants that go are added to the biases, merged weights are added up; then every operand
is cut along its labelled axes, and group counts and Reshape targets are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxzip.model import edit, shapes
from onnxzip.prune.analysis import Analysis, Read, Slot, source
from onnxzip.prune.classes import Decision
from onnxzip.prune.labels import Flags


def apply(state: Analysis, decision: Decision) -> None:
    """Carry a decision out in the model that was analysed. The analysis is of no use afterwards."""
    contents: dict[Slot, np.ndarray] = {}
    for read in state.reads:
        _absorb(state, decision, read, contents)
        _merge(state, decision, read, contents)
    writer = _Writer(state)
    for slot in dict.fromkeys((*contents, *state.cuts)):
        keep = {axis: ~gone for axis, ids in state.cuts.get(slot, {}).items() if (gone := decision.leaves(ids)).any()}
        if slot in contents or (keep and _present(slot)):
            writer.put(slot, contents.get(slot), keep)
    for node, (axis, ids) in state.targets.items():
        if (gone := decision.leaves(ids)).any():
            target = np.array(state.constant(node.inputs[1]))
            target[axis] = int((~gone).sum())
            writer.put((node, 1), target, {})
    for node, ids in state.groups.items():
        node.attributes.add(ir.AttrInt64("group", int((~decision.leaves(ids)).sum())))
    writer.write()
    shapes.forget(state.model)


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
    """`W_s += (k_r / k_s) · W_r` for each constant r that goes to its representative s, where the bias cannot take it."""
    classes = decision.roots[read.ids]
    place = {int(c): k for k, c in enumerate(classes.tolist()) if np.isfinite(read.known[k]) and not read.absorbed[k]}
    pairs = [(place[r], place[s]) for r, s in decision.merges.items() if r in place and s in place]
    node, index = read.weight
    old = state.constant(node.inputs[index])
    if not pairs or old is None:
        return
    weights = np.moveaxis(old.astype(np.float64), read.axis, 0)
    for r, s in pairs:
        weights[s] += read.known[r] / read.known[s] * weights[r]
    contents[read.weight] = np.ascontiguousarray(np.moveaxis(weights, 0, read.axis)).astype(old.dtype)


def _present(slot: Slot) -> bool:
    node, index = slot
    return index < len(node.inputs) and node.inputs[index] is not None


@dataclass(frozen=True, eq=False)
class _Job:
    """New content for one operand: `content`, or what it holds, cut along axes."""

    slot: Slot
    content: np.ndarray | None
    keep: Mapping[int, Flags]

    @property
    def key(self) -> object:
        """Jobs on one constant with equal keys give equal results."""
        return self if self.content is not None else tuple((a, k.tobytes()) for a, k in sorted(self.keep.items()))

    def result(self, held: np.ndarray | None) -> np.ndarray:
        content = held if self.content is None else self.content
        if content is None:
            raise ValueError(f"operand {self.slot[1]} of {self.slot[0].op_type} {self.slot[0].name!r} is not constant")
        for axis, keep in self.keep.items():
            content = np.compress(keep, content, axis)
        return content


@dataclass(eq=False)
class _Writer:
    """Puts new constants into the graph: in place where all readers agree, else beside the old one, each content once."""

    state: Analysis
    jobs: dict[ir.Value | None, list[_Job]] = field(default_factory=dict)

    def put(self, slot: Slot, content: np.ndarray | None, keep: Mapping[int, Flags]) -> None:
        node, index = slot
        root = source(node.inputs[index]) if _present(slot) else None
        self.jobs.setdefault(root, []).append(_Job(slot, content, keep))

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
