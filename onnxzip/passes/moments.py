"""Recognizing what a mean is: ReduceMean, or ReduceSum divided by how many there are. Pure analysis."""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxzip.passes.axes import axes_of as named_axes
from onnxzip.passes.axes import leaves_out_axes
from onnxzip.passes.context import Context
from onnxzip.passes.pattern import given_by, near, product

_SINGLE, _DOUBLE = 1e-6, 1e-15
"""How far a constant may be from 1 / n."""


def axes_of(node: ir.Node, context: Context) -> tuple[int, ...] | None:
    """The axes of a reduction, not negative and sorted; None where they are not known."""
    rank, given = context.shapes.rank(node.inputs[0]), named_axes(node, context)
    if rank is None or (given is None and not leaves_out_axes(node, context)):
        return None
    if not given:
        return () if node.attributes.get_int("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({axis % rank for axis in given})) if rank else None


def reduction(value: ir.Value, op_type: str, context: Context) -> tuple[ir.Value, tuple[int, ...]] | None:
    """(x, axes) when this value is that reduction of x."""
    node = given_by(value, op_type)
    source = node.inputs[0] if node is not None else None
    axes = axes_of(node, context) if node is not None and source is not None else None
    return None if source is None or not axes else (source, axes)


def mean(value: ir.Value, context: Context) -> tuple[ir.Value, tuple[int, ...]] | None:
    """(x, axes) when this value is the mean of x over these axes, kept or not."""
    found = reduction(value, "ReduceMean", context)
    if found is not None:
        return found
    factors = product(value)
    if len(factors.over) != 1 or factors.under:
        return None
    found = reduction(factors.over[0], "ReduceSum", context)
    count = None if found is None else elements(found[0], found[1], context)
    tolerance = _DOUBLE if context.shapes.dtype(value) == ir.DataType.DOUBLE else _SINGLE
    return found if count and near(factors.scalar * count, 1.0, tolerance) else None


def elements(value: ir.Value, axes: tuple[int, ...], context: Context) -> int | None:
    """How many numbers a reduction over these axes takes together, where that is known."""
    shape = context.shapes.of(value)
    sizes = [shape[axis] for axis in axes] if shape is not None else [None]
    known = [size for size in sizes if isinstance(size, int)]
    return math.prod(known) if len(known) == len(sizes) else None
