"""Integer weights and biases of a plan, derived from the float weights by a fixed rule: the same plan gives the same bytes.

Scale of channel c:    s_c = max(max |w_c| / 127, largest |b_c| / (s_x 2**30) over the nodes that share the weight).
The second term is nearly always smaller; it keeps an int32 bias from overflowing behind a tiny channel or a tiny input.
Where pairs must fit into 16 bits, s_c is stretched as `onnxzip.quantize.pairs` says.
Integers are the nearest ones (pairs drawn in), plus what the plan adds to them (`rounding`, fitted on data).
Weights whose reader's activation is smoothed are multiplied by the smoothing factors first, along their input channels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.errors import UsageError
from onnxzip.model.constants import array
from onnxzip.model.shapes import Shapes
from onnxzip.quantize.blocks import LEVELS, blocks_of, laid_out, nearest, scale_shape
from onnxzip.quantize.matrix import from_rows, groups_of, to_rows
from onnxzip.quantize.packed import unpack
from onnxzip.quantize.pairs import draw_in, partners, safe_scales
from onnxzip.quantize.qparams import bias_floor, quantize_weight, weight_scales
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site, Weight


@dataclass(frozen=True)
class IntegerWeight:
    """Codes (int8, or uint4 as uint8; shape of the weight), scales (float32[C], or of blocks), the plan's entry, zero points of blocks."""

    codes: NDArray[np.int8 | np.uint8]
    scales: NDArray[np.float32]
    entry: Weight
    zeros: NDArray[np.uint8] | None = None


Nearest = dict[tuple[object, ...], tuple[NDArray[np.float32], NDArray[np.int8]]]
"""Scales and the nearest integers by weight, smoothing and scales, so that plans that differ elsewhere do not round them again."""


def integer_weights(
    plan: QuantPlan, nodes: Mapping[str, ir.Node], row: TargetRow, known: Nearest | None = None
) -> dict[str, tuple[ir.Value, IntegerWeight]]:
    """Every weight of the plan in integers, by name, with the float value it stands for.

    Args:
        plan: the plan.
        nodes: the planned nodes of the model, by output.
        row: the plan's target.
        known: what was rounded before of the same model, for the same target; what is new is added.

    Raises:
        UsageError: a weight is not a float32 constant of the model, or its axis does not exist.
    """
    entries = {w.initializer: w for w in plan.weights}
    sites = {s.tensor: s for s in plan.sites if s.readers != "factor"}
    values, floors = dict[str, ir.Value](), dict[str, NDArray[np.float64]]()
    # scales must not depend on corrections, which are fitted to what rounding at these scales does
    uncorrected = dataclasses.replace(plan, nodes=tuple(dataclasses.replace(p, bias="") for p in plan.nodes))
    for planned in plan.nodes:
        if not planned.weight:
            continue
        node = nodes[planned.output]
        value = _weight_of(node, planned, entries)
        values[planned.weight] = value
        bias, site = bias_of(node, dataclasses.replace(planned, bias=""), uncorrected), site_of(node, sites)
        if bias is not None and site is not None:
            floor = bias_floor(bias.reshape(-1), site.scale, row.bias_max)
            floors[planned.weight] = np.maximum(floors.get(planned.weight, 0.0), floor)
    readers = {p.weight: nodes[p.output] for p in plan.nodes if p.weight and p.role != "table"}
    cache, found = {} if known is None else known, {}
    for name, value in values.items():
        entry, reader = entries[name], readers.get(name)
        content = float_weight(value, reader, sites)
        if entry.block:
            found[name] = (value, block_weight(content, entry))
            continue
        scales = weight_scales(content, entry.axis, row.weight_max, floors.get(name))
        site = None if reader is None else site_of(reader, sites)
        key = (name, entry.axis, entry.half, entry.pairs, "" if site is None else site.smooth, scales.tobytes())
        if key not in cache:
            cache[key] = _nearest(content, entry, reader, scales, row)
        found[name] = (value, _integers(*cache[key], entry, row))
    return found


def float_weight(value: ir.Value, reader: ir.Node | None, sites: Mapping[str, Site]) -> NDArray[np.float32]:
    """What a constant stands for before rounding: multiplied by the factors of its reader's smoothed activation."""
    content = array(value)
    assert content is not None  # noqa: S101 # for mypy: `_weight_of` has looked
    site = None if reader is None else site_of(reader, sites)
    if site is None or not site.smooth:
        return content
    factors = unpack(site.smooth, np.float32, content.shape[:1], f"the smoothing of tensor {site.tensor!r}")
    return np.asarray(content * factors[:, None])


def bias_of(node: ir.Node, planned: PlannedNode, plan: QuantPlan) -> NDArray[np.float32] | None:
    """The bias that joins the integer sum of a planned node, corrected: its third input, or the row of an Add in role int32_bias."""
    if planned.op in ("Conv", "ConvTranspose", "Gemm"):
        transposed = node.attributes.get_int("transB", 0)
        axis = 0 if planned.op == "Conv" or transposed else 1
        weight = array(node.inputs[1])
        channels = 0 if weight is None else weight.shape[axis]
        return corrected(array(node.inputs[2]) if len(node.inputs) > 2 else None, planned, channels)
    adds = {p.output: p for p in plan.nodes if p.role == "int32_bias"}
    for use in node.outputs[0].uses() if planned.role == "gemm" else ():
        add = next((adds[o.name] for o in use.node.outputs if o.name in adds), None)
        if add is not None:
            return row_of(use.node, add)[1]
    return None


def row_of(add: ir.Node, planned: PlannedNode) -> tuple[int, NDArray[np.float32]]:
    """Which input of an Add is constant, and its content, corrected.

    Raises:
        UsageError: none is.
    """
    for index, value in enumerate(add.inputs):
        content = array(value)
        if content is not None:
            row = corrected(content, planned, content.size)
            return index, content if row is None else row
    raise UsageError(f"the plan does not fit the model: {planned.op} {planned.node!r} holds no constant row")


def corrected(bias: NDArray[np.float32] | None, planned: PlannedNode, channels: int) -> NDArray[np.float32] | None:
    """A bias with the plan's correction; what is not there counts as 0."""
    if not planned.bias:
        return bias
    shift = unpack(planned.bias, np.float32, (channels,), f"the bias of {planned.op} {planned.node!r}")
    return shift if bias is None else np.asarray(bias + shift.reshape(bias.shape))


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


def _nearest(
    content: NDArray[np.float32], entry: Weight, reader: ir.Node | None, scales: NDArray[np.float32], row: TargetRow
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scales and the nearest integers, neighbours drawn in where they share 16 bits."""
    if entry.half:
        scales = rounded_up(scales)
    partner = partners(reader, content.shape, entry.axis) if entry.pairs and reader is not None else None
    if partner is None or reader is None:
        return scales, quantize_weight(content, scales, entry.axis, row.weight_max)
    rows = to_rows(content, entry.axis, groups_of(reader))
    flat = rows.reshape(-1, rows.shape[-1])
    scales = safe_scales(flat, scales, partner, row.weight_max)
    nearest = np.clip(np.rint(flat / scales[:, None]), -row.weight_max, row.weight_max)
    codes = from_rows(draw_in(nearest, partner).reshape(rows.shape), content.shape, entry.axis)
    return scales, codes.astype(np.int8)


def _integers(scales: NDArray[np.float32], codes: NDArray[np.int8], entry: Weight, row: TargetRow) -> IntegerWeight:
    """A weight with what the plan adds to its nearest integers."""
    if not entry.rounding:
        return IntegerWeight(codes, scales, entry)
    name = entry.initializer
    rounded = codes + unpack(entry.rounding, np.int8, codes.shape, f"the rounding of weight {name!r}").astype(np.int16)
    if abs(rounded).max() > row.weight_max:
        raise UsageError(f"the rounding of weight {name!r} of the plan leaves the range of int8")
    return IntegerWeight(rounded.astype(np.int8), scales, entry)


def rounded_up(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """The smallest float16 numbers that are not below these scales: codes stay in their range."""
    half = scales.astype(np.float16)
    return np.where(half < scales, np.nextafter(half, np.float16(np.inf)), half).astype(np.float32)


def block_weight(content: NDArray[np.float32], entry: Weight) -> IntegerWeight:
    """Codes of 4 bits: the nearest ones on the plan's grid, plus what the plan adds to them.

    Raises:
        UsageError: the plan does not hold such a grid, or leaves the range.
    """
    name, axis = entry.initializer, entry.axis
    if content.ndim < 2 or axis > 1:
        raise UsageError(
            f"weight {name!r} of the plan has no blocks: it has {content.ndim} axes and channels along {axis}"
        )
    shape = scale_shape(content.shape, axis, entry.block)
    scales = unpack(entry.scales, np.float32, shape, f"the scales of weight {name!r}")
    zeros = unpack(entry.zeros, np.uint8, shape, f"the zero points of weight {name!r}")
    if not (np.isfinite(scales).all() and (scales > 0).all() and zeros.max(initial=0) <= LEVELS):
        raise UsageError(f"weight {name!r} of the plan has scales that are not positive, or zero points above {LEVELS}")
    blocks = blocks_of(content.shape, axis, entry.block)
    rows, flat_scales, flat_zeros = (to_rows(a, axis, 1)[0] for a in (content, scales, zeros))
    codes = laid_out(nearest(rows, blocks, flat_scales, flat_zeros.astype(np.int64)), content.shape, axis)
    if entry.rounding:
        codes = codes + unpack(entry.rounding, np.int8, content.shape, f"the rounding of weight {name!r}")
        if codes.min() < 0 or codes.max() > LEVELS:
            raise UsageError(f"the rounding of weight {name!r} of the plan leaves the range of uint4")
    return IntegerWeight(codes.astype(np.uint8), scales, entry, zeros)


def transposed(plan: QuantPlan, nodes: Mapping[str, ir.Node]) -> frozenset[str]:
    """Weights that are stored transposed: all their readers are Gemms with transB that compute in float."""
    found: dict[str, bool] = {}
    for p in plan.nodes:
        if p.weight:
            turns = p.role == "stored" and p.op == "Gemm" and nodes[p.output].attributes.get_int("transB", 0) == 1
            found[p.weight] = found.get(p.weight, True) and turns
    return frozenset(name for name, turns in found.items() if turns)


def table_ranks(model: ir.Model, plan: QuantPlan, nodes: Mapping[str, ir.Node]) -> dict[str, int]:
    """The rank of the row numbers that a Gather of a 4-bit table reads, by its output.

    Raises:
        UsageError: it is not known, or the rows are no multiple of the blocks.
    """
    sizes = {w.initializer: w.block for w in plan.weights if w.block}
    tables = [p for p in plan.nodes if p.role == "table" and p.weight in sizes]
    shapes = Shapes(model) if tables else None
    found: dict[str, int] = {}
    for p in tables:
        rows, table = nodes[p.output].inputs[1], array(nodes[p.output].inputs[0])
        rank = None if shapes is None or rows is None else shapes.rank(rows)
        if rank is None or table is None or table.ndim != 2 or table.shape[1] % sizes[p.weight]:
            raise UsageError(
                f"the plan does not fit the model: the table of Gather {p.node!r} cannot be stored in blocks"
            )
        found[p.output] = rank
    return found
