"""Affine maps per channel before Conv, ConvTranspose, Gemm and MatMul go into weight and bias.

    W (s x + t) + b  =  (W s) x + (W t + b)

with s and t per in-channel, computed in float64 and rounded once. Not bit exact: the order of rounding differs. Cases:
1. A scale alone: any of the four operators, any padding (zero stays zero).
2. A shift: Gemm, and Conv without padding. At a padded border the shift is missing from what is summed, and so it is
   at every border of a ConvTranspose: refused with a note.
3. Between such a node and the linear operator, elements are only moved (see `movement`), each by the only reader.
Left alone: a shift before a MatMul (it has no bias); a value that others read too; a constant that broadcasts the input
to more channels or axes than it has; the half of an Erf-Gelu, x / 2 (1 + erf(x / sqrt 2)), which runtimes run as one operator.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import discard, remove, replace, sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.passes.affine import Affine, Layout, affine_of
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_added, put_constant
from onnxzip.passes.linear import LINEAR, Linear, linear_of
from onnxzip.passes.local import local
from onnxzip.passes.movement import traced


@local(*LINEAR)
def fuse_affine_before(node: ir.Node, context: Context) -> bool:
    """Fold what a linear operator reads into it, node by node, the nearest first."""
    linear = linear_of(node, context)
    found = None if linear is None else _before(linear, context)
    if linear is None or found is None:
        return False
    before, layout = found
    source, affine = _affine(before, layout, context)
    if source is not None and _ends_gelu(source):
        return False
    if source is None or affine is None:
        return False
    where = f"{label(before)} before {label(node)}"
    if affine.shifts() and is_op(node, "MatMul"):
        return False
    if affine.shifts() and not (is_op(node, "Gemm") or _is_unpadded(node)):
        return context.refuse(f"{where} stays: its shift is not the same at the border")
    weight = linear.stored(linear.scaled_in(affine.scale)) if affine.is_finite() else None
    bias = _bias(linear, affine) if weight is not None else None
    if weight is None or bias is None:
        return context.refuse(f"{where} stays: the fused weights do not fit into {linear.weight.dtype}")
    added = bytes_added(linear, [before], weight=affine.scales(), bias=affine.shifts())
    if not context.affords(added):
        return context.refuse(f"{where} stays: the file would grow by {added} bytes, because a weight is shared")
    _apply(linear, before, source, weight if affine.scales() else None, bias if affine.shifts() else None, context)
    return True


def _before(linear: Linear, context: Context) -> tuple[ir.Node, Layout] | None:
    """What gives the input, behind nodes that move elements only, and where its channels are. Each has one reader."""
    reader, layout = linear.node, linear.in_layout
    while True:
        value = reader.inputs[0]
        before = value.producer() if value is not None else None
        if value is None or before is None or before.graph is not reader.graph or sole_consumer(value) is not reader:
            return None
        moved = traced(before, layout, context)
        if moved is None:
            return before, layout
        reader, layout = before, moved


def _affine(before: ir.Node, layout: Layout, context: Context) -> tuple[ir.Value | None, Affine | None]:
    """What `before` reads, and its map; nothing when it is none or when it changes the shape."""
    for source in before.inputs:
        shape = context.shapes.of(source)
        if source is None or layout.rank is None or shape is None or len(shape) != layout.rank:
            continue
        if shape[layout.axis] == layout.channels:
            affine = affine_of(before, source, layout, context.opset)
            if affine is not None:
                return source, affine
    return None, None


def _ends_gelu(value: ir.Value) -> bool:
    """Whether this is x (1 + erf(...)), which half of makes a Gelu."""
    product = value.producer()
    sums = (
        [v.producer() for v in product.inputs if v is not None] if product is not None and is_op(product, "Mul") else []
    )
    terms = [v.producer() for s in sums if s is not None and is_op(s, "Add") for v in s.inputs if v is not None]
    return any(is_op(t, "Erf") for t in terms)


def _is_unpadded(node: ir.Node) -> bool:
    if not is_op(node, "Conv") or node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    return node.attributes.get_string("auto_pad", "NOTSET") == "VALID" or not any(node.attributes.get_ints("pads", ()))


def _bias(linear: Linear, affine: Affine) -> np.ndarray | None:
    if not affine.shifts():
        return np.zeros(())
    old = np.zeros(()) if linear.bias is None else linear.bias.astype(np.float64)
    with np.errstate(all="ignore"):
        bias = linear.node.attributes.get_float("beta", 1.0) * old.reshape(-1) + linear.response(affine.shift)
        rounded = bias.astype(linear.weight.dtype)
    return rounded if np.isfinite(rounded).all() else None


def _apply(
    linear: Linear,
    before: ir.Node,
    source: ir.Value,
    weight: np.ndarray | None,
    bias: np.ndarray | None,
    context: Context,
) -> None:
    node, read = linear.node, before.inputs
    if weight is not None:
        put_constant(node, 1, weight, context.names, "weight")
    if bias is not None:
        put_constant(node, 2, bias, context.names, f"{node.outputs[0].name}_bias")
        node.attributes.pop("beta", None)
    replace(before.outputs[0], source)
    remove(before)
    discard(read)
