"""Rules for operators that only move elements: the movement is carried out on the labels.

Reshape needs a word: both shapes are split into the smallest blocks of equal size. Only the block that holds the channel
axis matters: labels are spread over it and reshaped. So Flatten of (N, C, H, W) gives C · H · W positions in which each
label stands H · W times, and the layer behind it is cut at all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op, label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.labels import Labels


def identity(state: Analysis, node: ir.Node) -> str | None:
    """Identity."""
    if (labels := _labels(state, node)) is not None:
        state.mark(node.outputs[0], labels)
    return None


def transpose(state: Analysis, node: ir.Node) -> str | None:
    """Transpose: labels are transposed alike."""
    if (labels := _labels(state, node)) is not None:
        order = [int(a) for a in node.attributes.get_ints("perm", [])] or list(reversed(range(labels.rank)))
        state.mark(node.outputs[0], labels.moved(lambda a: a.transpose(order)))
    return None


def concat(state: Analysis, node: ir.Node) -> str | None:
    """Concat.

    1. along the channel axis: labels are concatenated; operands without labels contribute positions that stay.
    2. along another axis: labels are joined, position by position.
    """
    carriers = [labels for v in node.inputs if v is not None and (labels := state.labels.get(v)) is not None]
    if not carriers:
        return None
    rank, axes = carriers[0].rank, {c.axis for c in carriers}
    axis = node.attributes.get_int("axis", 1) % rank
    if len(axes) > 1:
        return "puts together channels that lie on different axes"
    if axes == {axis}:
        return _stack(state, node, axis, rank)
    if len(carriers) < len(node.inputs):
        return "puts its channels beside values that have none that can go"
    for other in carriers[1:]:
        state.join(carriers[0], other, f"{label(node)} ties it to channels that stay")
    numbers = np.stack([c.numbers for c in carriers])
    known = np.where((numbers == numbers[0]).all(axis=0), numbers[0], np.nan)
    ids = np.maximum.reduce([c.vector for c in carriers])
    state.mark(node.outputs[0], Labels.along(carriers[0].axis, rank, ids, known))
    return None


def _stack(state: Analysis, node: ir.Node, axis: int, rank: int) -> str | None:
    ids, known = [], []
    for value in node.inputs:
        labels = None if value is None else state.labels.get(value)
        if labels is not None:
            ids.append(labels.vector)
            known.append(labels.numbers)
            continue
        shape = state.shapes.of(value)
        size = shape[axis] if shape is not None else None
        if not isinstance(size, int):
            return f"puts its channels beside {value.name if value else ''!r}, whose size is unknown"
        ids.append(np.zeros(size, np.int64))
        known.append(np.full(size, np.nan))
    state.mark(node.outputs[0], Labels.along(axis, rank, np.concatenate(ids), np.concatenate(known)))
    return None


def flatten(state: Analysis, node: ir.Node) -> str | None:
    """Flatten, Squeeze, Unsqueeze: reshapes whose target follows from the shape of the input."""
    labels = _labels(state, node)
    if labels is None:
        return None
    moved = _reshaped(labels, state.shapes.of(node.inputs[0]), state.shapes.of(node.outputs[0]))
    if isinstance(moved, str):
        return moved
    state.mark(node.outputs[0], moved)
    return None


def reshape(state: Analysis, node: ir.Node) -> str | None:
    """Reshape. The entry of the target at the channel axis shrinks with it:

    1. -1 stays -1.
    2. 0 (as in the input) stays 0, when it copies the channel axis.
    3. a number becomes the number of channels kept; the whole target must be constant for that.
    """
    labels = _labels(state, node)
    if labels is None:
        return None
    target = _entries(state, node.inputs[1] if len(node.inputs) > 1 else None)
    before, after = state.shapes.of(node.inputs[0]), state.shapes.of(node.outputs[0])
    if target is None or before is None or after is None or node.attributes.get_int("allowzero", 0) != 0:
        return "has a target shape that is computed"
    moved = _reshaped(labels, before, _inferred(before, after, target))
    if isinstance(moved, str):
        return moved
    copies = {a for a, entry in enumerate(target) if entry == 0}
    if labels.axis != moved.axis and copies & {labels.axis, moved.axis}:
        return "copies the size of another axis"
    entry = target[moved.axis]
    if entry is None or (entry > 0 and state.constant(node.inputs[1]) is None):
        return "has a target shape that is computed"
    if entry > 0:
        state.targets[node] = (moved.axis, moved.vector)  # 3
    state.mark(node.outputs[0], moved)
    return None


def shape(state: Analysis, node: ir.Node) -> str | None:
    """Shape: harmless as long as its readers pick other axes than that of the channels (Gather, Slice)."""
    labels = _labels(state, node)
    if labels is None or not labels.ids.any():
        return None
    first = node.attributes.get_int("start", 0)
    last = node.attributes.get_int("end", labels.rank)
    taken = list(range(labels.rank))[first:last]
    if labels.axis not in taken:
        return None
    for user in (use.node for use in node.outputs[0].uses()):
        picked = _picked(state, user, taken)
        if picked is None or labels.axis in picked:
            return f"gives the number of its channels to {label(user)}"
    return "is an output" if node.outputs[0].is_graph_output() else None


def _entries(state: Analysis, value: ir.Value | None) -> list[int | None] | None:
    """The target of a Reshape, None for entries that are computed (in a Concat of parts); None when nothing is known."""
    content = state.constant(value)
    if content is not None:
        return [int(e) for e in content.reshape(-1)]
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "Concat"):
        size = state.shapes.static(value)
        return [None] * size[0] if size is not None and len(size) == 1 else None
    parts = [_entries(state, v) for v in node.inputs]
    return None if any(p is None for p in parts) else [e for p in parts if p is not None for e in p]


def _picked(state: Analysis, user: ir.Node, taken: list[int]) -> list[int] | None:
    """The axes whose size a reader of Shape picks; None when that is not known."""
    operands = [state.constant(v) for v in user.inputs[1:]]
    if any(o is None for o in operands):
        return None
    if is_op(user, "Gather") and len(operands) == 1 and operands[0] is not None:
        return [taken[int(i)] for i in operands[0].reshape(-1)]
    if is_op(user, "Slice") and len(operands) >= 2:
        start, end, *rest = (int(o.reshape(-1)[0]) for o in operands if o is not None)
        return taken[start:end] if rest in ([], [0], [0, 1]) else None
    return None


def _labels(state: Analysis, node: ir.Node) -> Labels | None:
    value = node.inputs[0]
    return None if value is None else state.labels.get(value)


def _inferred(before: Sequence[Dim], after: Sequence[Dim], target: Sequence[int | None]) -> tuple[Dim, ...]:
    """The shape after a Reshape, with the axis of -1 worked out where the axes of unknown size are the same before and after.

    >>> _inferred(("N", 8, 2, 2), ("N", "unk__0"), (None, -1))
    ('N', 32)
    """
    if -1 not in target or len(target) != len(after):
        return tuple(after)
    free = target.index(-1)
    rest = [d for a, d in enumerate(after) if a != free]
    sizes = prod(d for d in rest if isinstance(d, int))
    names = [sorted(str(d) for d in dims if not isinstance(d, int)) for dims in (before, rest)]
    if isinstance(after[free], int) or names[0] != names[1] or None in rest or sizes == 0:
        return tuple(after)
    return (*after[:free], prod(d for d in before if isinstance(d, int)) // sizes, *after[free + 1 :])


def _reshaped(labels: Labels, before: Sequence[Dim] | None, after: Sequence[Dim] | None) -> Labels | str:
    """Labels spread over the block of their axis and reshaped, or why that cannot be done."""
    if before is None or after is None:
        return "has a shape that is unknown"
    block = next((b for b in blocks(before, after) if b[0].start <= labels.axis < b[0].stop), None)
    if block is None:
        return "mixes its channels with an axis of unknown size"
    inner, outer = block
    sizes = [d for d in before[inner] if isinstance(d, int)]
    shape = [1] * outer.start + [d for d in after[outer] if isinstance(d, int)] + [1] * (len(after) - outer.stop)
    spread = [1] * len(sizes)
    spread[labels.axis - inner.start] = labels.ids.size
    if sizes[labels.axis - inner.start] != labels.ids.size:
        return "has a shape that contradicts its channels"

    def move(content: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.broadcast_to(content.reshape(spread), sizes).reshape(shape)

    moved = _compact(labels.moved(move))
    return "splits its channels over several axes" if sum(d > 1 for d in moved.ids.shape) > 1 else moved


def _compact(labels: Labels) -> Labels:
    """The same labels with size 1 wherever they do not change."""
    for axis in range(labels.rank):
        first = Labels(labels.ids.take([0], axis), labels.known.take([0], axis))
        if (labels.ids == first.ids).all() and _same(labels.known, first.known):
            labels = first
    return labels


def _same(left: np.ndarray, right: np.ndarray) -> bool:
    return bool(((left == right) | (np.isnan(left) & np.isnan(right))).all())


def blocks(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[slice, slice]]:
    """Split two shapes of equally many elements into the smallest blocks of equal size, from the right.

    What is left of the first axis of unknown size that has no namesake is not split, and not returned.

    >>> blocks(("N", 64, 2, 2), ("N", 256))
    [(slice(1, 4, None), slice(1, 2, None)), (slice(0, 1, None), slice(0, 1, None))]
    """
    found: list[tuple[slice, slice]] = []
    i, j = len(before), len(after)
    while i or j:
        if i and j and before[i - 1] == after[j - 1] and before[i - 1] is not None:
            found.append((slice(i - 1, i), slice(j - 1, j)))
            i, j = i - 1, j - 1
            continue
        step = _block(before[:i], after[:j])
        if step is None:
            return found
        found.append((slice(step[0], i), slice(step[1], j)))
        i, j = step
    return found


def _block(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int] | None:
    """Where the last block starts in both shapes; None when an axis of unknown size is in the way."""
    i, j, left, right = len(before), len(after), 1, 1
    while True:
        take_left = left < right or (left == right and i > 0)
        if take_left:
            i -= 1
        else:
            j -= 1
        if min(i, j) < 0:
            return None
        size = before[i] if take_left else after[j]
        if not isinstance(size, int) or size == 0:
            return None
        left, right = (left * size, right) if take_left else (left, right * size)
        if left == right:
            return i, j
