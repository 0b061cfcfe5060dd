"""Integer weights and biases of a plan, derived from the float weights by a fixed rule: the same plan gives the same bytes.

Scale of channel c:    s_c = max(max |w_c| / 127, largest |b_c| / (s_x 2**30) over the nodes that share the weight).
The second term is nearly always smaller; it keeps an int32 bias from overflowing behind a tiny channel or a tiny input.
Rounding is to nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.errors import UsageError
from onnxzip.model.constants import array
from onnxzip.quantize.qparams import bias_floor, quantize_weight, weight_scales
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site, Weight
from onnxzip.quantize.targets import TargetRow


@dataclass(frozen=True)
class IntegerWeight:
    """Codes (int8, shape of the weight), scales (float32[C]), and the plan's entry."""

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    entry: Weight


def integer_weights(
    plan: QuantPlan, nodes: Mapping[str, ir.Node], row: TargetRow
) -> dict[str, tuple[ir.Value, IntegerWeight]]:
    """Every weight of the plan in integers, by name, with the float value it stands for.

    Args:
        plan: the plan.
        nodes: the planned nodes of the model, by output.
        row: the plan's target.

    Raises:
        UsageError: a weight is not a float32 constant of the model, or its axis does not exist.
    """
    entries = {w.initializer: w for w in plan.weights}
    sites = {s.tensor: s for s in plan.sites}
    values, floors = dict[str, ir.Value](), dict[str, NDArray[np.float64]]()
    for planned in plan.nodes:
        if not planned.weight:
            continue
        node = nodes[planned.output]
        value = _weight_of(node, planned, entries)
        values[planned.weight] = value
        bias, site = bias_of(node, planned, plan), site_of(node, sites)
        if bias is not None and site is not None:
            floor = bias_floor(bias.reshape(-1), site.scale, row.bias_max)
            floors[planned.weight] = np.maximum(floors.get(planned.weight, 0.0), floor)
    return {n: (v, _integers(v, entries[n], floors.get(n), row)) for n, v in values.items()}


def bias_of(node: ir.Node, planned: PlannedNode, plan: QuantPlan) -> NDArray[np.float32] | None:
    """The bias that joins the integer sum of a planned node: its third input, or the row of an Add in role int32_bias."""
    if planned.role in ("conv", "gemm") and len(node.inputs) > 2:
        return array(node.inputs[2])
    if planned.op != "MatMul" or planned.role != "gemm":
        return None
    adds = {p.output for p in plan.nodes if p.role == "int32_bias"}
    for use in node.outputs[0].uses():
        if any(o.name in adds for o in use.node.outputs):
            return next((a for v in use.node.inputs if (a := array(v)) is not None), None)
    return None


def site_of(node: ir.Node, sites: Mapping[str, Site]) -> Site | None:
    """The site of a node's activation."""
    value = node.inputs[0]
    return sites.get(value.name or "") if value is not None else None


def _weight_of(node: ir.Node, planned: PlannedNode, entries: Mapping[str, Weight]) -> ir.Value:
    """The constant that a planned node holds, checked against the plan."""
    value = node.inputs[0 if planned.role == "table" else 1]
    content = array(value)
    where = f"the plan does not fit the model: {planned.op} {planned.node!r}"
    if value is None or value.name != planned.weight or content is None:
        raise UsageError(f"{where} does not read the constant weights {planned.weight!r}")
    entry = entries.get(planned.weight)
    if entry is None:
        raise UsageError(f"{where} has weights {planned.weight!r}, which are not among the plan's weights")
    if content.dtype != np.float32 or not 0 <= entry.axis < content.ndim:
        raise UsageError(f"{where} has weights {planned.weight!r} that are not float32 or have no axis {entry.axis}")
    return value


def _integers(value: ir.Value, entry: Weight, floor: NDArray[np.float64] | None, row: TargetRow) -> IntegerWeight:
    content = array(value)
    assert content is not None  # noqa: S101 # for mypy: `_weight_of` has looked
    scales = weight_scales(content, entry.axis, row.weight_max, floor)
    return IntegerWeight(quantize_weight(content, scales, entry.axis, row.weight_max), scales, entry)
