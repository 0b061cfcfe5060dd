"""Q and DQ on every float tensor between operators: for processors that run whole graphs in integers, or nothing.

 1. Every operator in `whole` reads and makes quantized tensors; float inputs and outputs of the model are quantized too.
 2. Conv and ConvTranspose hold weights per channel and an int32 bias ("conv"). MatMul, Gemm and normalizations multiply by a constant with one
    scale; Gemm and normalizations add an int32 bias in the scale of the product ("biased"). Other float constants are quantized as activations
    are. What an operator reads as a parameter (bounds, sizes, the value of padding) stays as it is.
 3. What moves data has the same scale on both sides ("pass").
 4. What a Relu or Clip alone reads has the scale of what it makes, taken within its bounds: saturation has then done its work already.
 5. Where an operator takes no two activations of 16 bits, the second is quantized once more, to 8.
 6. Where the target fixes scale and zero point of an output, it has these.
 7. What only a Softmax knows of, masks above all, is represented as far as it matters to that (`onnxzip.quantize.masks`).
What else touches float tensors stays float, with the reason, and breaks the graph in parts.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, constant
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op
from onnxzip.quantize.candidates import Placement, storable
from onnxzip.quantize.groups import PARAMETERS_BEHIND, Group, Maker, Sources, United, in_order
from onnxzip.quantize.kernels import SCALED, Bounds, Kernel, absorbed, scaled
from onnxzip.quantize.masks import masked
from onnxzip.quantize.qparams import UNBOUNDED, QParams
from onnxzip.quantize.row import TargetRow

MULTIPLIES = frozenset({"MatMul", "Gemm", "LayerNormalization", "InstanceNormalization"})
"""Case 2: one of their first two inputs is a factor."""

BIASED = MULTIPLIES - {"MatMul"}
"""Case 2: their third input is a bias."""

NEUTRAL = frozenset({"Constant", "Cast", "Shape", "Size"})
"""Neither quantized nor in the way: they read no float numbers, or what reads and makes these beside them quantizes them."""


def everywhere(model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]) -> Placement:
    """Decide which values are quantized. Arguments as for `onnxzip.quantize.placement.place`."""
    found, left = storable(model, target, keep)
    kernels, shapes = {k.node: k for k in found}, Shapes(model)
    makers = dict[ir.Node, Maker]()
    for node in model.graph:
        if node in kernels or is_op(node, *NEUTRAL):
            continue
        maker = _maker(node, target, shapes)
        if isinstance(maker, str):
            left.setdefault(node, maker)
        elif maker is not None and node in keep:
            left[node] = keep[node]
        elif maker is not None:
            left.pop(node, None)
            makers[node] = maker
    ends = {k.node.outputs[0]: k for k in found}
    ordered = tuple(makers.values())
    groups = _groups(model, target, found, ordered, {*keep, *left})
    made = frozenset({*ends, *(o for m in ordered for o in m.outputs)})
    return Placement(found, ordered, groups, made, left, _narrowed(ordered, groups, target))


def _maker(node: ir.Node, target: TargetRow, shapes: Shapes) -> Maker | str | None:
    """What an operator without weights of its own reads and makes, or why it stays float, or None where nothing is float."""
    count = 1 if node.op_type in PARAMETERS_BEHIND else 2 if node.op_type in BIASED else len(node.inputs)
    inputs = tuple(v for v in node.inputs[:count] if v is not None and shapes.dtype(v) == ir.DataType.FLOAT)
    outputs = tuple(o for o in node.outputs if o.name and shapes.dtype(o) == ir.DataType.FLOAT)
    if not inputs and not outputs:
        return None
    if not is_op(node, *target.whole):
        return f"target {target.name} does not run {node.op_type} quantized"
    if all(constant(v) is not None for v in node.inputs if v is not None):
        return "it reads no activation"
    if any(v.is_graph_output() for v in inputs if constant(v) is not None):
        return "a constant that it reads is an output of the model"
    if any(not np.isfinite(content).all() for v in inputs if (content := array(v)) is not None):
        return "a constant that it reads holds NaN or Inf"
    if node.op_type not in BIASED:
        return Maker(node, "pass" if _moves(node, target) else "join", inputs, outputs)
    problem = _bias_problem(node)
    return problem if problem is not None else Maker(node, "biased", inputs, outputs)


def _moves(node: ir.Node, target: TargetRow) -> bool:
    return node.op_type in target.pass_through


def _bias_problem(node: ir.Node) -> str | None:
    """Why the third input is no bias, or None."""
    if node.op_type == "Gemm" and scaled(node):
        return SCALED
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return None
    content = array(bias)
    if content is None or not np.isfinite(content).all():
        return "its bias is not constant, or not finite"
    if content.size != max(content.shape, default=1):
        return "its bias is not a row"
    return None


def _groups(
    model: ir.Model, target: TargetRow, kernels: Iterable[Kernel], makers: Iterable[Maker], stopped: Container[ir.Node]
) -> tuple[Group, ...]:
    """The quantized values, united where they share a scale."""
    outputs = {k.node.outputs[0] for k in kernels} | {o for m in makers for o in m.outputs}
    sites = outputs | {k.data for k in kernels} | {v for m in makers for v in m.inputs}
    ends, bounds = _absorbed(kernels, makers, target, stopped)
    united = United({v: bounds.get(v, UNBOUNDED) for v in sites})
    for before, after in ends.items():
        united.unite(before, after)
    for maker in makers:
        for output in maker.outputs if maker.role == "pass" else ():
            united.unite(maker.inputs[0], output)
    sources, factors, fixed = Sources(makers, ends), _factors(makers), _fixed(makers, target)
    hidden = masked(model)
    groups = []
    for values in united.groups(in_order(model, sites)):
        known = sources.of_all(values)
        groups.append(
            Group(
                values,
                known,
                united.bounds(values[0]),
                grid=target.operand if all(v in factors for v in values) else None,
                fixed=fixed.get(known[0]) if len(known) == 1 else None,
                reach=target.reach if all(v in hidden for v in values) else math.inf,
            )
        )
    return tuple(groups)


def _narrowed(makers: Iterable[Maker], groups: Iterable[Group], target: TargetRow) -> tuple[Group, ...]:
    """Case 5: the second factors, each by itself."""
    factors = {m.inputs[1] for m in makers if m.node.op_type in target.narrowed and len(m.inputs) == 2}
    return tuple(
        Group((v,), g.sources, g.bounds, target.operand)
        for g in groups
        for v in g.values
        if v in factors and constant(v) is None
    )


def _absorbed(
    kernels: Iterable[Kernel], makers: Iterable[Maker], target: TargetRow, stopped: Container[ir.Node]
) -> tuple[dict[ir.Value, ir.Value], dict[ir.Value, Bounds]]:
    """Case 4: what a Relu or Clip alone reads, and what that makes of it; and its bounds."""
    ends, limits = dict[ir.Value, ir.Value](), dict[ir.Value, Bounds]()
    moved = {o for m in makers if m.role == "pass" for o in m.outputs}
    for value in (*(k.node.outputs[0] for k in kernels), *(o for m in makers for o in m.outputs)):
        end, bounds = absorbed(value, target, stopped)
        if end is not value and value not in moved and not _is_fixed(value, target):
            ends[value], limits[end] = end, bounds
    return ends, limits


def _factors(makers: Iterable[Maker]) -> frozenset[ir.Value]:
    """The constants of case 2 that have a scale for weights."""
    return frozenset(v for m in makers if m.node.op_type in MULTIPLIES for v in m.inputs if constant(v) is not None)


def _fixed(makers: Iterable[Maker], target: TargetRow) -> dict[ir.Value, QParams]:
    """Case 6."""
    known = {op: QParams(scale, zero, target.activation.dtypes[0]) for op, scale, zero in target.fixed}
    return {o: known[m.node.op_type] for m in makers if m.node.op_type in known for o in m.outputs}


def _is_fixed(value: ir.Value, target: TargetRow) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type in {op for op, _, _ in target.fixed}


def overflowing(placement: Placement, qparams: Mapping[ir.Value, QParams], target: TargetRow) -> dict[ir.Node, str]:
    """Operators whose bias, in the scale of their product, is too large for 32 bits."""
    found: dict[ir.Node, str] = {}
    for maker in placement.makers:
        node = maker.node
        content = array(node.inputs[2]) if maker.role == "biased" and len(node.inputs) > 2 else None
        data, factor = (qparams.get(v) for v in maker.inputs[:2]) if content is not None else (None, None)
        if content is None or data is None or factor is None:
            continue
        if float(np.abs(content).max(initial=0)) > data.scale * factor.scale * target.bias_max:
            found[node] = "its bias is too large beside its input and its weights"
    return found
