"""The shape of what each operator gives, where onnx's inference does not know it: shapes that are computed, and what follows.

Inference knows these operators too; what is added here is that the sizes may be expressions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxzip.model.elements import Asks, Extent, axes_of, numbers, positive
from onnxzip.model.operators import BROADCASTING, KEEP_SHAPE
from onnxzip.model.sizes import ONE, ZERO, Size, broadcast, least, less, product


def _same(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    return asks.shape(node.inputs[0]) if value is node.outputs[0] else None


def _broadcast(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    return broadcast_all(asks, [asks.shape(v) for v in node.inputs], value) if asks.opset >= 7 else None


def broadcast_all(asks: Asks, shapes: list[Extent | None], value: ir.Value) -> Extent | None:
    """The common shape; axes that cannot be told are symbols of `value`."""
    known = [s for s in shapes if s is not None]
    if len(known) < len(shapes) or not known:
        return None
    rank = max(map(len, known))
    result: list[Size] = []
    for axis in range(rank):
        size: Size | None = ONE
        for shape in known:
            at = axis - rank + len(shape)
            size = broadcast(size, shape[at]) if at >= 0 and size is not None else size
        result.append(asks.axis(value, axis) if size is None else size)
    return tuple(result)


def _reshape(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    """Element by element of the target: a size, a copy (0), the rest (-1).

    A computed size that turns out to be 0 is a copy as well. So it counts only where that makes no difference.
    """
    target, source = asks.content(node.inputs[1]), asks.shape(node.inputs[0])
    if target is None or target.ndim != 1:
        return None
    copies = not node.attributes.get_int("allowzero", 0)
    known = [_is_known(item) for item in target]
    rests = [axis for axis, item in enumerate(target) if item is not None and item.known == -1]
    complete = source is not None and all(known) and product(target) == product(source)
    result: list[Size] = []
    for axis, item in enumerate(target):
        there = source[axis] if source is not None and axis < len(source) else None
        size = asks.axis(value, axis)
        if copies and item == ZERO:
            size = size if there is None else there
        elif known[axis] and (
            not copies or complete or item.low > 0 or (there is not None and _are_0_together(item, there))
        ):
            size = item
        result.append(size)
    if len(rests) == 1 and source is not None:
        others = product(s for i, s in enumerate(result) if i != rests[0])
        result[rests[0]] = product(source).over(others) or result[rests[0]]
    return tuple(result)


def _is_known(item: Size | None) -> bool:
    return item is not None and item.low is not None and item.low >= 0


def _are_0_together(a: Size, b: Size) -> bool:
    """Whether one is a multiple of the other by a number."""
    ratio = a.over(b) or b.over(a)
    return ratio is not None and bool(ratio.known)


def _flatten(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape, axis = asks.shape(node.inputs[0]), node.attributes.get_int("axis", 1)
    if shape is None:
        return None
    axis += len(shape) if axis < 0 else 0
    return product(shape[:axis]), product(shape[axis:])


def _expand(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    target, shape = asks.content(node.inputs[1]), asks.shape(node.inputs[0])
    if target is None or target.ndim != 1:
        return None
    unknown = [asks.axis(value, max(0, len(shape or ()) - len(target)) + i) for i in range(len(target))]
    filled = tuple(u if i is None else i for i, u in zip(target, unknown, strict=True))
    return broadcast_all(asks, [shape, filled], value)


def _constant_of_shape(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    target = asks.content(node.inputs[0])
    if target is None:
        return None
    return tuple(asks.axis(value, i) if size is None else size for i, size in enumerate(target.reshape(-1)))


def _tile(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape, repeats = asks.shape(node.inputs[0]), asks.content(node.inputs[1])
    if shape is None or repeats is None:
        return None
    pairs = enumerate(zip(shape, repeats.reshape(-1), strict=True))
    return tuple(asks.axis(value, i) if r is None else s * r for i, (s, r) in pairs)


def _range(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    start, limit, delta = (asks.size(v) for v in node.inputs)
    if start is None or limit is None or delta != ONE:
        return None
    length = limit - start
    return (length,) if length.low is not None and length.low >= 0 else None


def _transpose(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape = asks.shape(node.inputs[0])
    if shape is None:
        return None
    return tuple(shape[a] for a in node.attributes.get_ints("perm") or reversed(range(len(shape))))


def _unsqueeze(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape, axes = asks.shape(node.inputs[0]), axes_of(asks, node, 13)
    if shape is None or axes is None:
        return None
    result = list(shape)
    for axis in positive(axes, len(shape) + len(axes)):
        result.insert(axis, ONE)
    return tuple(result)


def _squeeze(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape, axes = asks.shape(node.inputs[0]), axes_of(asks, node, 13)
    if shape is None or axes is None:
        return None
    gone = positive(axes, len(shape))
    return tuple(s for i, s in enumerate(shape) if i not in gone)


def _concat(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shapes = [asks.shape(v) for v in node.inputs]
    known = [s for s in shapes if s is not None]
    if not known or len(known) < len(shapes):
        return None
    axis = positive([node.attributes.get_int("axis", 0)], len(known[0]))[0]
    result = list(known[0])
    for shape in known[1:]:
        result = [
            o if s.known is None and o.known is not None else s for s, o in zip(result, shape, strict=True)
        ]  # equal, or it fails
    result[axis] = sum((s[axis] for s in known), ZERO)
    return tuple(result)


def _gather(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape, indices = asks.shape(node.inputs[0]), asks.shape(node.inputs[1])
    if shape is None or indices is None:
        return None
    axis = positive([node.attributes.get_int("axis", 0)], len(shape))[0]
    return (*shape[:axis], *indices, *shape[axis + 1 :])


def _slice(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    """From a known start to an end that may be a size, step by step; backwards from end to begin."""
    shape = asks.shape(node.inputs[0])
    if shape is None or asks.opset < 10:
        return None
    given = [
        None if (c := asks.content(v)) is None else c.reshape(-1) for v in node.inputs[1:]
    ]  # runtimes take numbers too
    starts, ends = given[0], given[1]
    amount = 0 if starts is None else starts.size
    axes = numbers(given[2]) if len(given) > 2 and node.inputs[3] is not None else np.arange(amount)
    steps = numbers(given[3]) if len(given) > 3 and node.inputs[4] is not None else np.ones(amount, int)
    if starts is None or ends is None or axes is None or steps is None:
        return None
    result = list(shape)
    for axis, start, end, step in zip(axes.tolist(), starts, ends, steps.tolist(), strict=True):
        at = positive([axis], len(shape))[0]
        length = _length(shape[at], start, end, _endless(shape, at)) if step == 1 else None
        result[at] = asks.axis(value, at) if length is None else length
    return tuple(result)


def _endless(shape: Extent, axis: int) -> int:
    """What no axis is longer than, so that a slice that ends there ends at its end.

    Exporters write 2^31 - 1 or more, and one of them 10^9; that many steps of 256 elements are more than any machine holds.
    """
    others = math.prod(size.known or 1 for i, size in enumerate(shape) if i != axis)
    return 10**9 if others >= 256 else 2**31 - 1


def _length(size: Size, start: Size | None, end: Size | None, endless: int) -> Size | None:
    """What a slice with step 1 leaves of an axis."""
    first, last = (_clamped(size, bound, endless) for bound in (start, end))
    if first is None or last is None:
        return None
    length = last - first
    if length.low is not None and length.low >= 0:
        return length
    return ZERO if length.high is not None and length.high <= 0 else None


def _clamped(size: Size, bound: Size | None, endless: int) -> Size | None:
    """A start or end as it counts: from the end of the axis when negative, and never beyond it."""
    if bound is None:
        return None
    if bound.high is not None and bound.high < 0:
        bound += size
        if bound.high is not None and bound.high <= 0:
            return ZERO
    if bound.low is None or bound.low < 0:
        return None
    if less(bound, size) is False or (bound.known or 0) >= endless:
        return size
    return least(bound, size)


def _matmul(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    first, second = (asks.shape(v) for v in node.inputs)
    if first is None or second is None or len(first) < 2 or len(second) < 2:
        return None
    batch = broadcast_all(asks, [first[:-2], second[:-2]], value)
    return None if batch is None else (*batch, first[-2], second[-1])


def _pad(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape = asks.shape(node.inputs[0])
    if shape is None or asks.opset < 11 or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return None
    pads = asks.content(node.inputs[1])
    if pads is None or pads.size != 2 * len(shape):
        return None
    ends = zip(pads[: len(shape)], pads[len(shape) :], strict=True)
    return tuple(
        asks.axis(value, i) if a is None or b is None else s + a + b
        for i, (s, (a, b)) in enumerate(zip(shape, ends, strict=True))
    )


def _reduce(asks: Asks, node: ir.Node, value: ir.Value) -> Extent | None:
    shape = asks.shape(node.inputs[0])
    since = 13 if node.op_type == "ReduceSum" else 18
    given = axes_of(asks, node, since)
    if shape is None or given is None or not given:
        return None
    axes, keep = positive(given, len(shape)), node.attributes.get_int("keepdims", 1)
    return tuple(ONE if i in axes else s for i, s in enumerate(shape) if keep or i not in axes)


SHAPE_RULES: dict[str, Callable[[Asks, ir.Node, ir.Value], Extent | None]] = {
    **dict.fromkeys(sorted(KEEP_SHAPE), _same),
    **dict.fromkeys(sorted(BROADCASTING), _broadcast),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceProd", "ReduceL2"), _reduce),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Tile": _tile,
    "Range": _range,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "MatMul": _matmul,
    "Pad": _pad,
}
