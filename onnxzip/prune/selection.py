"""Rules for operators that take some positions of an axis, or add some: Split, Slice, Gather, Pad, Resize.

They are carried out on the labels; their sizes, bounds and indices follow from what stays.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir

from onnxzip.model.opset import opset_of
from onnxzip.model.walk import label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.facts import Gathered, Keep
from onnxzip.prune.labels import Flags, Ids, Labels, extents
from onnxzip.prune.movement import new_sizes

_SPLIT_SIZES_ARE_AN_INPUT = 13
_SLICE_HAS_INPUTS = 10
_PAD_HAS_INPUTS = 11


def split(state: Analysis, node: ir.Node) -> str | None:
    """Split: along the axis of the channels, each part takes its labels, and the sizes follow."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    axis = node.attributes.get_int("axis", 0) % labels.rank
    if axis not in labels.axes:
        for output in node.outputs:
            state.mark(output, labels)
        return None
    sizes = _split_sizes(state, node, labels.ids.shape[axis])
    if sizes is None:
        return "has sizes that are computed"
    ends = np.cumsum(sizes).tolist()
    spans = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    parts = [_along(labels.ids, axis, span) for span in spans]
    where = 1 if opset_of(state.model) >= _SPLIT_SIZES_ARE_AN_INPUT else "split"
    state.follow(node, where, labels.ids, lambda keep: np.array([extents(keep(p))[axis] for p in parts], np.int64))
    for output, span in zip(node.outputs, spans, strict=True):
        state.mark(output, labels.moved(partial(_along, axis=axis, span=span)))
    return None


def _split_sizes(state: Analysis, node: ir.Node, total: int) -> list[int] | None:
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        content = state.constant(node.inputs[1])
        return None if content is None else [int(s) for s in content.reshape(-1)]
    if "split" in node.attributes:
        return [int(s) for s in node.attributes.get_ints("split", [])]
    size = -(-total // len(node.outputs))
    return [min(size, total - i * size) for i in range(len(node.outputs))]


def _along(content: np.ndarray, axis: int, span: slice) -> np.ndarray:
    return np.asarray(content[(slice(None),) * axis + (span,)])


def slice_(state: Analysis, node: ir.Node) -> str | None:
    """Slice.

    1. with step 1 along axes of channels: bounds follow.
    2. with another step along the one axis that it works on: it becomes a Gather of what stays, where something goes.
    3. along other axes: it leaves labels as they are.
    """
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    bounds = _bounds(state, node, labels.rank)
    if bounds is None:
        return "slices axes that are computed"
    starts, ends, axes, steps = bounds
    moved, edits = labels, []
    for k, axis in enumerate(axes):
        if axis not in labels.axes:
            continue
        if starts is None or ends is None or steps is None:
            return "slices its channels at computed places"
        first, last, step = slice(int(starts[k]), int(ends[k]), int(steps[k])).indices(labels.ids.shape[axis])
        if step != 1 and len(axes) == 1:
            return _strided(state, node, labels, axis, np.arange(first, last, step))
        if step != 1 or last <= first:
            return "takes its channels with steps"
        edits.append((k, axis, first, last))
        moved = moved.moved(partial(_along, axis=axis, span=slice(first, last)))
    for index, (bound, content) in enumerate((("starts", starts), ("ends", ends))):
        if edits and content is not None:
            where: int | str = index + 1 if opset_of(state.model) >= _SLICE_HAS_INPUTS else bound
            state.follow(node, where, labels.ids, partial(_new_bounds, content, edits, labels.ids, index))
    state.mark(node.outputs[0], moved)
    return None


def _strided(state: Analysis, node: ir.Node, labels: Labels, axis: int, picks: np.ndarray) -> str | None:
    """Case 2."""
    state.gathers.append(Gathered(node, axis, picks, labels.ids))
    state.mark(node.outputs[0], labels.moved(lambda a: a.take(picks, axis)))
    return None


def _new_bounds(
    content: np.ndarray, edits: list[tuple[int, int, int, int]], ids: Ids, which: int, keep: Keep
) -> np.ndarray:
    new, stays = content.copy(), keep(ids)
    for k, axis, first, last in edits:
        alive = _alive(stays, axis)
        new[k] = int(alive[: (first, last)[which]].sum())
    return new


def _alive(stays: Flags, axis: int) -> Flags:
    """Which positions of an axis keep anything."""
    return np.asarray(np.moveaxis(stays, axis, 0).reshape(stays.shape[axis], -1).any(axis=1))


_Bounds = tuple[np.ndarray | None, np.ndarray | None, list[int], np.ndarray | None]


def _bounds(state: Analysis, node: ir.Node, rank: int) -> _Bounds | None:
    """Starts, ends and steps (None where they are computed) of the axes that a Slice works on; None when those are not known."""
    if opset_of(state.model) < _SLICE_HAS_INPUTS:
        starts, ends = (np.array(node.attributes.get_ints(n, []), np.int64) for n in ("starts", "ends"))
        axes = node.attributes.get_ints("axes", []) or range(len(starts))
        return starts, ends, [int(a) % rank for a in axes], np.ones_like(starts)
    starts_, ends_ = (state.constant(v) for v in node.inputs[1:3])
    given = [len(node.inputs) > i and node.inputs[i] is not None for i in (3, 4)]
    if given[0]:
        content = state.constant(node.inputs[3])
        if content is None:
            return None
        found = [int(a) % rank for a in content.reshape(-1)]
    else:
        count = state.shapes.static(node.inputs[1])
        if count is None:
            return None
        found = list(range(count[0]))
    steps = state.constant(node.inputs[4]) if given[1] else np.ones(len(found), np.int64)
    return starts_, ends_, found, steps


def gather(state: Analysis, node: ir.Node) -> str | None:
    """Gather.

    1. along the axis of the channels, with constant indices: labels are gathered; indices follow.
    2. along another axis: labels stay what they are, beside the axes of the indices.
    3. rows of a constant table (an embedding): the table makes channels, one for each column.
    """
    labels = state.of(node.inputs[0])
    if labels is None:
        return _embedding(state, node)
    axis = node.attributes.get_int("axis", 0) % labels.rank
    indices = state.constant(node.inputs[1])
    if axis in labels.axes:
        if indices is None:
            return "picks channels by computed indices"
        picks = np.where(indices < 0, indices + labels.ids.shape[axis], indices).astype(np.int64)
        state.block(labels.ids.take(picks, axis), f"{label(node)} wants")
        state.follow(node, 1, labels.ids, partial(new_indices, picks, axis, labels.ids, indices.dtype))
    else:
        rank = state.shapes.rank(node.inputs[1])
        if rank is None:
            return "picks by indices of unknown rank"
        picks = np.zeros((1,) * rank, np.int64)
    state.mark(node.outputs[0], labels.moved(lambda a: a.take(picks, axis)))
    return None


def new_indices(picks: np.ndarray, axis: int, ids: Ids, dtype: np.dtype[np.generic], keep: Keep) -> np.ndarray:
    """Indices of what is picked and stays, among all that stays along an axis."""
    alive = _alive(keep(ids), axis)
    stays = np.asarray(alive[picks])
    new = (np.cumsum(alive) - 1)[picks[stays]] if picks.ndim else (np.cumsum(alive) - 1)[picks]
    return np.asarray(new.reshape(extents(stays) if picks.ndim else ()).astype(dtype))


def _embedding(state: Analysis, node: ir.Node) -> str | None:
    table, rank = state.floats(node.inputs[0]), state.shapes.rank(node.outputs[0])
    if table is None or table.ndim != 2 or rank is None or node.attributes.get_int("axis", 0) % 2 or len(table) < 2:
        return None
    outs = state.made(node, table.shape[1])
    state.cut(node, 0, 1, outs)
    known = np.where((table == table[0]).all(axis=0), table[0].astype(np.float64), np.nan)
    state.mark(node.outputs[0], Labels.along(rank - 1, rank, outs, known))
    return None


def pad(state: Analysis, node: ir.Node) -> str | None:
    """Pad.

    1. along the axis of the channels with a constant: it makes new channels, which are that constant; the counts follow.
    2. along other axes: a channel stays constant where the padding is that constant too, or copies what is there.
    """
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    found = _paddings(state, node, labels.rank)
    if isinstance(found, str):
        return found
    counts, where, number = found
    mode = node.attributes.get_string("mode", "constant")
    along = [a for a in labels.axes if counts[a].any()]
    if along and (len(labels.axes) > 1 or (mode != "constant" or number is None or (counts < 0).any())):
        return "pads its channels in a way that is not understood"
    if mode == "constant":
        same = np.isnan(labels.known) | (labels.known == (np.nan if number is None else number))
        labels = Labels(labels.ids, np.where(same, labels.known, np.nan), labels.twins if not counts.any() else None)
    if along and number is not None:
        labels = _grown(state, node, labels, along[0], counts[along[0]], where, number)
    state.mark(node.outputs[0], labels)
    return None


def _grown(
    state: Analysis,
    node: ir.Node,
    labels: Labels,
    axis: int,
    counts: np.ndarray,
    where: tuple[int | str, np.ndarray, tuple[int, int]],
    number: float,
) -> Labels:
    """Case 1: labels with those of the padding on both sides."""
    own = [state.channels.fresh(int(c)) for c in counts]
    slot, content, places = where

    def make(keep: Keep) -> np.ndarray:
        new = content.copy()
        for place, ids in zip(places, own, strict=True):
            new[place] = int(keep(ids).sum())
        return new

    state.follow(node, slot, np.concatenate(own), make)
    sides = [Labels.along(axis, labels.rank, ids, np.full(len(ids), number)) for ids in own]
    parts = [sides[0], labels, sides[1]]
    ids, known = (np.concatenate([getattr(p, name) for p in parts], axis) for name in ("ids", "known"))
    return Labels(ids, known)


def _paddings(
    state: Analysis, node: ir.Node, rank: int
) -> tuple[np.ndarray, tuple[int | str, np.ndarray, tuple[int, int]], float | None] | str:
    """Counts (rank, 2) of the padding; where the entries of the channel axis stand; and the constant, None when computed."""
    if opset_of(state.model) < _PAD_HAS_INPUTS:
        content, slot = np.array(node.attributes.get_ints("pads", []), np.int64), "pads"
        number: float | None = node.attributes.get_float("value", 0.0)
        axes = list(range(rank))
    else:
        pads, slot = state.constant(node.inputs[1]), 1  # type: ignore[assignment]
        if pads is None:
            return "pads by computed counts"
        content = pads
        fill = node.inputs[2] if len(node.inputs) > 2 else None
        held = state.constant(fill)
        number = 0.0 if fill is None else None if held is None or held.size != 1 else float(held.reshape(-1)[0])
        given = node.inputs[3] if len(node.inputs) > 3 else None
        chosen = state.constant(given)
        if given is not None and chosen is None:
            return "pads computed axes"
        axes = list(range(rank)) if chosen is None else [int(a) % rank for a in chosen.reshape(-1)]
    counts = np.zeros((rank, 2), np.int64)
    counts[axes] = content.reshape(2, -1).T
    place = axes.index(next((a for a in axes if counts[a].any() and a == _channel_axis(state, node)), axes[0]))
    return counts, (slot, content, (place, place + len(axes))), number


def _channel_axis(state: Analysis, node: ir.Node) -> int:
    labels = state.of(node.inputs[0])
    return -1 if labels is None else labels.axis


def resize(state: Analysis, node: ir.Node) -> str | None:
    """Resize, Upsample: each channel is resized by itself, as long as the axis of the channels keeps its size."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    before, after = (state.shapes.of(v) for v in (node.inputs[0], node.outputs[0]))
    if before is None or after is None or any(before[a] != after[a] for a in labels.axes):
        return "may resize the axis of its channels"
    sizes = node.inputs[3] if len(node.inputs) > 3 else None
    content = state.constant(sizes)
    if sizes is not None and ("axes" in node.attributes or content is None):
        return "resizes to a computed shape"
    if content is not None:
        state.follow(node, 3, labels.ids, partial(new_sizes, content, labels.axes, labels.ids))
    keeps = node.attributes.get_string("mode", "nearest") in ("nearest", "linear")
    keeps &= node.attributes.get_string("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize"
    known = labels.known if keeps else np.where(labels.known == 0, 0.0, np.nan)
    state.mark(node.outputs[0], Labels(labels.ids, known, labels.twins if keeps else None))
    return None
