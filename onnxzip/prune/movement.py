"""Rules for operators that only move elements: the movement is carried out on the labels.

Shapes and sizes that name the channel axis follow from what stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import is_op, label
from onnxzip.prune.analysis import Analysis
from onnxzip.prune.blocks import blocks, inferred, reshaped
from onnxzip.prune.facts import Keep
from onnxzip.prune.labels import Ids, Labels, extents
from onnxzip.prune.twins import apart, stacked

_COMPUTED = "has a target shape that is computed"


def identity(state: Analysis, node: ir.Node) -> str | None:
    """Identity."""
    if (labels := state.of(node.inputs[0])) is not None:
        state.mark(node.outputs[0], labels)
    return None


def transpose(state: Analysis, node: ir.Node) -> str | None:
    """Transpose: labels are transposed alike."""
    if (labels := state.of(node.inputs[0])) is not None:
        order = [int(a) for a in node.attributes.get_ints("perm", [])] or list(reversed(range(labels.rank)))
        state.mark(node.outputs[0], labels.moved(lambda a: a.transpose(order)))
    return None


def concat(state: Analysis, node: ir.Node) -> str | None:
    """Concat.

    1. labels are concatenated where some change along its axis, or along others that the rest have not; what has no labels
       contributes positions that stay.
    2. where all change along the same other axes: labels are joined, position by position.
    """
    given = [state.of(v) for v in node.inputs]
    carriers = [c for c in given if c is not None]
    if not carriers:
        return None
    rank = carriers[0].rank
    axis = node.attributes.get_int("axis", 1) % rank
    other = {a for c in carriers for a in c.axes if a != axis}
    if not any(axis in c.axes for c in carriers):
        if len(carriers) < len(given) or len({c.ids.shape for c in carriers}) > 1:
            return "puts its channels beside values that have none that can go"
        for c in carriers[1:]:
            state.join(carriers[0], c, f"{label(node)} ties it to channels that stay")
        numbers = np.stack([c.known for c in carriers])
        known = np.where((numbers == numbers[0]).all(axis=0), numbers[0], np.nan)
        ids: Ids = np.maximum.reduce([c.ids for c in carriers])
        state.mark(node.outputs[0], Labels(ids, known))
        return None
    if other:
        return "puts together channels that lie on different axes"
    return _stack(state, node, axis, rank)


def _stack(state: Analysis, node: ir.Node, axis: int, rank: int) -> str | None:
    parts: list[Labels] = []
    for value in node.inputs:
        labels = state.of(value)
        if labels is None:
            shape = state.shapes.of(value)
            size = shape[axis] if shape is not None else None
            if not isinstance(size, int):
                return f"puts its channels beside {value.name if value else ''!r}, whose size is unknown"
            labels = Labels.along(axis, rank, np.zeros(size, np.int64))
        parts.append(labels)
    ids, known = (np.concatenate([getattr(p, name) for p in parts], axis) for name in ("ids", "known"))
    state.mark(node.outputs[0], Labels(ids, known, stacked(parts, axis)))
    return None


def flatten(state: Analysis, node: ir.Node) -> str | None:
    """Flatten, Squeeze, Unsqueeze: reshapes whose target follows from the shape of the input."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    if is_op(node, "Squeeze") and len(node.inputs) < 2 and "axes" not in node.attributes:
        return "drops all axes of size 1, which another number of channels may have"
    moved = reshaped(labels, state.shapes.of(node.inputs[0]), state.shapes.of(node.outputs[0]))
    if isinstance(moved, str):
        return moved
    state.mark(node.outputs[0], moved)
    return None


def reshape(state: Analysis, node: ir.Node) -> str | None:
    """Reshape. The entries of the target at the axes of channels shrink with them:

    1. -1 stays -1.
    2. 0 (as in the input) stays 0, when it copies an axis that shrinks alike.
    3. a number becomes the number of channels kept; the whole target must be constant for that.

    Labels that change along several axes must leave a block: of each row equally many stay.
    """
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    target = entries(state, node.inputs[1] if len(node.inputs) > 1 else None)
    before, after = state.shapes.of(node.inputs[0]), state.shapes.of(node.outputs[0])
    if (
        target is None
        or before is None
        or after is None
        or (0 in target and node.attributes.get_int("allowzero", 0) != 0)
    ):
        return _COMPUTED
    after = inferred(before, after, target)
    moved = reshaped(labels, before, after)
    if isinstance(moved, str):
        return moved
    copied = [a for a, entry in enumerate(target) if entry == 0 and (a in labels.axes or a in moved.axes)]
    alone = [i.start for i, o in blocks(before, after) if i == o and i.stop == i.start + 1]
    if not set(copied) <= set(alone):
        return "copies the size of another axis"
    named = [a for a in moved.axes if target[a] not in (0, -1)]
    content = state.constant(node.inputs[1])
    if named and content is None:
        return _COMPUTED
    if named and content is not None:
        state.follow(node, 1, moved.ids, partial(new_sizes, content, named, moved.ids))  # 3
    state.block(moved.ids, f"{label(node)} wants")
    state.mark(node.outputs[0], moved)
    return None


def new_sizes(content: np.ndarray, axes: Sequence[int], ids: Ids, keep: Keep) -> np.ndarray:
    """A shape in which the entries at some axes are the numbers of channels that stay along them."""
    new, sizes = content.copy(), extents(keep(ids))
    for axis in axes:
        new[axis] = sizes[axis]
    return new


def shape(state: Analysis, node: ir.Node) -> str | None:
    """Shape: harmless as long as its readers pick other axes than those of the channels (Gather, Slice)."""
    labels = state.of(node.inputs[0])
    if labels is None or not labels.ids.any():
        return None
    first = node.attributes.get_int("start", 0)
    last = node.attributes.get_int("end", labels.rank)
    taken = list(range(labels.rank))[first:last]
    if not set(labels.axes) & set(taken):
        return None
    for user in (use.node for use in node.outputs[0].uses()):
        picked = _picked(state, user, taken)
        if picked is None or set(labels.axes) & set(picked):
            return f"gives the number of its channels to {label(user)}"
    return "is an output" if node.outputs[0].is_graph_output() else None


def tile(state: Analysis, node: ir.Node) -> str | None:
    """Tile: labels are repeated along the axes that they change on."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    repeats = state.constant(node.inputs[1])
    if repeats is None or repeats.size != labels.rank:
        return "repeats its channels a computed number of times"
    times = [int(r) if a in labels.axes else 1 for a, r in enumerate(repeats.reshape(-1))]
    state.mark(node.outputs[0], labels.moved(lambda a: np.tile(a, times)))
    return None


def expand(state: Analysis, node: ir.Node) -> str | None:
    """Expand: where it names the number of channels, 1 says the same (broadcasting leaves the axis as it is)."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    target, content = entries(state, node.inputs[1]), state.constant(node.inputs[1])
    if target is None:
        return _COMPUTED
    lifted = labels.lifted(max(labels.rank, len(target)))
    named = [a + len(target) - lifted.rank for a in lifted.axes]
    named = [a for a in named if a >= 0 and target[a] != 1]
    if named and content is None:
        return _COMPUTED
    if named and content is not None:
        new = content.copy()
        new[named] = 1
        state.follow(node, 1, lifted.ids, lambda keep: new)
    state.mark(node.outputs[0], lifted)
    return None


def depth_to_space(state: Analysis, node: ir.Node) -> str | None:
    """DepthToSpace: the channels that make one output channel go together (b · b of them; DCR: blocks first, CRD: last)."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    labels = state.only(labels, 1, f"{label(node)} moves channels to other axes")
    area = node.attributes.get_int("blocksize", 1) ** 2
    first = node.attributes.get_string("mode", "DCR") == "DCR"
    if labels.ids.size == 1:
        return None
    split = (area, -1) if first else (-1, area)
    rows = Labels(labels.vector.reshape(split), labels.numbers.reshape(split))
    rows = state.tie(rows, [0 if first else 1], f"{label(node)} makes one channel of all of them")
    if rows.ids.size > 1:
        state.mark(node.outputs[0], Labels.along(1, labels.rank, rows.vector, rows.numbers))
    return None


def space_to_depth(state: Analysis, node: ir.Node) -> str | None:
    """SpaceToDepth: each channel becomes b · b channels, `block · C + c`, that go together."""
    labels = state.of(node.inputs[0])
    if labels is None:
        return None
    labels = state.only(labels, 1, f"{label(node)} moves other axes to the channels")
    area = node.attributes.get_int("blocksize", 1) ** 2
    if labels.ids.size > 1:
        moved = labels.moved(lambda a: np.concatenate([a] * area, axis=1))
        state.mark(node.outputs[0], Labels(moved.ids, moved.known, apart(moved.twins, area)))
    return None


def entries(state: Analysis, value: ir.Value | None) -> list[int | None] | None:
    """A target shape, None for entries that are computed (in a Concat of parts); None when nothing is known."""
    content = state.constant(value)
    if content is not None:
        return [int(e) for e in content.reshape(-1)]
    node = value.producer() if value is not None else None
    if node is None or not is_op(node, "Concat"):
        size = state.shapes.static(value)
        return [None] * size[0] if size is not None and len(size) == 1 else None
    parts = [entries(state, v) for v in node.inputs]
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
