"""Views: how the axes of one tensor are those of another, when only their order and axes of size 1 differ.

A view is written as one entry for each axis of the new tensor: the axis of the old one that it is, or None for a new
axis of size 1. Axes of the old tensor that it does not name have size 1 too. Transpose, Squeeze, Unsqueeze, and a Reshape
or Flatten that only takes away or adds axes of size 1 are views. Pure analysis, but for `realise`, which makes the nodes.

>>> then((0, 2, 1), (None, 0, 1, 2)), inverse((0, 2, None), 3)
((None, 0, 2, 1), (0, 2, 1))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, new_node
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.size import compact

View = tuple[int | None, ...]
Shape = tuple[Dim, ...]

VIEW_OPS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten")

NEVER = 99
"""Nodes that a view takes which no nodes can make."""

_UNKNOWN = 64
"""What an axis of unknown size counts as where work is compared."""


def then(first: View, second: View) -> View:
    """The view that applies `first`, then `second`."""
    return tuple(None if axis is None else first[axis] for axis in second)


def inverse(view: View, rank: int) -> View:
    """The view back. New axes of size 1 are taken for those of size 1 that `view` had dropped, in order."""
    back: list[int | None] = [view.index(axis) if axis in view else None for axis in range(rank)]
    return _filled(tuple(back), len(view))


def view_of(node: ir.Node, context: Context) -> View | None:
    """How the output of this node views its first input; None for other operators, or when it is not provable."""
    if not is_op(node, *VIEW_OPS) or not node.inputs or node.inputs[0] is None:
        return None
    shape, result = context.shapes.of(node.inputs[0]), context.shapes.of(node.outputs[0])
    if shape is None or result is None:
        return None
    if node.op_type == "Transpose":
        perm = node.attributes.get_ints("perm")
        return tuple(perm) if perm is not None else tuple(reversed(range(len(shape))))
    return _between(shape, result)


def is_identity(view: View, shape: Shape) -> bool:
    """Whether the view gives a tensor of this shape back as it is."""
    return len(view) == len(shape) and all(
        axis == index or (size == 1 and (axis is None or shape[axis] == 1))
        for index, (axis, size) in enumerate(zip(view, shape, strict=True))
    )


def keeps_order(view: View, shape: Shape) -> bool:
    """Whether all elements stay in the order they are in."""
    named = [axis for axis in view if axis is not None and shape[axis] != 1]
    return named == sorted(named)


def is_sound(view: View, shape: Shape | None) -> bool:
    """Whether the view can be taken of a tensor of this shape: every axis that it drops has size 1."""
    return shape is not None and all(axis in view or size == 1 for axis, size in enumerate(shape))


def viewed(view: View, shape: Shape) -> Shape:
    """The shape of the view."""
    return tuple(1 if axis is None else shape[axis] for axis in view)


def array_view(content: np.ndarray, view: View) -> np.ndarray:
    """The view of a constant."""
    order = [axis for axis in view if axis is not None]
    dropped = [axis for axis in range(content.ndim) if axis not in order]
    sizes = [1 if axis is None else content.shape[axis] for axis in view]
    return np.array(content.transpose([*order, *dropped]).reshape(sizes), order="C")  # `ascontiguousarray` adds an axis


def nodes_for(view: View, shape: Shape) -> int:
    """How many nodes it takes to make this view of a tensor of this shape."""
    if is_identity(view, shape):
        return 0
    if keeps_order(view, shape):
        return 1 if _one_node(view, shape) else NEVER
    perm = _filled(view, len(shape))
    if _is_permutation(perm, len(shape)):
        return 1
    return 2 if _one_node(_without_order(view), viewed(_order(view, len(shape)), shape)) else NEVER


def moved_elements(view: View, shape: Shape) -> int:
    """How many elements change their place."""
    if keeps_order(view, shape):
        return 0
    return math.prod(size if isinstance(size, int) else _UNKNOWN for size in shape)


def realise(view: View, source: ir.Value, shape: Shape, graph: ir.Graph, context: Context, hint: str) -> ir.Value:
    """Append the nodes that make this view of `source`, which has this shape; `nodes_for` must have said that they exist."""
    if nodes_for(view, shape) >= NEVER:
        raise ValueError(f"no nodes make the view {view} of {source.name!r}")
    if is_identity(view, shape):
        return source
    if keeps_order(view, shape):
        return _reshaped(view, source, shape, graph, context, hint)
    perm = _filled(view, len(shape))
    if _is_permutation(perm, len(shape)):
        return _transposed(perm, source, graph, context, hint)
    order = _order(view, len(shape))
    middle = _transposed(order, source, graph, context, hint)
    return _reshaped(_without_order(view), middle, viewed(order, shape), graph, context, hint)


def _between(shape: Shape, result: Shape) -> View | None:
    """The view that turns one shape into another, by axes of size 1 alone."""
    kept = [axis for axis, size in enumerate(shape) if size != 1]
    wanted = [axis for axis, size in enumerate(result) if size != 1]
    if len(kept) != len(wanted):
        return None
    pairs = [(shape[k], result[w]) for k, w in zip(kept, wanted, strict=True)]
    different = [(a, b) for a, b in pairs if a is None or a != b]
    same = [a for a, b in pairs if a is not None and a == b]
    if len(different) > 1 or any(isinstance(a, int) and isinstance(b, int) for a, b in different):
        return None
    if different and not all(isinstance(size, int) and size > 0 for size in same):
        return None  # the number of elements settles one unknown axis, if no other is unknown or empty
    view: list[int | None] = [None] * len(result)
    for k, w in zip(kept, wanted, strict=True):
        view[w] = k
    return _filled(tuple(view), len(shape))


def _filled(view: View, rank: int) -> View:
    """The same view with dropped axes of size 1 in the place of new ones, in order, as far as they go."""
    dropped = iter([axis for axis in range(rank) if axis not in view])
    return tuple(next(dropped, None) if axis is None else axis for axis in view)


def _is_permutation(view: View, rank: int) -> bool:
    return len(view) == rank and None not in view


def _order(view: View, rank: int) -> View:
    """The Transpose that brings the axes into the order of the view; dropped ones come last."""
    named = [axis for axis in view if axis is not None]
    return (*named, *(axis for axis in range(rank) if axis not in named))


def _without_order(view: View) -> View:
    """What is left of the view after `_order`."""
    counter = iter(range(len(view)))
    return tuple(None if axis is None else next(counter) for axis in view)


def _one_node(view: View, shape: Shape) -> bool:
    return _axes_of(view, shape) is not None or _target(view, shape) is not None


def _axes_of(view: View, shape: Shape) -> tuple[str, list[int]] | None:
    """The view as one Unsqueeze or one Squeeze."""
    named = [axis for axis in view if axis is not None]
    if named == list(range(len(shape))):
        return "Unsqueeze", [index for index, axis in enumerate(view) if axis is None]
    if None not in view and named == sorted(named):
        return "Squeeze", [axis for axis in range(len(shape)) if axis not in named]
    return None


def _target(view: View, shape: Shape) -> list[int] | None:
    """The view as the target of a Reshape: axes of unknown size stay where they are, but for one at most."""
    target: list[int] = []
    for index, axis in enumerate(view):
        size = 1 if axis is None else shape[axis]
        if isinstance(size, int):
            target.append(size)
        else:
            target.append(0 if axis == index else -1)
    fits = target.count(-1) <= 1 and 0 not in [size for size in shape if isinstance(size, int)]
    return target if fits else None


def _reshaped(view: View, source: ir.Value, shape: Shape, graph: ir.Graph, context: Context, hint: str) -> ir.Value:
    found = _axes_of(view, shape)
    if found is not None and context.opset < 13:
        node = new_node(found[0], [source], context.names.fresh(hint), axes=found[1])
    else:
        numbers = found[1] if found is not None else _target(view, shape) or []
        operand = _numbers(numbers, graph, context)
        node = new_node(found[0] if found is not None else "Reshape", [source, operand], context.names.fresh(hint))
    graph.append(node)
    return node.outputs[0]


def _transposed(perm: View, source: ir.Value, graph: ir.Graph, context: Context, hint: str) -> ir.Value:
    order = [axis for axis in perm if axis is not None]
    node = new_node("Transpose", [source], context.names.fresh(hint), perm=order)
    graph.append(node)
    return node.outputs[0]


def _numbers(numbers: Sequence[int], graph: ir.Graph, context: Context) -> ir.Value:
    return add_constant(graph, compact(np.array(numbers, np.int64)), context.names.fresh("axes"))
