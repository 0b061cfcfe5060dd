"""Data made up from the inputs' specification: enough of it to calibrate int8, and to judge it, where there is no real data.

1. Sizes are the first two that the original runs on (see `inputs`), in turn.
2. Floats are standard normal, n. Where a model begins with the arithmetic that normalizes its input, y = a x + b per element (Add,
   Sub, Mul, Div of constants, BatchNormalization by its mean and variance, Scaler of ai.onnx.ml), what is behind it is: x = (n - b) / a,
   so that pixels of 0..255 and features of any unit come out at about their real size.
3. Whole numbers, masks and strings are those of `inputs`.

Real inputs are not like that: they are correlated and skewed, and have outliers. Who uses this says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.walk import is_op
from onnxzip.runtime import Session
from onnxzip.validate.inputs import make_array, make_inputs, range_of

Numbers = npt.NDArray[np.float64]
Affine = tuple[Numbers, Numbers]

MOST, FEWEST = 32, 8
"""Batches: at most, and at least where they are large."""

_ELEMENTS = 2**22
"""Elements of all batches together, about, between those."""


class MadeUp:
    """Batches that are made anew, and the same, at every iteration.

    Args:
        model: the original.
        session: of it.
        seed: parts of one seed have no batch in common.
        part: which of them.

    Raises:
        ModelError: no inputs can be made up that the model runs on.
    """

    def __init__(self, model: ir.Model, session: Session, *, seed: int, part: int) -> None:
        tried = make_inputs(model, session, seed=seed, patience=math.inf)  # the clock must not choose the data
        self._shapes = [{name: np.shape(content) for name, content in batch.items()} for batch in tried]
        self._inputs, self._seed = session.inputs, (seed, part)
        self._limits = {v.name or "": range_of(v) for v in model.graph.inputs}
        self._affine = {v.name or "": normalization(v) for v in model.graph.inputs}
        elements = max(sum(math.prod(s) for s in shapes.values()) for shapes in self._shapes)
        self._count: int = min(MOST, max(FEWEST, _ELEMENTS // max(elements, 1)))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._count):
            rng = np.random.default_rng((*self._seed, number))
            shapes = self._shapes[number % len(self._shapes)]
            made = {s.name: make_array(s, shapes[s.name], self._limits.get(s.name), rng) for s in self._inputs}
            yield {name: _before(content, self._affine.get(name)) for name, content in made.items()}


def _before(content: np.ndarray[Any, Any], affine: Affine | None) -> np.ndarray[Any, Any]:
    """What a normalization makes this of; the content as it is where that cannot be said (a factor of 0, another shape)."""
    if affine is None or content.dtype.kind != "f":
        return content
    with np.errstate(all="ignore"):
        found = np.asarray((content - affine[1]) / affine[0]).astype(content.dtype)
    return found if found.shape == content.shape and np.isfinite(found).all() else content


def normalization(value: ir.Value) -> Affine | None:
    """(a, b) of the arithmetic a x + b that an input goes through first, float64 that broadcasts to its shape; None where there is none."""
    a, b, found = np.ones(()), np.zeros(()), False
    rank = None if value.shape is None else len(value.shape)
    while (step := _step(value, rank)) is not None:
        (factor, offset), value = step
        a, b, found = a * factor, b * factor + offset, True
        if value.producer() is not None and not is_op(value.producer(), "Add", "Sub", "Mul", "Div"):
            break  # standardized: what follows is the network
    return (a, b) if found else None


def _step(value: ir.Value, rank: int | None) -> tuple[Affine, ir.Value] | None:
    """The factor and offset of the one node that reads a value, and what it makes."""
    uses = tuple(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node, position = uses[0]
    affine = None
    if is_op(node, "Add", "Sub", "Mul", "Div"):
        affine = _arithmetic(node, position)
    elif is_op(node, "BatchNormalization") and position == 0 and rank is not None and rank >= 2:
        affine = _standardized(node, rank)
    elif node.op_type == "Scaler" and node.domain == "ai.onnx.ml":
        affine = _scaler(node)
    return None if affine is None else (affine, node.outputs[0])


def _arithmetic(node: ir.Node, position: int) -> Affine | None:
    content = array(node.inputs[1 - position])
    if content is None or content.dtype.kind != "f":
        return None
    other = content.astype(np.float64)
    if is_op(node, "Add"):
        return np.ones(()), other
    if is_op(node, "Mul"):
        return other, np.zeros(())
    if position == 1:
        return None  # c - x and c / x normalize nothing
    if is_op(node, "Sub"):
        return np.ones(()), -other
    return 1 / np.where(other == 0, np.nan, other), np.zeros(())


def _standardized(node: ir.Node, rank: int) -> Affine | None:
    mean, variance = array(node.inputs[3]), array(node.inputs[4])
    if mean is None or variance is None:
        return None
    shape = (-1, *[1] * (rank - 2))
    factor = 1 / np.sqrt(np.maximum(variance.astype(np.float64), 1e-12)).reshape(shape)
    return factor, -mean.astype(np.float64).reshape(shape) * factor


def _scaler(node: ir.Node) -> Affine | None:
    """(x - offset) scale."""
    scale, offset = (
        np.asarray(a.as_floats(), np.float64) if (a := node.attributes.get(n)) is not None else None
        for n in ("scale", "offset")
    )
    if scale is None or offset is None:
        return None
    return scale, -offset * scale
