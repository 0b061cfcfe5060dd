"""A shortcut that takes every n-th pixel and pads channels with zeros becomes one 1x1 Conv with an identity kernel.

    Pad(x[:, :, ::n, ::n], channels) = Conv(x, E, strides=n), E[m, c] = 1 where m = c + padding before, else 0

Exact for finite x: every output is 1 * x plus products with 0. An Inf or NaN in one channel becomes NaN in the others of
that pixel; so it must be that a full Conv reads x as well, which has the same effect on the sum that follows. Cases:
1. One Slice, or several in a row, of spatial axes from their beginning to their end, steps constant; then a Pad of
   channels with 0; its only reader is an Add of the output of a Conv, and an ungrouped Conv reads x too: there, runtimes
   keep their blocked layout, and the Conv is up to a tenth faster than Slice and Pad.
The kernel may take bytes that other rewrites saved. Where they do not suffice, a kernel of two groups (half the bytes)
is tried, if both halves of the channels stay by themselves. Left alone: all else.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, discard, new_node, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.local import local
from onnxzip.passes.padding import padding_of
from onnxzip.passes.size import node_bytes, tensor_bytes

_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE)
_NO_END = 2**31 - 1


@local("Pad")
def shortcut_to_conv(pad: ir.Node, context: Context) -> bool:
    """Make a Conv of a strided shortcut with padded channels."""
    padding = padding_of(pad, context)
    if padding is None or padding.crops or padding.axes != (1,) or padding.value != 0 or not _joins_conv(pad):
        return False
    found = _strided(pad, context)
    if found is None:
        return False
    source, slices, steps = found
    shape, dtype = context.shapes.of(source), context.shapes.dtype(source)
    if shape is None or not isinstance(shape[1], int) or dtype not in _FLOATS or not _feeds_conv(source):
        return False
    before, channels = padding.before[1], shape[1]
    for groups in (1, 2):
        kernel = _identity(channels, before, padding.after[1], groups, len(steps))
        if kernel is not None and _replace(pad, slices, source, kernel.astype(dtype.numpy()), groups, steps, context):
            return True
    return False


def _joins_conv(pad: ir.Node) -> bool:
    """Whether its only reader adds it to the output of a Conv."""
    add = sole_consumer(pad.outputs[0])
    others = [v.producer() for v in add.inputs if v is not None] if add is not None and is_op(add, "Add") else []
    return any(is_op(n, "Conv") for n in others)


def _feeds_conv(source: ir.Value) -> bool:
    """Whether an ungrouped Conv reads it."""
    return any(is_op(n, "Conv") and i == 0 and n.attributes.get_int("group", 1) == 1 for n, i in source.uses())


def _strided(pad: ir.Node, context: Context) -> tuple[ir.Value, list[ir.Node], list[int]] | None:
    """What the Slices before a Pad read, they themselves, and the step along each spatial axis."""
    value, slices = pad.inputs[0], list[ir.Node]()
    rank = context.shapes.rank(value)
    if value is None or rank is None or rank < 3:
        return None
    steps = [1] * (rank - 2)
    reader = pad
    while (node := value.producer()) is not None and is_op(node, "Slice") and sole_consumer(value) is reader:
        taken = _steps(node, rank, context)
        if taken is None or node.graph is not pad.graph or node.inputs[0] is None:
            return None
        for axis, step in taken.items():
            steps[axis - 2] *= step
        slices.append(node)
        reader, value = node, node.inputs[0]
    return (value, slices, steps) if slices else None


def _steps(node: ir.Node, rank: int, context: Context) -> dict[int, int] | None:
    """The step of each axis of a Slice that takes spatial axes from beginning to end."""
    if context.opset < 10:
        return None  # such a Slice has no steps
    given = [*node.inputs[1:], None, None][:4]
    starts, ends, axes, steps = (array(v) for v in given)
    if starts is None or ends is None or steps is None or (given[2] is not None and axes is None):
        return None
    named = list(range(len(starts))) if axes is None else [int(a) % rank for a in axes]
    shape = context.shapes.of(node.inputs[0]) or (None,) * rank
    lasts = [size if isinstance(size := shape[axis], int) else _NO_END for axis in named]
    whole = not starts.any() and all(e >= last for e, last in zip(ends, lasts, strict=True)) and (steps >= 1).all()
    if not whole or min(named, default=0) < 2 or len(set(named)) != len(starts):
        return None
    return {axis: int(step) for axis, step in zip(named, steps, strict=True)}


def _identity(channels: int, before: int, after: int, groups: int, spatial: int) -> np.ndarray | None:
    """The kernel; None where a group of outputs would read channels of another group."""
    outputs = channels + before + after
    if channels % groups or outputs % groups:
        return None
    width, height = channels // groups, outputs // groups
    kernel = np.zeros((outputs, width) + (1,) * spatial, np.float32)
    for channel in range(channels):
        if (channel + before) // height != channel // width:
            return None
        kernel[channel + before, channel % width] = 1
    return kernel


def _replace(
    pad: ir.Node,
    slices: list[ir.Node],
    source: ir.Value,
    kernel: np.ndarray,
    groups: int,
    steps: list[int],
    context: Context,
) -> bool:
    """Put the Conv in the place of the Pad, if the file may grow by its kernel."""
    graph, stem = pad.graph, pad.outputs[0].name or "shortcut"
    if graph is None:
        return False
    conv = new_node("Conv", [source], f"{stem}_conv", strides=steps)
    if groups > 1:
        conv.attributes["group"] = ir.AttrInt64("group", groups)
    size = tensor_bytes(ir.DataType.from_numpy(kernel.dtype), kernel.shape, f"{stem}_kernel")
    added = size + node_bytes(conv) + len(stem) + 16 - bytes_freed([pad, *slices])
    if not context.may_add(added):
        conv.replace_input_with(0, None)
        return False
    conv.resize_inputs(2)
    conv.replace_input_with(1, add_constant(graph, kernel, context.names.fresh(f"{stem}_kernel")))
    conv.outputs[0].name = context.names.fresh(f"{stem}_conv")
    graph.insert_before(pad, [conv])
    replace(pad.outputs[0], conv.outputs[0])
    discard([pad.outputs[0]])
    return True
