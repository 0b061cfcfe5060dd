"""Which nodes give one of their inputs back: pure analysis, one function for each operator.

Each function returns the value that the node passes through, or None. Shapes count only where they are provable: a known
size equals itself, a symbolic axis equals one of the same name, an unknown axis equals nothing (failures.md 11).

What rounds: nothing. What may change: adding 0.0 turns -0.0 into 0.0, and taking the addition away does not; the two are
equal in every comparison and differ only as divisors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.shapes import Dim, Shapes
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.scope import is_inference_dropout
from onnxzip.passes.slices import taken_by


def passed_through(node: ir.Node, context: Context) -> ir.Value | None:
    """The input that the first output of `node` equals, in value, type and shape; None when there is none."""
    check = _CHECKS.get(node.op_type)
    if check is None or not is_op(node, node.op_type) or not node.inputs or node.inputs[0] is None:
        return None
    if any(o.uses() or o.is_graph_output() for o in node.outputs[1:]):
        return None  # such as the mask of a Dropout (failures.md 4)
    return check(node, context)


def same_shape(first: tuple[Dim, ...] | None, second: tuple[Dim, ...] | None) -> bool:
    """Whether two shapes are provably equal.

    >>> same_shape(("N", 3), ("N", 3)), same_shape((None, 3), (None, 3))
    (True, False)
    """
    return first is not None and second is not None and first == second and None not in first


def _identity(node: ir.Node, context: Context) -> ir.Value | None:
    return node.inputs[0]


def _dropout(node: ir.Node, context: Context) -> ir.Value | None:
    return node.inputs[0] if context.opset >= 7 and is_inference_dropout(node) else None


def _cast(node: ir.Node, context: Context) -> ir.Value | None:
    dtype = context.shapes.dtype(node.inputs[0])
    return node.inputs[0] if dtype is not None and node.attributes.get_int("to") == dtype else None


def _cast_like(node: ir.Node, context: Context) -> ir.Value | None:
    dtype = context.shapes.dtype(node.inputs[0])
    return node.inputs[0] if dtype is not None and dtype == context.shapes.dtype(node.inputs[1]) else None


def _transpose(node: ir.Node, context: Context) -> ir.Value | None:
    perm = node.attributes.get_ints("perm")
    if perm is None:
        rank = context.shapes.rank(node.inputs[0])
        return node.inputs[0] if rank is not None and rank < 2 else None
    return node.inputs[0] if list(perm) == sorted(perm) else None


def _same_elements(node: ir.Node, context: Context) -> ir.Value | None:
    """Reshape, Flatten, Squeeze, Unsqueeze keep all elements in order: equal when the shape is."""
    shapes = context.shapes
    if node.op_type == "Flatten" and node.attributes.get_int("axis", 1) == 1 and shapes.rank(node.inputs[0]) == 2:
        return node.inputs[0]
    before, after = shapes.of(node.inputs[0]), shapes.of(node.outputs[0])
    return node.inputs[0] if keeps_elements(before, after) else None


def keeps_elements(before: tuple[Dim, ...] | None, after: tuple[Dim, ...] | None) -> bool:
    """Whether two shapes of equally many elements are provably equal."""
    return same_shape(before, after) or _one_unknown(before, after)


def _one_unknown(before: tuple[Dim, ...] | None, after: tuple[Dim, ...] | None) -> bool:
    """Equal but for one axis: the number of elements makes that one equal too (all others known and not zero)."""
    if before is None or after is None or len(before) != len(after):
        return False
    different = [(b, a) for b, a in zip(before, after, strict=True) if b is None or b != a]
    known = [b for b, a in zip(before, after, strict=True) if b == a]
    if len(different) != 1 or all(isinstance(d, int) for d in different[0]):
        return False
    return all(isinstance(d, int) and d > 0 for d in known)


def _expand(node: ir.Node, context: Context) -> ir.Value | None:
    shape, target = context.shapes.of(node.inputs[0]), array(node.inputs[1])
    if shape is not None and target is not None and target.size <= len(shape) and bool((target == 1).all()):
        return node.inputs[0]
    return node.inputs[0] if same_shape(shape, context.shapes.of(node.outputs[0])) else None


def _tile(node: ir.Node, context: Context) -> ir.Value | None:
    repeats = array(node.inputs[1]) if context.opset >= 6 else None
    return node.inputs[0] if repeats is not None and bool((repeats == 1).all()) else None


def _pad(node: ir.Node, context: Context) -> ir.Value | None:
    pads = array(node.inputs[1]) if context.opset >= 11 else np.asarray(node.attributes.get_ints("pads", [1]))
    return node.inputs[0] if pads is not None and not pads.any() else None


def _slice(node: ir.Node, context: Context) -> ir.Value | None:
    taken = taken_by(node, context)
    if taken is None or any(step != 1 for _, _, step in taken.values()):
        return None
    if not taken:
        return node.inputs[0]
    # a slice with step 1 that is as long as the axis is the whole axis
    return node.inputs[0] if same_shape(context.shapes.of(node.inputs[0]), context.shapes.of(node.outputs[0])) else None


def _of_one(node: ir.Node, context: Context) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _neutral_right(neutral: float) -> Callable[[ir.Node, Context], ir.Value | None]:
    """x - 0, x / 1, x ** 1."""

    def check(node: ir.Node, context: Context) -> ir.Value | None:
        return _operand(node, 0, neutral, context)

    return check


def _neutral_either(neutral: float) -> Callable[[ir.Node, Context], ir.Value | None]:
    """x + 0 and 0 + x, x * 1 and 1 * x."""

    def check(node: ir.Node, context: Context) -> ir.Value | None:
        found = _operand(node, 0, neutral, context)
        return found if found is not None else _operand(node, 1, neutral, context)

    return check


def _operand(node: ir.Node, index: int, neutral: float, context: Context) -> ir.Value | None:
    """Operand `index` when the other one is all `neutral` and cannot change the shape."""
    kept, other = node.inputs[index], node.inputs[1 - index]
    if context.opset < 7 or kept is None:
        return None  # broadcasting was another thing before opset 7
    constant = array(other)
    if constant is None or constant.size == 0 or constant.dtype.kind not in "fiu" or not (constant == neutral).all():
        return None
    return kept if constant.ndim == 0 or broadcasts_into(constant.shape, kept, context.shapes) else None


def broadcasts_into(shape: tuple[int, ...], value: ir.Value, shapes: Shapes) -> bool:
    """Whether a constant of `shape` broadcasts to `value` without changing the shape of it."""
    target = shapes.of(value)
    if target is None or len(shape) > len(target):
        return False
    aligned = target[len(target) - len(shape) :]
    return all(size in (1, dim) for size, dim in zip(shape, aligned, strict=True))


_NOT_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "Exp", "Sqrt", "HardSigmoid", "Softplus")


def _relu(node: ir.Node, context: Context) -> ir.Value | None:
    """Relu of what cannot be negative."""
    return node.inputs[0] if is_not_negative(node.inputs[0], context) else None


def is_not_negative(value: ir.Value | None, context: Context) -> bool:
    """Whether no element can be below 0, by what computes it (NaN is not)."""
    producer = value.producer() if value is not None else None
    if is_op(producer, *_NOT_NEGATIVE):
        return True
    dtype = context.shapes.dtype(value)
    if is_op(producer, "Abs") and dtype is not None and dtype.is_floating_point():
        return True  # the smallest integer is its own absolute value
    low, high = clip_bounds(producer, context) if producer is not None and is_op(producer, "Clip") else (None, None)
    return low is not None and high is not None and low >= 0 and high >= 0


def _clip(node: ir.Node, context: Context) -> ir.Value | None:
    """Clip of a Clip whose bounds are as tight."""
    source = node.inputs[0]
    producer = source.producer() if source is not None else None
    if producer is None or not is_op(producer, "Clip"):
        return None
    low, high = clip_bounds(node, context)
    inner_low, inner_high = clip_bounds(producer, context)
    if low is None or high is None or inner_low is None or inner_high is None:
        return None
    return source if low <= inner_low <= inner_high <= high else None


def clip_bounds(node: ir.Node, context: Context) -> tuple[float | None, float | None]:
    """Lower and upper bound of a Clip: infinite where it is left out, None where it is not constant."""
    bounds: list[float | None] = []
    for index, (key, missing) in enumerate((("min", -np.inf), ("max", np.inf)), start=1):
        if context.opset < 11:
            bounds.append(node.attributes.get_float(key, missing))
        elif len(node.inputs) <= index or node.inputs[index] is None:
            bounds.append(missing)
        else:
            bounds.append(scalar(node.inputs[index]))
    return bounds[0], bounds[1]


def _idempotent(node: ir.Node, context: Context) -> ir.Value | None:
    source = node.inputs[0]
    same = source is not None and is_op(source.producer(), node.op_type)
    return source if same else None


_CHECKS: Mapping[str, Callable[[ir.Node, Context], ir.Value | None]] = {
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Transpose": _transpose,
    "Reshape": _same_elements,
    "Flatten": _same_elements,
    "Squeeze": _same_elements,
    "Unsqueeze": _same_elements,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _of_one,
    "Sum": _of_one,
    "Max": _of_one,
    "Min": _of_one,
    "Mean": _of_one,
    "Add": _neutral_either(0.0),
    "Sub": _neutral_right(0.0),
    "Mul": _neutral_either(1.0),
    "Div": _neutral_right(1.0),
    "Pow": _neutral_right(1.0),
    "Relu": _relu,
    "Clip": _clip,
    "Abs": _idempotent,
    "Ceil": _idempotent,
    "Floor": _idempotent,
    "Round": _idempotent,
    "Sign": _idempotent,
}

OPERATORS = tuple(_CHECKS)
