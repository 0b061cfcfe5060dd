"""Inputs made up without data, that respect the graph.

Floats are standard normal. A whole-number input that ends up as the indices of a Gather stays below the rows of the
smallest table it indexes, one that is spread over a one-hot row below the length of that; one that counts the turns of a Loop is 2 or 3; other whole numbers are 0 or 1, `uint8` (images) takes all its values; masks by name are ones with
zeros at the end. Axes of one name share one size. Everything is seeded.

Dynamic axes take two different sizes. Which sizes a graph accepts is found out by asking the original: the first two of a
short list on which it runs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.constants import array, constant, scalar
from onnxzip.model.walk import is_op
from onnxzip.runtime import Session, TensorSpec

SIZES: tuple[tuple[int, int], ...] = (
    (2, 6), (1, 7), (3, 16), (1, 32), (2, 64), (1, 224), (1, 1), (1, 512), (2, 576), (64, 64), (1, 16000), (16000, 1),
)  # fmt: skip
"""(first dynamic axis of an input, its other dynamic axes) to try: a batch axis comes first, mostly."""

_SLOW = 1.0
"""Seconds of one run after which one batch has to do."""

_LARGE = 2**22
"""Elements of one input above which sizes are not tried."""

_HUGE = 2**28
"""Elements of one input above which nothing is made up at all."""

_FOLLOWED = ("Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Transpose", "Slice", "Concat", "Expand")


def make_inputs(
    model: ir.Model, session: Session, *, seed: int = 0, wanted: int = 2, patience: float = _SLOW
) -> list[dict[str, Any]]:
    """Up to `wanted` batches on which the original runs: different sizes where axes are dynamic, else different seeds.

    After a run of more than `patience` seconds no further one is tried.

    Raises:
        ModelError: an input is no tensor or of a type that cannot be made up, or the original runs on none of the tries.
    """
    ranges = {v.name or "": range_of(v) for v in model.graph.inputs}
    dynamic = any(not isinstance(d, int) for spec in session.inputs for d in spec.shape)
    batches: list[dict[str, Any]] = []
    reason = "no sizes were tried"
    for number, sizes in enumerate(SIZES if dynamic else SIZES[:wanted]):
        if _elements(session.inputs, sizes) > _LARGE:
            continue
        batch = _batch(session.inputs, sizes, ranges, np.random.default_rng(seed + number))
        start = time.perf_counter()
        try:
            session.run(batch)
        except ModelError as error:
            reason = str(error)
            continue
        batches.append(batch)
        if len(batches) == wanted or time.perf_counter() - start > patience:
            break
    if not batches:
        raise ModelError(reason)
    return batches


def _elements(specs: Sequence[TensorSpec], sizes: tuple[int, int]) -> int:
    """Elements of the largest input that has dynamic axes."""
    return max(
        (math.prod(_shape(s, sizes, {})) for s in specs if not all(isinstance(d, int) for d in s.shape)), default=0
    )


def _batch(
    specs: Sequence[TensorSpec],
    sizes: tuple[int, int],
    ranges: Mapping[str, tuple[int, int] | None],
    rng: np.random.Generator,
) -> dict[str, Any]:
    named: dict[str, int] = {}
    return {spec.name: make_array(spec, _shape(spec, sizes, named), ranges.get(spec.name), rng) for spec in specs}


def _shape(spec: TensorSpec, sizes: tuple[int, int], named: dict[str, int]) -> tuple[int, ...]:
    shape, size = [], sizes[0]
    for dim in spec.shape:
        if isinstance(dim, int):
            shape.append(dim)
            continue
        shape.append(named.setdefault(dim, size) if dim else size)
        size = sizes[1]
    return tuple(shape)


def make_array(
    spec: TensorSpec, shape: tuple[int, ...], limits: tuple[int, int] | None, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Values for one input, of this shape; `limits` of whole numbers as `range_of` finds them.

    Raises:
        ModelError: it is too large, or no tensor.
    """
    if math.prod(shape) > _HUGE:
        raise ModelError(f"input {spec.name!r} of shape {list(shape)} is too large to be made up: give data")
    if spec.dtype is None:
        raise ModelError(f"input {spec.name!r} is {spec.type}, for which no data can be made up: give data")
    if spec.dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(spec.dtype)
    if spec.dtype.kind == "O":
        return np.asarray(rng.choice(["a", "b"], shape), dtype=object).reshape(shape)
    if "mask" in spec.name.lower() and len(shape) >= 2:
        return np.asarray(np.arange(shape[-1]) < max(1, shape[-1] - 1), spec.dtype) * np.ones(shape, spec.dtype)
    if spec.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(np.bool_)
    low, high = limits or (0, 256 if spec.dtype == np.uint8 else 2)
    return rng.integers(low, min(high, np.iinfo(spec.dtype).max), shape).astype(spec.dtype)


def range_of(value: ir.Value) -> tuple[int, int] | None:
    """From where to below where a whole-number input makes sense: 2 or 3 turns of a Loop, the rows of the smallest table."""
    if any(is_op(node, "Loop") and position == 0 for node, position in _readers(value)):
        return 2, 4
    rows = list(_tables_behind(value))
    return (0, min(rows)) if rows else None


def _tables_behind(value: ir.Value) -> Iterator[int]:
    """Rows of the constant tables that this input indexes, and lengths of the one-hot rows that it becomes."""
    for node, position in _readers(value):
        table = constant(node.inputs[0]) if node.inputs else None
        if is_op(node, "Gather") and position == 1 and table is not None and table.shape.rank():
            yield int(table.shape.numpy()[node.attributes.get_int("axis", 0)])
        elif is_op(node, "OneHot") and position == 0 and (depth := scalar(node.inputs[1])):
            yield int(depth)
        elif is_op(node, "Equal") and (length := _counted(node.inputs[1 - position])):
            yield length


def _counted(value: ir.Value | None) -> int | None:
    """n, when this constant holds 0, 1, 2, ... n-1, and more than a flag takes."""
    numbers = array(value)
    if numbers is None or numbers.size <= 2 or not np.array_equal(numbers.reshape(-1), np.arange(numbers.size)):
        return None
    return int(numbers.size)


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """Who reads a value and at which position, also through casts and changes of shape."""
    seen, pending = {value}, [value]
    while pending:
        for node, position in tuple(pending.pop().uses()):
            yield node, position
            if is_op(node, *_FOLLOWED):
                pending += [o for o in node.outputs if o not in seen]
                seen.update(node.outputs)
