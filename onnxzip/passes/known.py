"""What is known of small integer and boolean values before anything runs: sizes of axes, and what is decided by them.

Each element is a number, the name of a symbolic axis (equal names are equal sizes), or None where nothing is known.
`fold_constants` needs all of a value; a condition such as "is the second axis 1 long?" needs one element of it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context

_LARGEST = 64
"""Values of more elements are data."""

_DEPTH = 12
"""How many nodes are looked through."""

_LIMIT = 2**31
"""Numbers beyond are not calculated with: they might overflow."""


def decided(value: ir.Value | None, context: Context) -> bool | None:
    """Whether a condition always is true or always is false; None when it depends on what the model is given."""
    found = known(value, context)
    if found is None or found.size != 1:
        return None
    element = found.reshape(-1)[0]
    return None if element is None or isinstance(element, str) else bool(element)


def known(value: ir.Value | None, context: Context, depth: int = _DEPTH) -> np.ndarray | None:
    """The elements that are known, as an array of objects; None when not even the shape is."""
    if value is None or depth == 0:
        return None
    constant = array(value)
    if constant is not None:
        return constant.astype(object) if constant.size <= _LARGEST and constant.dtype.kind in "iub" else None
    node = value.producer()
    if node is None or not is_op(node, *_RULES) or value is not node.outputs[0]:
        return None
    found = _RULES[node.op_type](node, context, depth - 1)
    return found if found is not None and found.size <= _LARGEST else None


def _shape(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    shape = context.shapes.of(node.inputs[0])
    if shape is None:
        return None
    return _objects(shape[node.attributes.get_int("start", 0) : node.attributes.get_int("end", len(shape))])


def _same(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    return known(node.inputs[0], context, depth)


def _cast(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    found, target = known(node.inputs[0], context, depth), node.attributes.get_int("to", 0)
    if found is None or target == ir.DataType.INT64:
        return found
    if target == ir.DataType.BOOL:
        return _each(lambda a: None if isinstance(a, str) else bool(a), found)
    return found if target == ir.DataType.INT32 and _all_small(found) else None


def _reshaped(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    """Reshape, Squeeze, Unsqueeze keep all elements in order."""
    found, shape = known(node.inputs[0], context, depth), context.shapes.static(node.outputs[0])
    return None if found is None or shape is None or found.size != np.prod(shape) else found.reshape(shape)


def _gather(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    found, indices = known(node.inputs[0], context, depth), array(node.inputs[1])
    if found is None or found.ndim != 1 or indices is None or indices.size > _LARGEST:
        return None
    if indices.size and not (-found.size <= indices.min() and indices.max() < found.size):
        return None
    chosen = np.empty(indices.shape, object)
    chosen[...] = found[indices.astype(np.int64)]
    return chosen


def _concat(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    found = [p for v in node.inputs if (p := known(v, context, depth)) is not None and p.ndim == 1]
    return np.concatenate(found) if found and len(found) == len(node.inputs) else None


def _slice(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    found = known(node.inputs[0], context, depth)
    given = [scalar(v) for v in node.inputs[1:]]
    if found is None or found.ndim != 1 or context.opset < 10 or None in given or given[3:4] not in ([], [1]):
        return None
    return found[int(given[0] or 0) : int(given[1] or 0)]


def _not(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
    found = known(node.inputs[0], context, depth)
    return None if found is None else _each(lambda a: not a, found)


def _both(rule: Callable[..., object]) -> Callable[[ir.Node, Context, int], np.ndarray | None]:
    """A rule on the elements of two values that broadcast to each other."""

    def apply(node: ir.Node, context: Context, depth: int) -> np.ndarray | None:
        first, second = (known(v, context, depth) for v in node.inputs[:2])
        if first is None or second is None:
            return None
        try:
            pairs = np.broadcast(first, second)
        except ValueError:
            return None
        result = np.empty(pairs.shape, object)
        result.reshape(-1)[:] = [rule(a, b) for a, b in pairs]
        return result

    return apply


def _equal(first: object, second: object) -> bool | None:
    if first is None or second is None:
        return None
    if not isinstance(first, str) and not isinstance(second, str):
        return bool(first == second)
    if first == second:
        return True
    return False if any(isinstance(e, int) and e < 0 for e in (first, second)) else None  # no size is negative


def _number(rule: Callable[[int, int], object]) -> Callable[[object, object], object]:
    def apply(first: object, second: object) -> object:
        if not all(isinstance(e, int) and abs(e) < _LIMIT for e in (first, second)):
            return None
        result = rule(first, second)  # type: ignore[arg-type]
        return result if isinstance(result, bool) or abs(result) < _LIMIT else None  # type: ignore[arg-type]

    return apply


def _and(first: object, second: object) -> bool | None:
    if first is False or second is False:
        return False
    return None if first is None or second is None else True


def _or(first: object, second: object) -> bool | None:
    if first is True or second is True:
        return True
    return None if first is None or second is None else False


def _each(rule: Callable[[object], object], found: np.ndarray) -> np.ndarray:
    result = np.empty(found.shape, object)
    result.reshape(-1)[:] = [None if e is None else rule(e) for e in found.reshape(-1)]
    return result


def _objects(elements: tuple[object, ...]) -> np.ndarray:
    result = np.empty(len(elements), object)
    result[:] = elements
    return result


def _all_small(found: np.ndarray) -> bool:
    return all(isinstance(e, int) and abs(e) < _LIMIT for e in found.reshape(-1))


_RULES: Mapping[str, Callable[[ir.Node, Context, int], np.ndarray | None]] = {
    "Shape": _shape,
    "Identity": _same,
    "Cast": _cast,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Not": _not,
    "And": _both(_and),
    "Or": _both(_or),
    "Equal": _both(_equal),
    "Less": _both(_number(operator.lt)),
    "LessOrEqual": _both(_number(operator.le)),
    "Greater": _both(_number(operator.gt)),
    "GreaterOrEqual": _both(_number(operator.ge)),
    "Add": _both(_number(operator.add)),
    "Sub": _both(_number(operator.sub)),
    "Mul": _both(_number(operator.mul)),
}
