"""How each operator makes the elements of a small integer tensor out of those of its inputs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxzip.model.elements import Asks, Elements, axes_of, elements, numbers, positive
from onnxzip.model.sizes import Size, product
from onnxzip.model.symbol_logic import MOST, POINTWISE_RULES, choose, each, is_not_zero, plus, times

_INT32 = 2**31


def _shape(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    shape = asks.shape(node.inputs[0])
    if shape is None:
        return None
    start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", len(shape))
    return _array(shape[start:end])


def _size(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    shape = asks.shape(node.inputs[0])
    return None if shape is None else _single(product(shape))


def _same(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    return asks.content(node.inputs[0])


def _cast(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    """Integers as integers; as booleans where it is known whether they are 0."""
    found, to = asks.content(node.inputs[0]), node.attributes.get_int("to")
    if found is None or to == ir.DataType.INT64:
        return found
    if to == ir.DataType.BOOL:
        return each(is_not_zero, found)
    known = [i.known for i in found.flat if i is not None and i.known is not None]
    return found if to == ir.DataType.INT32 and all(-_INT32 <= k < _INT32 for k in known) else None


def _gather(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, indices = asks.content(node.inputs[0]), numbers(asks.content(node.inputs[1]))
    if data is None or indices is None or indices.size > MOST:
        return None
    taken: Elements = np.take(data, indices, axis=node.attributes.get_int("axis", 0))
    return _array([taken]).reshape(()) if isinstance(taken, Size) or taken is None else taken


def _slice(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data = asks.content(node.inputs[0])
    bounds = _bounds(asks, node)
    if data is None or bounds is None:
        return None
    at: list[slice] = [slice(None)] * data.ndim
    for axis, start, end, step in bounds:
        if step < 0 or axis >= data.ndim or axis < -data.ndim:
            return None
        at[axis] = slice(start, end, step)
    return data[tuple(at)]


def _bounds(asks: Asks, node: ir.Node) -> list[tuple[int, int, int, int]] | None:
    """Axis, start, end and step of all that a Slice with known bounds cuts."""
    if asks.opset < 10:
        starts, ends = (list(node.attributes.get_ints(k, [])) for k in ("starts", "ends"))
        axes = list(node.attributes.get_ints("axes", range(len(starts))))
        return list(zip(axes, starts, ends, [1] * len(starts), strict=True))
    found = [numbers(asks.content(v)) if v is not None else None for v in node.inputs[1:]]
    given = [None if g is None else g.reshape(-1) for g in found]  # runtimes take single numbers too
    if len(given) < 2 or given[0] is None or given[1] is None:
        return None
    if any(v is not None and g is None for v, g in zip(node.inputs[1:], given, strict=True)):
        return None
    amount = len(given[0])
    axes_, steps_ = ((*given, None, None)[i] for i in (2, 3))
    axes_ = np.arange(amount) if axes_ is None else axes_
    steps_ = np.ones(amount, np.int64) if steps_ is None else steps_
    return [(int(a), int(s), int(e), int(t)) for a, s, e, t in zip(axes_, given[0], given[1], steps_, strict=True)]


def _concat(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    parts = [asks.content(v) for v in node.inputs]
    known = [p for p in parts if p is not None]
    return np.concatenate(known, axis=int(node.attributes.get_int("axis", 0))) if len(known) == len(parts) else None


def _split(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    """Parts of one element each, or of sizes that are given."""
    data, axis = asks.content(node.inputs[0]), node.attributes.get_int("axis", 0)
    sizes = list(node.attributes.get_ints("split", [])) if asks.opset < 13 else None
    if asks.opset >= 13 and len(node.inputs) > 1 and node.inputs[1] is not None:
        found = numbers(asks.content(node.inputs[1]))
        sizes = None if found is None else found.tolist()
    elif data is not None and data.shape[axis] == len(node.outputs):
        sizes = [1] * len(node.outputs)
    if data is None or not sizes:
        return None
    return np.split(data, np.cumsum(sizes)[:-1], axis=axis)[next(i for i, o in enumerate(node.outputs) if o is value)]


def _squeeze(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data = asks.content(node.inputs[0])
    if data is None or (len(node.inputs) > 1 and axes_of(asks, node, 13) is None):
        return None
    axes = axes_of(asks, node, 13)
    return data.squeeze() if axes is None else data.squeeze(tuple(axes))


def _unsqueeze(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, axes = asks.content(node.inputs[0]), axes_of(asks, node, 13)
    if data is None or axes is None:
        return None
    return np.expand_dims(data, tuple(positive(axes, data.ndim + len(axes))))


def _reshape(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, target = asks.content(node.inputs[0]), numbers(asks.content(node.inputs[1]))
    if data is None or target is None or data.size == 0:
        return None
    zero = node.attributes.get_int("allowzero", 0)
    sizes = [data.shape[i] if d == 0 and not zero else int(d) for i, d in enumerate(target.reshape(-1))]
    return data.reshape(sizes)


def _flatten(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, axis = asks.content(node.inputs[0]), node.attributes.get_int("axis", 1)
    return None if data is None or data.size == 0 else data.reshape(math.prod(data.shape[:axis]), -1)


def _transpose(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, perm = asks.content(node.inputs[0]), node.attributes.get_ints("perm")
    return None if data is None else data.transpose(perm)


def _expand(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    data, target = asks.content(node.inputs[0]), numbers(asks.content(node.inputs[1]))
    if data is None or target is None:
        return None
    shape = np.broadcast_shapes(data.shape, tuple(target.tolist()))
    return np.broadcast_to(data, shape) if math.prod(shape) <= MOST else None


def _constant_of_shape(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    target, number = numbers(asks.content(node.inputs[0])), fill(node)
    if target is None or number is None or math.prod(target.tolist()) > MOST:
        return None
    return np.broadcast_to(elements(np.asarray(number)), tuple(target.tolist()))


def fill(node: ir.Node) -> int | None:
    """The whole number that a ConstantOfShape repeats; None when it is another one."""
    given = node.attributes.get("value")
    number = given.as_tensor().numpy().reshape(-1)[0] if given is not None else 0
    return int(number) if number == np.floor(number) else None


def _range(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    start, limit, delta = (asks.size(v) for v in node.inputs)
    if start is None or limit is None or delta is None:
        return None
    if start.known is None or limit.known is None or not delta.known:
        return None
    amount = max(0, -((start.known - limit.known) // delta.known))
    return elements(start.known + delta.known * np.arange(amount)) if amount <= MOST else None


def _where(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    given = [asks.content(v) for v in node.inputs]
    known = [g for g in given if g is not None]
    return each(choose, *known) if len(known) == len(given) else None


def _product(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    return _reduced(asks, node, 18, times)


def _sum(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
    return _reduced(asks, node, 13, plus)


def _reduced(
    asks: Asks, node: ir.Node, input_since: int, combine: Callable[[Size | None, Size | None], Size | None]
) -> Elements | None:
    """All elements of one axis combined."""
    data, axes = asks.content(node.inputs[0]), axes_of(asks, node, input_since)
    if data is None or data.ndim != 1 or data.size == 0 or axes not in (None, [0], [-1]):
        return None
    if axes is None and (len(node.inputs) > 1 or node.attributes.get_int("noop_with_empty_axes", 0) != 0):
        return None
    result = data[0]
    for item in data[1:]:
        result = combine(result, item)
    return _array([result]).reshape([1] if node.attributes.get_int("keepdims", 1) else [])


def _array(items: object) -> Elements:
    found = list(items)  # type: ignore[call-overload]
    result = np.empty(len(found), object)
    for index, item in enumerate(found):
        result[index] = item
    return result


def _single(item: Size) -> Elements:
    return _array([item]).reshape(())


CONTENT_RULES: dict[str, Callable[[Asks, ir.Node, ir.Value], Elements | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Split": _split,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Where": _where,
    "ReduceProd": _product,
    "ReduceSum": _sum,
    **POINTWISE_RULES,
}
