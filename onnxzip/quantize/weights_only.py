"""Plans that store weights in integers and leave the arithmetic float: which weights, how, and rounded on what.

 1. int8, a scale for each output channel; tables by row. float16 scales where that loses nothing and saves bytes.
 2. uint4 in blocks (`onnxzip.quantize.blocks`), for a MatMul, Gemm or Conv that sums up at least `SMALLEST` channels, and for a table
    whose rows are a multiple of a block (of nearest integers). The block size is the one with the least error · 4^(bits a weight): a bit is worth 6 dB elsewhere too.
Both are rounded so that errors make up for each other, on moments from data or on assumed ones (`onnxzip.quantize.assumed`). Where all weights have 8 bits
and there is data, that is done as for int8 (`onnxzip.quantize.refine`); in all other cases by `onnxzip.quantize.gptq4`: moments from fewer than 2 K rows for K columns
are then used only where the grid that half of the rows gave is better than the nearest integers on the other half.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.calibrate.arrays import Ids, Numbers
from onnxzip.calibrate.gather import Look
from onnxzip.calibrate.moments import WIDEST, Moments
from onnxzip.calibrate.patches import site_of
from onnxzip.model.constants import array
from onnxzip.model.shapes import Shapes
from onnxzip.quantize import blocks as b4
from onnxzip.quantize.assumed import assumed_moments
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.gptq4 import ENOUGH, damping, output_error, round_to_grid
from onnxzip.quantize.matrix import from_rows, groups_of, to_rows
from onnxzip.quantize.packed import pack
from onnxzip.quantize.plan import make_weights_plan
from onnxzip.quantize.qparams import weight_scales
from onnxzip.quantize.schema import QuantPlan, Weight
from onnxzip.quantize.targets import target_row
from onnxzip.quantize.weights import rounded_up

SMALLEST = 32
"""Channels below which a block holds too little for its scale to be worth its bytes."""

CAST_BYTES = 40
"""About what the Cast of float16 scales adds to a file."""

HALF_NORMAL = (2.0**-14, 65504.0)
"""float16 numbers of full precision."""

Pair = tuple[Moments, Moments]


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights that are to be stored, with the one layer that reads them.

    Attributes:
        weight: the plan's entry, int8.
        reader: the layer; None for tables and for weights that several layers read: they are rounded to nearest.
        content: float32, the weights.
        inside: whether it stands in a body, where nothing can be looked at: it keeps 8 bits.
        divisible: whether it is a table that one Gather reads, and the sizes that its blocks may have: those that its rows are a multiple of.
    """

    weight: Weight
    reader: ir.Node | None
    content: npt.NDArray[np.float32]
    inside: bool = False
    divisible: tuple[int, ...] = ()

    @property
    def groups(self) -> int:
        """Into how many groups the reader splits its channels."""
        return 1 if self.reader is None else groups_of(self.reader)

    @property
    def columns(self) -> int:
        """Products that an output sums up."""
        return int(self.content.size // self.content.shape[self.weight.axis])

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return math.prod(self.content.shape[2:])

    def rows(self) -> Numbers:
        """The weights as float64[groups, rows, columns]."""
        return to_rows(self.content.astype(np.float64), self.weight.axis, self.groups)

    def look(self) -> Look | None:
        """Where to see what it reads; None where that cannot be seen or would not fit into memory."""
        site = None if self.reader is None or self.inside or self.columns > WIDEST else site_of(self.reader)
        if site is None or self.reader is None or self.reader.inputs[0] is None:
            return None
        names = self.reader.outputs[0].name or "", self.reader.inputs[0].name or ""
        return Look(*names, site, self.columns * self.groups, self.groups)

    def takes_four_bits(self) -> bool:
        """Case 2."""
        if self.inside:
            return False
        return bool(self.divisible) or (self.reader is not None and self.columns // self.taps >= SMALLEST)


def base_plan(model: ir.Model, target: str, keep_float: tuple[str, ...]) -> QuantPlan:
    """Case 1, nearest integers. Arguments and errors as for `plan.make_weights_plan`."""
    plan = make_weights_plan(model, target, keep_float=keep_float)
    nodes = tuple(n if n.role == "table" else dataclasses.replace(n, role="stored") for n in plan.nodes)
    entries = {w.initializer: dataclasses.replace(w, pairs=False) for w in plan.weights}
    limit = target_row(plan.target).weight_max
    for layer in layers_of(model, dataclasses.replace(plan, nodes=nodes, weights=tuple(entries.values()))):
        name, scales = layer.weight.initializer, weight_scales(layer.content, layer.weight.axis, limit)
        entries[name] = dataclasses.replace(entries[name], half=_in_half(scales))
    return dataclasses.replace(plan, nodes=nodes, weights=tuple(entries.values()))


def layers_of(model: ir.Model, plan: QuantPlan) -> list[Layer]:
    """The weights of a plan, in its order."""
    by_output = find_nodes(model, plan)
    readers: dict[str, list[tuple[ir.Node, str]]] = {}
    for entry in plan.nodes:
        if entry.weight:
            readers.setdefault(entry.weight, []).append((by_output[entry.output], entry.role))
    found, shapes = [], Shapes(model)
    for weight in plan.weights:
        own = readers[weight.initializer]
        node, role = own[0]
        content = array(node.inputs[0 if role == "table" else 1])
        if content is None:
            continue
        known = (
            role == "table"
            and content.ndim == 2
            and node.inputs[1] is not None
            and shapes.rank(node.inputs[1]) is not None
        )
        sizes = tuple(s for s in b4.SIZES if known and len(own) == 1 and content.shape[1] % s == 0)
        reader = node if len(own) == 1 and role == "stored" else None
        found.append(Layer(weight, reader, content, weight.initializer not in model.graph.initializers, sizes))
    return found


def in_eight_bits(layer: Layer, seen: Pair | None, limit: int) -> Weight:
    """Case 1, rounded on moments."""
    found = _moments(layer, seen)
    if found is None:
        return layer.weight
    scales = weight_scales(layer.content, layer.weight.axis, limit)
    scales = rounded_up(scales) if layer.weight.half else scales
    rows = layer.rows()
    steps = np.broadcast_to(scales.astype(np.float64).reshape(*rows.shape[:2], 1), rows.shape)
    bound = np.full(rows.shape, limit, np.int64)
    near = np.clip(np.rint(rows / steps), -bound, bound).astype(np.int64)
    codes = _rounded(layer, rows, steps, (-bound, bound), near, found)
    change = from_rows((codes - near).astype(np.int8), layer.content.shape, layer.weight.axis)
    return dataclasses.replace(layer.weight, rounding=pack(change))


def in_four_bits(layer: Layer, seen: Pair | None) -> Weight:
    """Case 2, rounded on moments."""
    weight, shape, axis = layer.weight, layer.content.shape, layer.weight.axis
    found = _moments(layer, seen)
    rows = to_rows(layer.content.astype(np.float64), axis, 1)[0]
    importance = None if found is None else _importance(layer, found)
    size = min(layer.divisible or b4.SIZES, key=lambda s: _worth(layer, rows, importance, s))
    numbers = b4.blocks_of(shape, axis, size)
    scales, zeros = b4.grid(rows, numbers, importance)
    half = _in_half(scales)
    scales = rounded_up(scales) if half else scales
    near = b4.nearest(rows, numbers, scales, zeros)
    rounding = ""
    if found is not None:
        grouped = (layer.groups, -1, rows.shape[1])
        offset = zeros[:, numbers].reshape(grouped)
        steps = scales.astype(np.float64)[:, numbers].reshape(grouped)
        plain = near.reshape(grouped) - offset
        codes = _rounded(layer, rows.reshape(grouped), steps, (-offset, b4.LEVELS - offset), plain, found)
        rounding = pack(b4.laid_out((codes - plain).reshape(rows.shape).astype(np.int8), shape, axis))
    scale_shape = b4.scale_shape(shape, axis, size)
    return dataclasses.replace(
        weight,
        dtype="uint4",
        half=half,
        block=size,
        scales=pack(b4.laid_out(scales, scale_shape, axis)),
        zeros=pack(b4.laid_out(zeros.astype(np.uint8), scale_shape, axis)),
        rounding=rounding,
    )


def _in_half(scales: npt.NDArray[np.float32]) -> bool:
    """Whether scales become float16 numbers: without loss, for codes are rounded at those, and only where it saves bytes."""
    fits = HALF_NORMAL[0] <= scales.min() and scales.max() < HALF_NORMAL[1]
    return bool(fits and 2 * scales.size > CAST_BYTES)


@dataclass(frozen=True, eq=False)
class _Seen:
    """Moments [groups, K, K] to round on, how many rows they are from (0: assumed), and their halves."""

    square: Numbers
    rows: int
    halves: tuple[Numbers, Numbers] | None


def _moments(layer: Layer, seen: Pair | None) -> _Seen | None:
    """What a layer is rounded on; None for the nearest integers."""
    if layer.reader is None or layer.columns > WIDEST:
        return None  # also all tables
    if seen is None or not (seen[0].count and seen[1].count):
        assumed = assumed_moments(layer.reader, layer.columns, layer.taps)
        if np.count_nonzero(assumed) == layer.columns:
            return None  # the identity: nothing makes up for anything
        return _Seen(np.broadcast_to(assumed, (layer.groups, *assumed.shape)), 0, None)
    both = seen[0].joined(seen[1])
    return _Seen(both.square / both.count, both.count, (seen[0].square, seen[1].square))


def _importance(layer: Layer, found: _Seen) -> Numbers:
    """How much an error in each column counts: float64[rows, K] for grouped layers, else float64[1, K]."""
    diagonal = np.diagonal(found.square, axis1=1, axis2=2)
    floor = 1e-6 * max(float(diagonal.mean()), 1e-30)
    outs = 1 if layer.groups == 1 else layer.content.shape[layer.weight.axis] // layer.groups
    return np.repeat(np.maximum(diagonal, floor), outs, axis=0)


def _worth(layer: Layer, rows: Numbers, importance: Numbers | None, size: int) -> float:
    """The logarithm of error · 4^(bits a weight): smaller is better."""
    numbers = b4.blocks_of(layer.content.shape, layer.weight.axis, size)
    scales, zeros = b4.grid(rows, numbers, importance)
    off = (rows - b4.dequantized(b4.nearest(rows, numbers, scales, zeros), numbers, scales, zeros)) ** 2
    error = float((off if importance is None else off * importance).sum())
    return float(np.log(max(error, 1e-300)) + b4.cost(layer.columns, size, layer.taps) * np.log(4))


def _rounded(layer: Layer, rows: Numbers, steps: Numbers, bounds: tuple[Ids, Ids], near: Ids, found: _Seen) -> Ids:
    """Codes of each group, or the nearest ones where the moments cannot be trusted."""
    codes = near.copy()
    damp = damping(found.rows, layer.columns) if found.rows else 0.0
    for g in range(len(rows)):
        low, high = bounds[0][g], bounds[1][g]
        if found.halves is not None and found.rows < ENOUGH * layer.columns:
            first, second = (h[g] for h in found.halves)
            trial = round_to_grid(rows[g], first, steps[g], low, high, damp)
            if _error(rows, trial, steps, g, second) >= _error(rows, near[g], steps, g, second):
                continue
        codes[g] = round_to_grid(rows[g], found.square[g], steps[g], low, high, damp)
    return codes


def _error(rows: Numbers, codes: Ids, steps: Numbers, group: int, moments: Numbers) -> float:
    return output_error(rows[group] - steps[group] * codes, moments)


def sizes_for(layers: Sequence[Layer], floor: int, ceiling: int, factor: int) -> int:
    """Rows a layer that the widest of them needs, within limits."""
    return min(max([factor * y.columns for y in layers if y.look() is not None], default=floor) + floor, ceiling)
