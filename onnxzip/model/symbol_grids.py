"""Which integer tensors grow evenly along their axes, and which hold one number everywhere."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxzip.model.elements import Asks, Extent, Grid, axes_of, positive
from onnxzip.model.sizes import ONE, ZERO, Size, product
from onnxzip.model.symbol_contents import fill
from onnxzip.model.symbol_logic import COMPARE, negated


def _range(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    start, limit, delta = (asks.size(v) for v in node.inputs)
    if start is None or limit is None or delta is None:
        return None
    length = limit - start
    if delta != ONE or length.low is None or length.low < 0:
        return None
    return Grid(start, (ONE,), (length,))


def _same(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    return asks.grid(node.inputs[0])


def _widened(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    """A Cast that loses nothing."""
    return asks.grid(node.inputs[0]) if node.attributes.get_int("to") == ir.DataType.INT64 else None


def _moved_axes(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    """Unsqueeze and Squeeze: axes of size 1 come and go."""
    grid, axes = asks.grid(node.inputs[0]), axes_of(asks, node, 13)
    if grid is None or axes is None:
        return None
    strides, shape = list(grid.strides), list(grid.shape)
    if node.op_type == "Unsqueeze":
        for axis in positive(axes, len(shape) + len(axes)):
            strides.insert(axis, ZERO)
            shape.insert(axis, ONE)
    else:
        for axis in reversed(positive(axes, len(shape))):
            del strides[axis], shape[axis]
    return Grid(grid.offset, tuple(strides), tuple(shape))


def _expand(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    grid, shape = asks.grid(node.inputs[0]), asks.shape(value)
    return None if grid is None or shape is None else _stretched(grid, shape)


def _sum(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    """Add and Sub: grids of one shape add up."""
    shape = asks.shape(value)
    a, b = (_stretched(g, shape) if g is not None and shape is not None else None for g in map(asks.grid, node.inputs))
    if a is None or b is None or shape is None:
        return None
    sign = Size.of(-1) if node.op_type == "Sub" else ONE
    strides = tuple(p + sign * q for p, q in zip(a.strides, b.strides, strict=True))
    return Grid(a.offset + sign * b.offset, strides, shape)


def _product(asks: Asks, node: ir.Node, value: ir.Value) -> Grid | None:
    """One of the factors is the same everywhere."""
    shape, grids = asks.shape(value), [asks.grid(v) for v in node.inputs]
    if shape is None or grids[0] is None or grids[1] is None:
        return None
    for grid, factor in ((grids[0], grids[1]), (grids[1], grids[0])):
        stretched = _stretched(grid, shape)
        if stretched is not None and not any(factor.strides[i] != ZERO for i in range(len(factor.strides))):
            strides = tuple(s * factor.offset for s in stretched.strides)
            return Grid(stretched.offset * factor.offset, strides, shape)
    return None


def _stretched(grid: Grid, shape: Extent) -> Grid | None:
    """The grid broadcast to this shape, where it provably fits."""
    missing = len(shape) - len(grid.shape)
    strides = [ZERO] * missing
    for size, wanted, stride in zip(grid.shape, shape[missing:], grid.strides, strict=True):
        if size != wanted and size != ONE:
            return None
        strides.append(stride if size == wanted else ZERO)
    return Grid(grid.offset, tuple(strides), shape)


def _uniform_source(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    return asks.uniform(node.inputs[0])


def _filled(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    number = fill(node)
    return None if number is None else Size.of(number)


def _compared(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    """A comparison that holds, or does not, for the smallest difference of two grids."""
    a, b = (asks.grid(v) for v in node.inputs)
    if a is None or b is None:
        return None
    for first, second, sign in ((a, b, 1), (b, a, -1)):
        low, high = first.low, _most(second)
        if low is None or high is None:
            continue
        # first >= low and second <= high: what holds for the two nearest numbers must hold for all
        least_difference = low - high
        return _decided(node.op_type, least_difference, sign)
    return None


def _most(grid: Grid) -> int | None:
    if any(s.high is None or s.high > 0 for s in grid.strides):
        return None
    return grid.offset.high


def _decided(op: str, difference: int, sign: int) -> Size | None:
    """What a comparison of a and b is, given that (a - b) * sign is at least `difference`."""
    if difference > 0:
        return COMPARE[op](Size.of(sign), ZERO)
    if difference == 0:
        decided = {("GreaterOrEqual", 1): ONE, ("Less", 1): ZERO, ("LessOrEqual", -1): ONE, ("Greater", -1): ZERO}
        return decided.get((op, sign))
    return None


def _both(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    a, b = (asks.uniform(v) for v in node.inputs)
    neutral, decisive = (ONE, ZERO) if node.op_type == "And" else (ZERO, ONE)
    if decisive in (a, b):
        return decisive
    return neutral if a == b == neutral else None


def _not(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    return negated(asks.uniform(node.inputs[0]))


def _zero(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    a, b = (asks.uniform(v) for v in node.inputs)
    if ZERO in (a, b):
        return ZERO
    return product((a, b)) if a is not None and b is not None and product((a, b)).sane else None


def _to_boolean(asks: Asks, node: ir.Node, value: ir.Value) -> Size | None:
    found = asks.uniform(node.inputs[0])
    if found is None or found.known is None:
        return None
    to = node.attributes.get_int("to")
    if to == ir.DataType.BOOL:
        return Size.of(int(found.known != 0))
    return found if -(2**31) <= found.known < 2**31 else None


GRID_RULES: dict[str, Callable[[Asks, ir.Node, ir.Value], Grid | None]] = {
    "Range": _range,
    "Identity": _same,
    "Cast": _widened,
    "Unsqueeze": _moved_axes,
    "Squeeze": _moved_axes,
    "Expand": _expand,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
}

UNIFORM_RULES: dict[str, Callable[[Asks, ir.Node, ir.Value], Size | None]] = {
    **dict.fromkeys(
        ("Identity", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Expand", "Tile", "Slice", "Gather"),
        _uniform_source,
    ),
    "ConstantOfShape": _filled,
    "Cast": _to_boolean,
    "Not": _not,
    "And": _both,
    "Or": _both,
    "Mul": _zero,
    **dict.fromkeys(COMPARE, _compared),
}
