"""A LayerNormalization or RMSNormalization that is spelled out becomes one operator (opset 17 and 23).

    LayerNormalization:  gamma * (x - mean(x)) / sqrt(variance(x) + epsilon) + beta
    RMSNormalization:    gamma * x / sqrt(mean(x^2) + epsilon)

Rounds. Legal cases, in float32, means over the last axes, gamma and beta constants of their shape, epsilon positive:
1. variance = mean((x - mean)^2).
2. The parts multiplied out: x * k + (beta - mean * k) with k = gamma / sqrt(variance + epsilon).
3. As 1 and 2, over one axis that is not the last: between two Transposes. The first or the second usually meets another.
4. RMSNormalization.
Means may be sums over n, and parts of the formula reshaped to the axes that were reduced. Factors, terms, Div, Reciprocal,
Mul and Pow may come in any order.
Left alone: values in between that others read; a formula without gamma, where ones would make the file larger; the variance
as mean(x^2) - mean^2, which cancels where the mean is large against the deviation. The operator does not cancel, so its
results are others, though better ones (on the dense features of a real classifier they differ by 2.5e-3).

Latency against the chain (onnxruntime 1.32, all optimizations on): case 1 1.00 where it knows the spelling itself, case 2
.44-.51, case 3 .47-.96 with both Transposes counted, case 4 .45-1.00.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import new_node, sole_consumer
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.moments import mean
from onnxzip.passes.pattern import (
    between,
    given_by,
    is_float32,
    is_reduced,
    keeps_shape,
    near,
    new_constant,
    number_in,
    other_of,
    peel,
    product,
    raise_to,
    substitute,
    total,
)

_RMS_SINCE = 23
_SHAPE_ONLY = ("Reshape", "Unsqueeze", "Squeeze")


@dataclass(frozen=True)
class _Scale:
    """others / spread * gamma, where spread = sqrt(radicand)."""

    others: tuple[ir.Value, ...]
    spread: ir.Value
    radicand: ir.Value
    gamma: ir.Value | None


@dataclass(frozen=True)
class _Norm:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta; without the mean it is an RMSNormalization."""

    op_type: str
    source: ir.Value
    axes: tuple[int, ...]
    epsilon: float
    gamma: ir.Value | None
    beta: ir.Value | None


@local("Add", "Sub", "Mul", "Div", since=17)
def raise_layer_norm(node: ir.Node, context: Context) -> bool:
    """Put LayerNormalization or RMSNormalization in the place of its formula."""
    output = node.outputs[0]
    if not is_float32(output, context) or _goes_on(output):
        return False
    norm = _read(output, context)
    if norm is None or not keeps_shape(output, norm.source, context):
        return False
    nodes = between(output, [norm.source])
    shape = context.shapes.of(norm.source) or ()
    sizes = [size for axis in norm.axes if isinstance(size := shape[axis], int)]
    if nodes is None or len(sizes) != len(norm.axes):
        return False
    full = [shape[axis] if axis in norm.axes else 1 for axis in range(len(shape))]
    name = output.name or "norm"
    gamma = (
        new_constant(np.ones(sizes, np.float32), f"{name}_scale")
        if norm.gamma is None
        else _parameter(norm.gamma, sizes, full)
    )
    beta = None if norm.beta is None else _parameter(norm.beta, sizes, full)
    if gamma is None or (beta is None) != (norm.beta is None):
        return False
    parameters = [gamma] if beta is None else [gamma, beta]
    return _put(norm, output, nodes, parameters, len(shape), context)


def _goes_on(output: ir.Value) -> bool:
    """Whether a constant is still multiplied or added to it, which belongs to the formula."""
    reader = sole_consumer(output)
    if reader is None or reader.op_type not in ("Add", "Sub", "Mul", "Div"):
        return False
    return any(v is not output and (c := array(v)) is not None and c.size > 1 for v in reader.inputs)


def _read(output: ir.Value, context: Context) -> _Norm | None:
    """The formula that gives `output`, when it is one."""
    terms = total(output)
    betas = [v for v in terms.plus if array(v) is not None]
    plus = [v for v in terms.plus if array(v) is None]
    if terms.number != 0.0 or len(betas) > 1 or len(plus) != 1 or len(terms.minus) > 1:
        return None
    beta = betas[0] if betas else None
    if terms.minus:
        return _multiplied_out(plus[0], terms.minus[0], beta, context)
    scale = _scale(plus[0])
    if scale is None or len(scale.others) != 1:
        return None
    centred = total(scale.others[0])
    if centred.number == 0.0 and len(centred.plus) == len(centred.minus) == 1:
        found = _layer_norm(centred.plus[0], centred.minus[0], scale, beta, context)
        if found is not None:
            return found
    return _rms_norm(scale.others[0], scale, context) if beta is None else None


def _multiplied_out(plus: ir.Value, minus: ir.Value, beta: ir.Value | None, context: Context) -> _Norm | None:
    """Case 2."""
    first, second = product(plus), product(minus)
    if any(p.under or not near(p.scalar, 1.0) for p in (first, second)):
        return None
    for common in first.over:
        source, centre, scale = other_of(first.over, common), other_of(second.over, common), _scale(common)
        if source is not None and centre is not None and scale is not None and not scale.others:
            return _layer_norm(source, centre, scale, beta, context)
    return None


def _layer_norm(
    source: ir.Value, centre: ir.Value, scale: _Scale, beta: ir.Value | None, context: Context
) -> _Norm | None:
    """Cases 1 and 2: whether `centre` is the mean of `source`, and the radicand its variance plus epsilon."""
    found = _mean(centre, context)
    if found is None or found[0] is not source:
        return None
    axes, terms = found[1], total(peel(scale.radicand, *_SHAPE_ONLY))
    if not all(is_reduced(v, source, axes, context) for v in (centre, scale.spread)):
        return None
    if terms.number <= 0 or not _is_variance(terms.plus, terms.minus, source, axes, context):
        return None
    return _Norm("LayerNormalization", source, axes, terms.number, scale.gamma, beta)


def _rms_norm(source: ir.Value, scale: _Scale, context: Context) -> _Norm | None:
    """Case 4."""
    terms = total(peel(scale.radicand, *_SHAPE_ONLY))
    found = _mean(terms.plus[0], context) if len(terms.plus) == 1 and not terms.minus else None
    if context.opset < _RMS_SINCE or terms.number <= 0 or found is None or _square(found[0]) is not source:
        return None
    if not is_reduced(scale.spread, source, found[1], context):
        return None
    return _Norm("RMSNormalization", source, found[1], terms.number, scale.gamma, None)


def _is_variance(
    plus: tuple[ir.Value, ...], minus: tuple[ir.Value, ...], source: ir.Value, axes: tuple[int, ...], context: Context
) -> bool:
    if len(plus) != 1 or minus:
        return False
    found = _mean(peel(plus[0], *_SHAPE_ONLY), context)
    distance = _square(found[0]) if found is not None and found[1] == axes else None
    parts = total(distance) if distance is not None else None
    if parts is None or parts.number != 0.0 or parts.plus != (source,) or len(parts.minus) != 1:
        return False
    centre = parts.minus[0]
    return _mean(centre, context) == (source, axes) and is_reduced(centre, source, axes, context)


def _mean(value: ir.Value, context: Context) -> tuple[ir.Value, tuple[int, ...]] | None:
    return mean(peel(value, *_SHAPE_ONLY), context)


def _square(value: ir.Value) -> ir.Value | None:
    """x, when this value is x * x or x^2."""
    node = given_by(value, "Mul", "Pow")
    if node is None or len(node.inputs) != 2:
        return None
    squared = node.inputs[0] is node.inputs[1] if node.op_type == "Mul" else number_in(node.inputs[1]) == 2.0
    return node.inputs[0] if squared else None


def _scale(value: ir.Value) -> _Scale | None:
    """What is multiplied by gamma and divided by a square root."""
    factors = product(value)
    gammas = [v for v in factors.over if array(v) is not None]
    others = [v for v in factors.over if array(v) is None]
    roots = [(v, r) for v in factors.under if (r := _radicand(v, 0.5)) is not None]
    powers = [(v, r) for v in others if (r := _radicand(v, -0.5)) is not None]
    if not near(factors.scalar, 1.0) or len(gammas) > 1 or len(roots) != len(factors.under):
        return None
    if len(roots) + len(powers) != 1:
        return None
    spread, radicand = (roots + powers)[0]
    rest = tuple(v for v in others if v is not spread)
    return _Scale(rest, spread, radicand, gammas[0] if gammas else None)


def _radicand(value: ir.Value, exponent: float) -> ir.Value | None:
    """r, when this value is r to that power."""
    node = given_by(peel(value, *_SHAPE_ONLY), "Sqrt", "Pow", "Reciprocal")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Sqrt":
        return node.inputs[0] if exponent == 0.5 else None
    if node.op_type == "Reciprocal":  # behind a reshape, or with several readers
        return _radicand(node.inputs[0], -exponent)
    return node.inputs[0] if number_in(node.inputs[1]) == exponent else None


def _parameter(value: ir.Value, sizes: list[int], full: list[int | str | None]) -> ir.Value | None:
    """gamma or beta in the shape that the operator takes; None when it is not one number for each place on the axes."""
    content = array(value)
    if content is None or content.ndim > len(full):
        return None
    if list(content.shape) == sizes and full[len(full) - len(sizes) :] == sizes:
        return value
    padded = [1] * (len(full) - content.ndim) + list(content.shape)
    return new_constant(content.reshape(sizes), value.name or "parameter") if padded == full else None


def _put(
    norm: _Norm,
    output: ir.Value,
    nodes: list[ir.Node],
    parameters: list[ir.Value],
    rank: int,
    context: Context,
) -> bool:
    if norm.axes == tuple(range(rank - len(norm.axes), rank)):
        attributes = {"axis": -len(norm.axes), "epsilon": norm.epsilon}
        return raise_to(norm.op_type, output, nodes, [norm.source, *parameters], context, **attributes)
    return _between_transposes(norm, output, nodes, parameters, rank, context)


def _between_transposes(
    norm: _Norm,
    output: ir.Value,
    nodes: list[ir.Node],
    parameters: list[ir.Value],
    rank: int,
    context: Context,
) -> bool:
    """Case 3."""
    if len(norm.axes) != 1:
        return False
    to_last = [axis for axis in range(rank) if axis != norm.axes[0]] + [norm.axes[0]]
    back = [to_last.index(axis) for axis in range(rank)]
    name, fresh = output.name or "norm", context.names.fresh
    before = new_node("Transpose", [norm.source], fresh(f"{name}_in"), perm=to_last)
    inputs = [before.outputs[0], *parameters]
    normed = new_node(norm.op_type, inputs, fresh(f"{name}_normed"), axis=-1, epsilon=norm.epsilon)
    after = new_node("Transpose", normed.outputs, fresh(name), perm=back)
    return substitute(output, nodes, [before, normed, after], context)
