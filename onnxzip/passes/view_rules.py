"""How operators work on a view of their input: pure analysis.

`through(node, view)` says what becomes of a node when its tensors are replaced by views of them (see `views`): which view
each input and output takes, and how attributes and constant inputs change. None where the operator cares for the order of
its axes, or where it cannot be told. Legal cases:
1. One input, element by element; and with bounds or scales that hold one number.
2. Several inputs that broadcast: one of fewer axes is viewed as if it had all of them.
3. An axis or a list of axes is renamed: Concat, Split, Pad, Slice, Softmax (from opset 13), Reduce*, ArgMax, ArgMin,
   QuantizeLinear and DequantizeLinear. It has to be named by the view.
4. Reductions that take their axes away: the output loses them from its view.
Exact, but that a reduction over other axes adds up in another order. A mean over the last axes stays one over the last
axes: runtimes know LayerNormalization by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.views import View


@dataclass(frozen=True)
class Moved:
    """A node on views.

    Attributes:
        inputs: the view of each input; None: it stays as it is.
        outputs: the view of each output.
        attributes: lists or numbers that change.
        constants: integers that take the place of an input, by index.
    """

    inputs: tuple[View | None, ...]
    outputs: tuple[View, ...]
    attributes: Mapping[str, int | list[int]] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)


def through(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """The node with its main tensors (which have `rank` axes) in this view."""
    rule = _RULES.get(node.op_type)
    if rule is None or not is_op(node, node.op_type) or context.opset < 7 or not node.inputs or node.inputs[0] is None:
        return None
    return rule(node, view, rank, context)


def main_rank(node: ir.Node, context: Context) -> int | None:
    """The rank of the tensors that `through` speaks of."""
    return context.shapes.rank(node.outputs[0] if node.op_type in _BROADCASTING else node.inputs[0])


def _same(node: ir.Node, view: View, rank: int, context: Context) -> Moved:
    """Case 1."""
    return _one(node, view, view)


def _one(
    node: ir.Node,
    view: View,
    result: View,
    attributes: Mapping[str, int | list[int]] | None = None,
    constants: Mapping[int, np.ndarray] | None = None,
) -> Moved:
    others = (None,) * (len(node.inputs) - 1)
    return Moved((view, *others), (result,) * len(node.outputs), attributes or {}, constants or {})


def _broadcast(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Case 2."""
    found: list[View | None] = []
    for value in node.inputs:
        own = context.shapes.rank(value)
        if own is None or own > rank:
            return None
        missing = rank - own
        part = [None if axis is None or axis < missing else axis - missing for axis in view]
        while missing and part and part[0] is None:
            part = part[1:]
        found.append(tuple(part))
    return Moved(tuple(found), (view,))


def _axis(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Case 3: one axis."""
    if is_op(node, "Softmax", "LogSoftmax", "Hardmax") and context.opset < 13:
        return None  # it flattens the axes behind
    default = -1 if is_op(node, "Softmax", "LogSoftmax", "Hardmax") else 0
    axis = node.attributes.get_int("axis", default) % rank if rank else 0
    if axis not in view:
        return None
    changed: dict[str, int | list[int]] = {"axis": view.index(axis)}
    if is_op(node, "Concat"):
        return Moved((view,) * len(node.inputs), (view,), changed)
    return _one(node, view, view, changed)


def _arg(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Cases 3 and 4 of ArgMax and ArgMin."""
    axis = node.attributes.get_int("axis", 0) % rank if rank else 0
    if axis not in view:
        return None
    result = view if node.attributes.get_int("keepdims", 1) else _without(view, [axis])
    return _one(node, view, result, {"axis": view.index(axis)})


def _reduce(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Cases 3 and 4 of the reductions."""
    as_input = context.opset >= (13 if node.op_type == "ReduceSum" else 18)
    given = _axes(node, rank, 1 if as_input else None)
    if given is None or (not given and node.attributes.get_int("noop_with_empty_axes", 0) != 0):
        return None
    axes = given or list(range(rank))
    kept = node.attributes.get_int("keepdims", 1) != 0
    if any(axis not in view for axis in (axes if given or not kept else [])):
        return None
    if not given:  # all of them
        return _one(node, view, view if kept else ())
    renamed = sorted(view.index(axis) for axis in axes)
    if node.op_type == "ReduceMean" and _is_tail(sorted(axes), rank) and not _is_tail(renamed, len(view)):
        return None
    return _one(node, view, view if kept else _without(view, axes), *_renamed(renamed, 1 if as_input else None))


def _is_tail(axes: Sequence[int], rank: int) -> bool:
    return list(axes) == list(range(rank - len(axes), rank))


def _without(view: View, axes: Sequence[int]) -> View:
    """The view of what is left when these axes are reduced away."""
    left = [axis for axis in view if axis not in axes]
    return tuple(None if axis is None else axis - sum(a < axis for a in axes) for axis in left)


def _slice(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Case 3 of Slice."""
    as_input = context.opset >= 10
    if as_input and (len(node.inputs) < 4 or node.inputs[3] is None):
        starts = context.shapes.static(node.inputs[1])
        axes = list(range(starts[0])) if starts is not None and len(starts) == 1 else None
    else:
        starts_given = node.attributes.get_ints("starts", [])
        axes = _axes(node, rank, 3 if as_input else None) or (None if as_input else list(range(len(starts_given))))
    if axes is None or any(axis not in view for axis in axes):
        return None
    return _one(node, view, view, *_renamed([view.index(axis) for axis in axes], 3 if as_input else None))


def _pad(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Case 3 of Pad: an axis that the view drops or adds is not padded."""
    as_input = context.opset >= 11
    given = array(node.inputs[1]) if as_input else np.array(node.attributes.get_ints("pads", []), np.int64)
    if given is None or (len(node.inputs) > 3 and node.inputs[3] is not None) or given.size != 2 * rank:
        return None
    before, after = given.reshape(2, rank).tolist()
    if any((before[axis] or after[axis]) and axis not in view for axis in range(rank)):
        return None
    pads = [0 if axis is None else side[axis] for side in (before, after) for axis in view]
    if as_input:
        return _one(node, view, view, None, {1: np.array(pads, np.int64)})
    return _one(node, view, view, {"pads": pads})


def _quantize(node: ir.Node, view: View, rank: int, context: Context) -> Moved | None:
    """Cases 1 and 3 of QuantizeLinear and DequantizeLinear."""
    scale = context.shapes.static(node.inputs[1])
    if scale is None or len(scale) > 1 or node.attributes.get_int("block_size", 0) != 0:
        return None
    if scale in ((), (1,)):
        return _same(node, view, rank, context)
    axis = node.attributes.get_int("axis", 1) % rank if rank else 0
    return _one(node, view, view, {"axis": view.index(axis)}) if axis in view else None


def _axes(node: ir.Node, rank: int, index: int | None) -> list[int] | None:
    """The axes of a node, as an attribute or as input `index`: empty when there are none, None when they are computed."""
    if index is None:
        return [axis % rank for axis in node.attributes.get_ints("axes", [])]
    if len(node.inputs) <= index or node.inputs[index] is None:
        return []
    found = array(node.inputs[index])
    return None if found is None else [int(axis) % rank for axis in found.reshape(-1)]


def _renamed(axes: list[int], index: int | None) -> tuple[dict[str, int | list[int]], dict[int, np.ndarray]]:
    """These axes as an attribute or as input `index`."""
    return ({"axes": axes}, {}) if index is None else ({}, {index: np.array(axes, np.int64)})


_BROADCASTING = frozenset(
    {
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Mod",
        "Max",
        "Min",
        "Sum",
        "Mean",
        "And",
        "Or",
        "Xor",
        "Equal",
        "Less",
        "Greater",
        "LessOrEqual",
        "GreaterOrEqual",
        "Where",
        "PRelu",
    }
)
_UNARY = frozenset(
    {
        "Abs",
        "Neg",
        "Sign",
        "Ceil",
        "Floor",
        "Round",
        "Exp",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Erf",
        "Sin",
        "Cos",
        "Tan",
        "Asin",
        "Acos",
        "Atan",
        "Sinh",
        "Cosh",
        "Asinh",
        "Acosh",
        "Atanh",
        "Relu",
        "LeakyRelu",
        "Elu",
        "Selu",
        "Celu",
        "Sigmoid",
        "HardSigmoid",
        "HardSwish",
        "Tanh",
        "Softplus",
        "Softsign",
        "Mish",
        "Gelu",
        "Swish",
        "ThresholdedRelu",
        "Clip",
        "Cast",
        "Not",
        "IsNaN",
        "IsInf",
        "BitwiseNot",
    }
)
_REDUCTIONS = frozenset(
    {
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceLogSum",
        "ReduceLogSumExp",
    }
)

Rule = Callable[[ir.Node, View, int, Context], Moved | None]

_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_UNARY, _same),
    **dict.fromkeys(_BROADCASTING, _broadcast),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(("Concat", "Split", "Softmax", "LogSoftmax", "Hardmax"), _axis),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantize),
    "Slice": _slice,
    "Pad": _pad,
}
