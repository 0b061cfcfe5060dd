"""Which element of a source each element of a result is: what a chain of nodes does that only move elements.

Reshape, Transpose, Squeeze, Unsqueeze, Flatten, Slice, Gather by constant indices and Split are run on the numbers 0, 1, 2, ...
in the place of the elements. The array that comes out says it all: if it is what one other operator would give, that operator
may stand for the chain.

Symbolic axes are given sizes, several times over: an operator is named only when it gives the same array under all of them,
and nothing that is cut depends on one. (The sizes of every step follow from constants and from these axes, so that
an operator which fits several prime sizes fits all.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.shapes import Dim
from onnxzip.model.walk import is_op

MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Split", "Identity")

_CUTS = ("Slice", "Gather", "Split")

_SIZES = ((2, 3, 5, 7), (3, 7, 2, 5), (1, 1, 1, 1), (5, 2, 3, 11))
"""What symbolic axes are tried at, each tuple one trial."""

_LARGEST = 2**20
"""Elements of a trial, at most."""

Trials = tuple[np.ndarray, ...]


def sources(shape: Sequence[Dim] | None) -> Trials | None:
    """The numbers 0, 1, 2, ... in this shape, once for each trial; None when it is not known or too large."""
    if shape is None or 0 in shape:
        return None
    symbols = list(
        dict.fromkeys(d if d is not None else index for index, d in enumerate(shape) if not isinstance(d, int))
    )
    if len(symbols) > len(_SIZES[0]):
        return None
    found = []
    for sizes in _SIZES if symbols else _SIZES[:1]:
        named = dict(zip(symbols, sizes, strict=False))
        full = [d if isinstance(d, int) else named[d if d is not None else index] for index, d in enumerate(shape)]
        if math.prod(full) > _LARGEST:
            return None
        found.append(np.arange(math.prod(full), dtype=np.int64).reshape(full))
    return tuple(found)


def moved(value: ir.Value, content: Trials, opset: int) -> Trials | None:
    """What the producer of `value` makes of its input's elements; None when it is not known to only move them."""
    node = value.producer()
    if node is None or not is_op(node, *MOVES) or not node.inputs:
        return None
    if node.op_type in _CUTS and not _cuts_fixed_axes(node, content, opset):
        return None
    results = []
    for trial in content:
        try:
            result = _MOVES[node.op_type](node, trial, opset, value)
        except (ValueError, IndexError, TypeError):  # a size of this trial that the node cannot take
            return None
        if result is None:
            return None
        results.append(result)
    return tuple(results)


def _cuts_fixed_axes(node: ir.Node, content: Trials, opset: int) -> bool:
    """Whether what a Slice, Gather or Split cuts has one size in all trials: another size might be cut elsewhere."""
    if node.op_type != "Slice":
        axes: list[int] | None = [node.attributes.get_int("axis", 0)]
    else:
        axes = _ints(node, "axes", 3, since=10, opset=opset)
        if axes is None:
            starts = _ints(node, "starts", 1, since=10, opset=opset)
            axes = None if starts is None else list(range(len(starts)))
    return axes is not None and all(len({x.shape[a] for x in content if -x.ndim <= a < x.ndim}) == 1 for a in axes)


def _constant(node: ir.Node, index: int) -> np.ndarray | None:
    return array(node.inputs[index]) if index < len(node.inputs) else None


def _ints(node: ir.Node, name: str, index: int, *, since: int, opset: int) -> list[int] | None:
    """Integers that were an attribute before opset `since`, and are an input from then on."""
    if opset < since:
        found = node.attributes.get_ints(name)
        return None if found is None else list(found)
    given = _constant(node, index)
    return None if given is None else [int(i) for i in given.reshape(-1)]


def _identity(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    return x


def _reshape(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    target = _ints(node, "shape", 1, since=5, opset=opset)
    if target is None:
        return None
    if not node.attributes.get_int("allowzero", 0):
        target = [x.shape[i] if size == 0 else size for i, size in enumerate(target)]
    return x.reshape(target)


def _transpose(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    perm = node.attributes.get_ints("perm")
    return x.transpose() if perm is None else x.transpose(list(perm))


def _squeeze(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    axes = _ints(node, "axes", 1, since=13, opset=opset)
    return None if axes is None else np.squeeze(x, tuple(axes))


def _unsqueeze(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    axes = _ints(node, "axes", 1, since=13, opset=opset)
    return None if axes is None else np.expand_dims(x, tuple(axes))


def _flatten(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    axis = node.attributes.get_int("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _slice(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    starts, ends = (_ints(node, name, i, since=10, opset=opset) for i, name in ((1, "starts"), (2, "ends")))
    if starts is None or ends is None:
        return None
    axes = _ints(node, "axes", 3, since=10, opset=opset)
    if axes is None and (opset >= 10 and len(node.inputs) > 3 and node.inputs[3] is not None):
        return None
    steps = _ints(node, "steps", 4, since=10, opset=opset) if opset >= 10 else None
    if steps is None and opset >= 10 and len(node.inputs) > 4 and node.inputs[4] is not None:
        return None
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(axes if axes is not None else range(len(starts))):
        step = steps[i] if steps is not None else 1
        if step < 1:
            return None  # backwards: ends mean something else there
        index[axis] = slice(starts[i], ends[i], step)
    return x[tuple(index)]


def _gather(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    indices = _constant(node, 1)
    return None if indices is None else np.take(x, indices, axis=node.attributes.get_int("axis", 0))


def _split(node: ir.Node, x: np.ndarray, opset: int, value: ir.Value) -> np.ndarray | None:
    axis, sizes = node.attributes.get_int("axis", 0), _ints(node, "split", 1, since=13, opset=opset)
    if sizes is None:
        if opset >= 13 and len(node.inputs) > 1 and node.inputs[1] is not None:
            return None
        if x.shape[axis] % len(node.outputs):
            return None  # the last part would be smaller: which one is, depends on the opset
        sizes = [x.shape[axis] // len(node.outputs)] * len(node.outputs)
    if sum(sizes) != x.shape[axis]:
        return None
    return np.split(x, np.cumsum(sizes)[:-1], axis=axis)[node.outputs.index(value)]


_MOVES = {
    "Identity": _identity,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Flatten": _flatten,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
}
