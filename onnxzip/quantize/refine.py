"""What data adds to a plan: rounding that makes up for itself, and biases that make up for what is left.

For a layer W x + b, with integer weights Ŵ and the mean m and the second moments of x from the float model:

    b ← b + (W − Ŵ) m            the mean error of every channel is 0 (analytic bias correction; Nagel et al., ICCV 2019)
    Ŵ   by `gptq` on C = E[x xᵀ] − m mᵀ where there is a bias to do that, else on E[x xᵀ].

The two together minimise the expected squared error of the layer; on the float model's x, so that no layer waits for another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Numbers
from onnxzip.calibrate.gather import Look
from onnxzip.calibrate.moments import Moments
from onnxzip.calibrate.patches import site_of as reading_of
from onnxzip.model.constants import constant
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.gptq import drawn_in, round_rows
from onnxzip.quantize.matrix import from_rows, groups_of, to_rows
from onnxzip.quantize.packed import pack, unpack
from onnxzip.quantize.pairs import partners
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import PlannedNode, QuantPlan
from onnxzip.quantize.weights import IntegerWeight, Nearest, float_weight, integer_weights, site_of

LAYERS = frozenset({"conv", "gemm", "matmul", "token", "stored"})
"""Roles of nodes that sum up products of weights."""


def look_at(node: ir.Node, axis: int) -> Look | None:
    """How a layer, whose weights have their output channels along `axis`, reads its input; None where it cannot be told."""
    reading, value, weight = reading_of(node), node.inputs[0], constant(node.inputs[1])
    if reading is None or reading.kind == "points" or value is None or weight is None:
        return None
    shape = weight.shape.numpy()
    width = int(np.prod(shape)) // shape[axis] * groups_of(node)
    return Look(node.outputs[0].name or "", value.name or "", reading, width, groups_of(node))


@dataclass(frozen=True)
class _Layer:
    node: ir.Node
    planned: PlannedNode
    holder: str  # output of the planned node that holds the bias, or ""
    weight: IntegerWeight
    content: np.ndarray


Fitted = dict[tuple[str, bytes, str], tuple[str, str]]
"""Packed roundings and biases by weight, scales and smoothing, so that plans that differ elsewhere do not fit them again."""


def refine(
    model: ir.Model,
    plan: QuantPlan,
    row: TargetRow,
    moments: Mapping[str, Moments],
    fitted: Fitted | None = None,
    nearest: Nearest | None = None,
) -> QuantPlan:
    """The plan with roundings and biases for the layers that moments are given of; earlier ones are replaced.

    Args:
        model: the float model of the plan.
        plan: the plan.
        row: its target.
        moments: of what a layer reads, by the layer's output (see `look_at`).
        fitted: what was fitted before to the same model and moments; what is new is added.
        nearest: what was rounded before of the same model; what is new is added.
    """
    plan = _bare(plan, moments)
    nodes = find_nodes(model, plan)
    weights = integer_weights(plan, nodes, row, nearest)
    sites = {s.tensor: s for s in plan.sites}
    readers = _readers(plan)
    roundings, biases = dict[str, str](), dict[str, str]()
    cache = {} if fitted is None else fitted
    for planned in plan.nodes:
        if planned.output not in moments or readers[planned.weight] != 1:
            continue
        node, (value, weight) = nodes[planned.output], weights[planned.weight]
        content = float_weight(value, node, sites)
        site = site_of(node, sites)
        smooth = None
        if site is not None and site.smooth:
            smooth = unpack(site.smooth, np.float32, content.shape[:1], "the smoothing").astype(np.float64)
        layer = _Layer(node, planned, _holder(node, planned, plan), weight, content)
        key = (planned.weight, weight.scales.tobytes(), "" if site is None else site.smooth)
        if key not in cache:
            cache[key] = _refined(layer, moments[planned.output], smooth, row)
        roundings[planned.weight], bias = cache[key]
        if layer.holder:
            biases[layer.holder] = bias
    return _with(plan, roundings, biases)


def _refined(layer: _Layer, seen: Moments, smooth: Numbers | None, row: TargetRow) -> tuple[str, str]:
    """What is added to the nearest integers, and to the bias; packed."""
    axis, groups = layer.weight.entry.axis, groups_of(layer.node)
    rows = to_rows(layer.content, axis, groups).astype(np.float64)
    scales = layer.weight.scales.reshape(groups, -1)
    mean = seen.total / max(1, seen.count)
    factors = np.ones(rows.shape[-1]) if smooth is None else smooth
    codes = nearest = to_rows(layer.weight.codes, axis, groups).astype(np.int16)
    if seen.count and not seen.diagonal:
        square = seen.covariances(centred=bool(layer.holder))
        if smooth is not None:
            square /= smooth[:, None]
            square /= smooth
        drawn_in(square, seen.count, out=square)
        partner = partners(layer.node, layer.content.shape, axis) if layer.weight.entry.pairs else None
        rounded = round_rows(rows, square, scales, weight_max=row.weight_max, partner=partner, overwrite=True)
        codes = nearest + np.clip(rounded - nearest, -127, 127)  # what a plan can hold; more would make no sense
    off = rows - codes * scales[:, :, None].astype(np.float64)
    bias = (off @ (mean / factors)[:, :, None]).reshape(-1)
    rounding = from_rows((codes - nearest).astype(np.int8), layer.content.shape, axis)
    return pack(rounding), pack(bias.astype(np.float32))


def _readers(plan: QuantPlan) -> dict[str, int]:
    """How many planned nodes read each weight."""
    found: dict[str, int] = {}
    for planned in plan.nodes:
        if planned.weight:
            found[planned.weight] = found.get(planned.weight, 0) + 1
    return found


def _holder(node: ir.Node, planned: PlannedNode, plan: QuantPlan) -> str:
    """The planned node that holds the bias of a layer, by output; empty where there is none."""
    if planned.op in ("Conv", "Gemm"):
        return planned.output
    adds = {p.output for p in plan.nodes if p.role in ("row_bias", "int32_bias")}
    outputs = (o.name or "" for use in node.outputs[0].uses() for o in use.node.outputs)
    return next((name for name in outputs if name in adds), "")


def _bare(plan: QuantPlan, moments: Mapping[str, Moments]) -> QuantPlan:
    """Without what was fitted before to these layers."""
    gone = {p.weight for p in plan.nodes if p.output in moments}
    weights = tuple(dataclasses.replace(w, rounding="") if w.initializer in gone else w for w in plan.weights)
    return dataclasses.replace(plan, weights=weights)


def _with(plan: QuantPlan, roundings: Mapping[str, str], biases: Mapping[str, str]) -> QuantPlan:
    weights = tuple(dataclasses.replace(w, rounding=roundings.get(w.initializer, w.rounding)) for w in plan.weights)
    nodes = tuple(dataclasses.replace(p, bias=biases.get(p.output, p.bias)) for p in plan.nodes)
    return dataclasses.replace(plan, weights=weights, nodes=nodes)
