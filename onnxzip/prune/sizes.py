"""What a model costs in multiply-adds and in parameters, as a function of the classes that go.

Every cost is a sum of products: `unit · Π_axes (positions that stay along the axis)`, since tensors are cut along whole axes.

1. Conv, Gemm, MatMul with constant weights: each element is used once an output position (an input position of ConvTranspose).
2. MatMul of two computed operands: elements of the left one times columns of the right one, in proportion to the output's
   channels that stay (to the left operand's where the output carries none).
3. parameters: elements of the float constants, and of integers that channels are cut from (quantized weights).

Positions come from the shapes of one batch, so multiply-adds are those of that batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.constants import source
from onnxzip.model.walk import is_op
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Cut, Slot
from onnxzip.prune.labels import Flags, Ids

Shape = tuple[int, ...]

LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class Term:
    """`unit · Π_axes (positions that stay)`: the classes along each axis that can shrink."""

    unit: float
    axes: tuple[Ids, ...]

    def value(self, gone: Flags) -> float:
        """The cost once these classes are gone."""
        return self.unit * math.prod(int((~gone[a]).sum()) for a in self.axes)


@dataclass(frozen=True, eq=False)
class Sizes:
    """The terms of multiply-adds and of parameters."""

    multiply_adds: tuple[Term, ...]
    parameters: tuple[Term, ...]

    def terms(self, by: str) -> tuple[Term, ...]:
        """The terms of "multiply-adds" or "parameters"."""
        return self.multiply_adds if by == "multiply-adds" else self.parameters

    def total(self, by: str, gone: Flags) -> float:
        """Their sum once these classes are gone."""
        return sum(t.value(gone) for t in self.terms(by))


def needed(model: ir.Model) -> tuple[str, ...]:
    """The computed values whose shapes `sizes` wants."""
    found: dict[str, None] = {}
    for node in _layers(model.graph):
        for value in (*node.inputs[:2], *node.outputs[:1]):
            if value is not None and value.name and not value.is_initializer():
                found[value.name] = None
    return tuple(found)


def sizes(state: Analysis, roots: Ids, shapes: Mapping[str, Shape]) -> Sizes:
    """The terms of a model, from the shapes of the values that `needed` names (a layer without them counts once)."""
    muls = [t for n in _layers(state.model.graph) if (t := _multiply_adds(state, roots, n, shapes)) is not None]
    return Sizes(tuple(muls), tuple(_parameters(state, roots)))


def _layers(nodes: Iterable[ir.Node]) -> Iterable[ir.Node]:
    return (n for n in nodes if is_op(n, *LINEAR))


def _multiply_adds(state: Analysis, roots: Ids, node: ir.Node, shapes: Mapping[str, Shape]) -> Term | None:
    left, right = (_shape(state, v, shapes) for v in node.inputs[:2])
    out = _shape(state, node.outputs[0], shapes)
    if state.floats(node.inputs[0]) is not None and left is not None and out is not None:  # 1, weights on the left
        return _term(math.prod(out) // max(1, left[-2]), left, _cuts(state, node, 0), roots)
    if state.floats(node.inputs[1]) is not None and right is not None:  # 1
        if node.op_type == "ConvTranspose":
            uses = 1 if left is None else math.prod(left) // max(1, left[1])
        else:
            rows_first = node.op_type == "Conv" or (
                node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
            )
            channels = right[0] if rows_first else right[-1]
            uses = 1 if out is None else math.prod(out) // max(1, channels)
        return _term(uses, right, _cuts(state, node, 1), roots)
    if left is None or right is None or out is None or not left:
        return None
    labels = next((found for v in (node.outputs[0], node.inputs[0]) if (found := _labels(state, v)) is not None), None)
    base = float(math.prod(out) * left[-1])  # 2
    if labels is None:
        return Term(base, ())
    return Term(base / labels.size, (roots[labels.reshape(-1)],))


def _labels(state: Analysis, value: ir.Value | None) -> Ids | None:
    found = None if value is None else state.labels.get(value)
    return None if found is None else found.ids


def _shape(state: Analysis, value: ir.Value | None, shapes: Mapping[str, Shape]) -> Shape | None:
    content = state.constant(value)
    content = state.floats(value) if content is None else content
    if content is not None:
        return tuple(content.shape)
    return None if value is None else shapes.get(value.name or "")


def _parameters(state: Analysis, roots: Ids) -> Iterable[Term]:
    """Case 3: each constant once, cut as its first reader cuts it."""
    slots: dict[ir.Value, Slot] = {}
    for node, index in state.cuts:
        root = source(node.inputs[index]) if index < len(node.inputs) else None
        if root is not None:
            slots.setdefault(root, (node, index))
    for value in state.model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or not value.uses() or not (tensor.dtype.is_floating_point() or value in slots):
            continue
        cuts = state.cuts[slots[value]] if value in slots else ()
        yield _term(1, tuple(tensor.shape.numpy()), cuts, roots)


def _cuts(state: Analysis, node: ir.Node, index: int) -> Sequence[Cut]:
    """How an operand shrinks, also one that is stored quantized."""
    value = source(node.inputs[index])
    producer = None if value is None else value.producer()
    slot = (producer, 0) if producer is not None and is_op(producer, "DequantizeLinear") else (node, index)
    return state.cuts.get(slot, ())


def _term(uses: float, shape: Shape, cuts: Sequence[Cut], roots: Ids) -> Term:
    """Elements of a tensor, each used so often. The columns of a grouped layer are those of all groups, its rows see a part of them."""
    live = [cut.ids.reshape(-1) for cut in cuts if roots[cut.ids].any()]
    unit = uses * math.prod(shape) / math.prod(len(ids) for ids in live)
    return Term(unit, tuple(roots[ids] for ids in live))
