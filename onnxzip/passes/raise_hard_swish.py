"""HardSigmoid, HardSwish and Mish that are spelled out become one operator.

    HardSigmoid(x) = max(0, min(1, a x + b))          HardSwish(x) = x * HardSigmoid(x) with a = 1/6, b = 1/2
    Mish(x) = x * tanh(softplus(x))

Rounds, by units in the last place of the largest result; NaN stays NaN. Legal cases, in float32:
1. s * Clip(c x + d, 0, m) with s * m = 1 (as x+3, Clip to 6, Div by 6): HardSigmoid with a = s c, b = s d.
2. The same times x, with a = 1/6 and b = 1/2: HardSwish, or before opset 14 x * HardSigmoid(x).
3. x * HardSigmoid(x) with these constants, from opset 14: HardSwish.
4. x * tanh(softplus(x)), from opset 18: Mish.
Left alone: values in between that others read; a Clip alone; a ramp far from zero (|b| above 8), where a x + b cancels;
x * sigmoid(x), which the Swish of opset 24 would be: it has no kernel in onnxruntime 1.32 and took 1.3-1.75 times as long.

Latency against the chain (onnxruntime 1.32, all optimizations on): case 1 .41-.77, case 2 .57-.81, cases 3 and 4 1.00;
between two Convs, which then stay in the blocked layout, cases 1 and 2 .65-.82.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxzip.model.edit import new_node
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.noops import clip_bounds
from onnxzip.passes.pattern import (
    Product,
    affine,
    between,
    given_by,
    is_float32,
    keeps_shape,
    near,
    other_of,
    product,
    raise_to,
    substitute,
)

_HARD_SWISH_SINCE, _MISH_SINCE = 14, 18

_FARTHEST = 8
"""b at most: where the ramp is far from zero, a x + b cancels, and x + d did not."""


@local("Clip", "Mul", "Div")
def raise_hard_swish(node: ir.Node, context: Context) -> bool:
    """Put HardSigmoid, HardSwish or Mish in the place of its formula."""
    output = node.outputs[0]
    factors = product(output)
    if factors.under or len(factors.over) not in (1, 2):
        return False
    if len(factors.over) == 1:
        found = _ramp(factors.over[0], factors.scalar, context)
        return found is not None and _put("HardSigmoid", output, found[2], context, alpha=found[0], beta=found[1])
    return any(_times_x(output, factors, gate, context) for gate in factors.over)


def _times_x(output: ir.Value, factors: Product, gate: ir.Value, context: Context) -> bool:
    """Cases 2 to 4."""
    source = other_of(factors.over, gate)
    if source is None:
        return False
    if context.opset >= _MISH_SINCE and near(factors.scalar, 1.0) and _is_tanh_softplus(gate, source):
        return _put("Mish", output, source, context)
    found = _hard_sigmoid(gate) if near(factors.scalar, 1.0) else None
    found = _ramp(gate, factors.scalar, context) if found is None else found
    if found is None or found[2] is not source or not near(found[0], 1 / 6) or not near(found[1], 0.5):
        return False
    if context.opset >= _HARD_SWISH_SINCE:
        return _put("HardSwish", output, source, context)
    return _put_product(output, source, context)


def _ramp(value: ir.Value, scale: float, context: Context) -> tuple[float, float, ir.Value] | None:
    """(a, b, x) when scale * value is HardSigmoid(x)."""
    clip = given_by(value, "Clip")
    source = clip.inputs[0] if clip is not None else None
    if clip is None or source is None:
        return None
    low, high = clip_bounds(clip, context)
    inner = affine(source)
    if low != 0.0 or high is None or not 0 < high < math.inf or not near(scale * high, 1.0) or inner is None:
        return None
    if abs(scale * inner[1]) > _FARTHEST:
        return None
    return scale * inner[0], scale * inner[1], inner[2]


def _hard_sigmoid(value: ir.Value) -> tuple[float, float, ir.Value] | None:
    node = given_by(value, "HardSigmoid")
    if node is None or node.inputs[0] is None:
        return None
    return node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5), node.inputs[0]


def _is_tanh_softplus(value: ir.Value, source: ir.Value) -> bool:
    tanh = given_by(value, "Tanh")
    softplus = given_by(tanh.inputs[0], "Softplus") if tanh is not None else None
    return softplus is not None and softplus.inputs[0] is source


def _put_product(output: ir.Value, source: ir.Value, context: Context) -> bool:
    """x * HardSigmoid(x), where that is fewer nodes."""
    nodes = _nodes(output, source, context)
    if nodes is None or len(nodes) < 3:
        return False
    name, fresh = output.name or "hard_swish", context.names.fresh
    gate = new_node("HardSigmoid", [source], fresh(f"{name}_gate"), alpha=1 / 6, beta=0.5)
    return substitute(output, nodes, [gate, new_node("Mul", [source, gate.outputs[0]], fresh(name))], context)


def _put(op_type: str, output: ir.Value, source: ir.Value, context: Context, **attributes: float) -> bool:
    nodes = _nodes(output, source, context)
    if nodes is None or len(nodes) < 2:
        return False
    return raise_to(op_type, output, nodes, [source], context, **attributes)


def _nodes(output: ir.Value, source: ir.Value, context: Context) -> list[ir.Node] | None:
    if not is_float32(source, context) or not keeps_shape(output, source, context):
        return None
    return between(output, [source])
