"""A Gelu that is spelled out becomes one operator (opset 20).

    erf:   x * (1 + erf(x / sqrt(2))) / 2
    tanh:  x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2

In any order of factors and terms. Rounds, by at most two units in the last place. Legal cases, in float32:
1. erf.
2. tanh, with x + 0.044715 x^3 as a sum, or as x * (1 + 0.044715 x^2).
Left alone: values in between that others read; other approximations, such as x * sigmoid(1.702 x).

Latency as one operator against the chain, onnxruntime 1.32 with all optimizations on: erf .65-1.00 (it knows some
spellings itself; with a bias before it 1.00), tanh .37-.57, with a bias .77-.83.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.pattern import (
    between,
    given_by,
    is_float32,
    keeps_shape,
    near,
    other_of,
    product,
    raise_to,
    total,
)

_CUBIC = 0.044715


@local("Mul", "Div", since=20)
def raise_gelu(node: ir.Node, context: Context) -> bool:
    """Put Gelu in the place of its formula."""
    output = node.outputs[0]
    factors = product(output)
    if len(factors.over) != 2 or factors.under:
        return False
    for bracket in factors.over:
        source = other_of(factors.over, bracket)
        approximate = None if source is None else _bracket(bracket, source, 2 * factors.scalar)
        if source is None or approximate is None or not is_float32(source, context):
            continue
        nodes = between(output, [source])
        if nodes is None or not keeps_shape(output, source, context):
            continue
        attributes = {} if approximate == "none" else {"approximate": approximate}
        return raise_to("Gelu", output, nodes, [source], context, **attributes)
    return False


def _bracket(value: ir.Value, source: ir.Value, scale: float) -> str | None:
    """Which Gelu it is when scale * value = 1 + erf or tanh."""
    terms = total(value)
    if len(terms.plus) != 1 or terms.minus or not near(scale * terms.number, 1.0):
        return None
    factors = product(terms.plus[0])
    if len(factors.over) != 1 or factors.under or not near(scale * factors.scalar, 1.0):
        return None
    function = given_by(factors.over[0], "Erf", "Tanh")
    argument = function.inputs[0] if function is not None else None
    if function is None or argument is None:
        return None
    if function.op_type == "Erf":
        return "none" if _is_scaled(argument, source) else None
    return "tanh" if _is_cubic(argument, source) else None


def _is_scaled(value: ir.Value, source: ir.Value) -> bool:
    """x / sqrt(2)."""
    inner = product(value)
    return near(inner.scalar, math.sqrt(0.5)) and inner.over == (source,) and not inner.under


def _is_cubic(value: ir.Value, source: ir.Value) -> bool:
    """sqrt(2/pi) * (x + 0.044715 x^3), or with x taken out."""
    outer = product(value)
    if not near(outer.scalar, math.sqrt(2 / math.pi)) or outer.under:
        return False
    if len(outer.over) == 1:
        terms = total(outer.over[0])
        power = other_of(terms.plus, source)
        return terms.number == 0 and not terms.minus and power is not None and _is_power(power, source, 3)
    bracket = other_of(outer.over, source)
    terms = total(bracket) if bracket is not None else total(value)
    return near(terms.number, 1.0) and not terms.minus and len(terms.plus) == 1 and _is_power(terms.plus[0], source, 2)


def _is_power(value: ir.Value, source: ir.Value, exponent: int) -> bool:
    found = product(value)
    return near(found.scalar, _CUBIC) and found.over == (source,) * exponent and not found.under
