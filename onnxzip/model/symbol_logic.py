"""Arithmetic and decisions on elements of which some are not known: one element at a time, broadcast like any operator."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnxzip.model.elements import Asks, Elements
from onnxzip.model.sizes import ONE, ZERO, Size, equal, greatest, least, less, quotient

MOST = 64
"""Larger results are data."""

Pointwise = Callable[..., Size | None]


def _pointwise(function: Pointwise) -> Callable[[Asks, ir.Node, ir.Value], Elements | None]:
    """The rule of an operator with two or more operands."""

    def rule(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
        given = [asks.content(v) for v in node.inputs]
        known = [g for g in given if g is not None]
        if not known or len(known) < len(given):
            return None
        result: Elements | None = known[0]
        for other in known[1:]:
            result = each(function, result, other) if result is not None else None
        return result

    return rule


def _unary(function: Pointwise) -> Callable[[Asks, ir.Node, ir.Value], Elements | None]:
    """The rule of an operator with one operand."""

    def rule(asks: Asks, node: ir.Node, value: ir.Value) -> Elements | None:
        given = asks.content(node.inputs[0])
        return None if given is None else each(function, given)

    return rule


def each(function: Pointwise, *operands: Elements) -> Elements | None:
    """Apply it to all elements, broadcasting."""
    shape = np.broadcast_shapes(*(o.shape for o in operands))
    if math.prod(shape) > MOST:
        return None
    result = np.empty(shape, object)
    for index, items in enumerate(zip(*(np.broadcast_to(o, shape).flat for o in operands), strict=True)):
        result.flat[index] = function(*items)
    return result


def _known_both(function: Callable[[Size, Size], Size | None]) -> Pointwise:
    """A function of two sizes, unknown where one of them is."""
    return lambda a, b: None if a is None or b is None else function(a, b)


def times(a: Size | None, b: Size | None) -> Size | None:
    """The product."""
    if ZERO in (a, b):
        return ZERO  # whatever the other one is: they are integers
    return None if a is None or b is None else a * b


def plus(a: Size | None, b: Size | None) -> Size | None:
    """The sum."""
    return None if a is None or b is None else a + b


def _rest(a: Size, b: Size) -> Size | None:
    """Modulo of what is not negative."""
    whole = quotient(a, b) if b.known is not None and b.known > 0 and a.low is not None and a.low >= 0 else None
    return None if whole is None else a - b * whole


def _both(a: Size | None, b: Size | None) -> Size | None:
    if ZERO in (a, b):
        return ZERO
    return ONE if a == b == ONE else None


def _either(a: Size | None, b: Size | None) -> Size | None:
    if ONE in (a, b):
        return ONE
    return ZERO if a == b == ZERO else None


def choose(condition: Size | None, a: Size | None, b: Size | None) -> Size | None:
    """Where."""
    if condition is None or condition.known is None:
        return a if a == b else None
    return a if condition.known else b


def truth(known: bool | None) -> Size | None:  # noqa: FBT001 - it is what is converted
    """A decision as an element."""
    return None if known is None else Size.of(int(known))


def negated(item: Size | None) -> Size | None:
    """Not, where the operand is known."""
    return None if item is None or item.known is None else Size.of(int(not item.known))


def is_not_zero(item: Size | None) -> Size | None:
    """What a Cast to boolean gives."""
    return None if item is None else negated(truth(equal(item, ZERO)))


def _absolute(item: Size | None) -> Size | None:
    return item if item is not None and item.low is not None and item.low >= 0 else None


COMPARE: dict[str, Callable[[Size, Size], Size | None]] = {
    "Equal": lambda a, b: truth(equal(a, b)),
    "Less": lambda a, b: truth(less(a, b)),
    "Greater": lambda a, b: truth(less(b, a)),
    "LessOrEqual": lambda a, b: negated(truth(less(b, a))),
    "GreaterOrEqual": lambda a, b: negated(truth(less(a, b))),
}

POINTWISE_RULES: dict[str, Callable[[Asks, ir.Node, ir.Value], Elements | None]] = {
    "Add": _pointwise(plus),
    "Sum": _pointwise(plus),
    "Sub": _pointwise(_known_both(lambda a, b: a - b)),
    "Mul": _pointwise(times),
    "Div": _pointwise(_known_both(quotient)),
    "Mod": _pointwise(_known_both(_rest)),
    "Min": _pointwise(_known_both(least)),
    "Max": _pointwise(_known_both(greatest)),
    "And": _pointwise(_both),
    "Or": _pointwise(_either),
    "Not": _unary(negated),
    "Abs": _unary(_absolute),
    "Neg": _unary(lambda a: None if a is None else -a),
    **{op: _pointwise(_known_both(function)) for op, function in COMPARE.items()},
}
