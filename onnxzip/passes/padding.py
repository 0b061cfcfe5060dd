"""What pads: Pad nodes, and the `pads` of Conv and the pools. Pure analysis."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.constants import array, scalar
from onnxzip.model.shapes import Dim, Shapes
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context


@dataclass(frozen=True)
class Padding:
    """A constant `value` around a tensor: how many elements before and after, for each axis."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes that it pads (or crops)."""
        return tuple(i for i, sides in enumerate(zip(self.before, self.after, strict=True)) if any(sides))

    @property
    def crops(self) -> bool:
        """Whether a side is negative."""
        return min((*self.before, *self.after), default=0) < 0


def padding_of(node: ir.Node, context: Context) -> Padding | None:
    """The padding of a Pad with constant amounts and a constant value (mode "constant"), in any opset from 7 on."""
    rank = context.shapes.rank(node.inputs[0])
    if rank is None or not is_op(node, "Pad") or node.attributes.get_string("mode", "constant") != "constant":
        return None
    if context.opset < 11:
        amounts, axes = list(node.attributes.get_ints("pads", ())), list(range(rank))
        value: float | None = node.attributes.get_float("value", 0.0)
    else:
        given = [*node.inputs[1:], None, None, None][:3]
        found, chosen = array(given[0]), array(given[2])
        if found is None or (given[2] is not None and chosen is None):
            return None
        amounts = [int(a) for a in found.reshape(-1)]
        axes = list(range(rank)) if chosen is None else [int(a) % rank for a in chosen.reshape(-1)]
        value = 0.0 if given[1] is None else scalar(given[1])
    if value is None or len(amounts) != 2 * len(axes) or len(set(axes)) != len(axes):
        return None
    sides = {axis: (amounts[i], amounts[i + len(axes)]) for i, axis in enumerate(axes)}
    before, after = (tuple(sides.get(axis, (0, 0))[side] for axis in range(rank)) for side in (0, 1))
    return Padding(before, after, value)


def window(node: ir.Node, spatial: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
    """Kernel, strides and dilations of a Conv or a pool with that many spatial axes; None where they are not as many."""
    weight = array(node.inputs[1]) if is_op(node, "Conv") and len(node.inputs) > 1 else None
    kernel = tuple(node.attributes.get_ints("kernel_shape", () if weight is None else weight.shape[2:]))
    strides = tuple(node.attributes.get_ints("strides", (1,) * spatial))
    dilations = tuple(node.attributes.get_ints("dilations", (1,) * spatial))
    return (kernel, strides, dilations) if len(kernel) == len(strides) == len(dilations) == spatial else None


def explicit_pads(node: ir.Node, shapes: Shapes) -> list[int] | None:
    """The `pads` of a Conv or a pool as numbers (all before, then all after); None where they follow from unknown sizes."""
    shape = shapes.of(node.inputs[0])
    if shape is None or len(shape) < 3:
        return None
    spatial = len(shape) - 2
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0] * (2 * spatial)
    if mode == "NOTSET":
        pads = list(node.attributes.get_ints("pads", (0,) * (2 * spatial)))
        return pads if len(pads) == 2 * spatial else None
    return _same_pads(node, shape[2:], upper=mode == "SAME_UPPER")


def _same_pads(node: ir.Node, sizes: tuple[Dim, ...], *, upper: bool) -> list[int] | None:
    """What SAME_UPPER (the odd element behind) and SAME_LOWER (before) mean for these sizes."""
    found = window(node, len(sizes))
    if found is None:
        return None
    before, after = [], []
    for size, kernel, stride, dilation in zip(sizes, *found, strict=True):
        if not isinstance(size, int) or dilation != 1:
            return None  # what the mode means with dilations, runtimes do not agree on
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if upper else more)
        after.append(more if upper else less)
    return before + after
