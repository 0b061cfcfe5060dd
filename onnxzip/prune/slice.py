"""The one place that shrinks tensors: everything follows from the labels, no operator has a case of its own.

In this order, on the full size: constants that go are added to the biases, merged weights are added up, then every operand
is cut along its labelled axes, group counts and Reshape targets are set.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model import edit, shapes
from onnxzip.model.walk import is_op
from onnxzip.prune.analysis import Analysis, Read, Slot, source
from onnxzip.prune.classes import Decision


def apply(state: Analysis, decision: Decision) -> None:
    """Carry a decision out, in the model that was analysed."""
    contents: dict[Slot, np.ndarray] = {}
    for read in state.reads:
        _absorb(state, decision, read, contents)
        _merge(state, decision, read, contents)
    operands = _Operands(state)
    for (node, index), cuts in state.cuts.items():
        keep = {axis: ~gone for axis, ids in cuts.items() if (gone := decision.leaves(ids)).any()}
        content = contents.get((node, index))
        if content is not None or (keep and _present(node, index)):
            operands.put(node, index, content, keep)
    for node, ids in state.groups.items():
        count = int((~decision.leaves(ids)).sum())
        node.attributes.add(ir.AttrInt64("group", count))
    for node, (axis, ids) in state.targets.items():
        if (gone := decision.leaves(ids)).any():
            target = np.array(state.constant(node.inputs[1]))
            target[axis] = int((~gone).sum())
            operands.put(node, 1, target, {})
    operands.clean()
    shapes.forget(state.model)


def _absorb(state: Analysis, decision: Decision, read: Read, contents: dict[Slot, np.ndarray]) -> None:
    """`bias += alpha / beta · Σ_k W · k` over the constant positions that go."""
    going = decision.leaves(read.ids) & np.isfinite(read.known) & (read.known != 0)
    merged = np.isin(decision.roots[read.ids], list(decision.merges))
    going &= ~merged | read.absorbed
    if read.bias is None or not read.uniform or not going.any():
        return
    delta = read.alpha / read.beta * (read.sums[:, going] @ read.known[going])
    node, index = read.bias
    old = state.constant(node.inputs[index]) if _present(node, index) else np.zeros(len(read.outs), read.taps.dtype)
    if old is not None and delta.any():
        contents[read.bias] = (old.astype(np.float64) + delta).astype(old.dtype)


def _merge(state: Analysis, decision: Decision, read: Read, contents: dict[Slot, np.ndarray]) -> None:
    """`W_s += (k_r / k_s) · W_r` for each constant r that goes to its representative s."""
    classes = decision.roots[read.ids]
    pairs = [(r, s) for r, s in decision.merges.items() if (classes == r).any() and (classes == s).any()]
    if not pairs or read.groups > 1:
        return
    weights = np.array(state.constant(read.node.inputs[read.weight[1]]))
    for r, s in pairs:
        ...
