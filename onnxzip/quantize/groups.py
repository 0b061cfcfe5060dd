"""Which quantized values share a scale, and whose statistics give it.

 1. Pass-through operators have the same scale before and after, or they would not run in integers.
 2. So have a Concat and those of its inputs that nobody else reads, where the activations absorbed before them agree: else they
    would be rounded twice.
Statistics come from few values: what passes through, or what a Concat merges, is known from where it came from.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.walk import is_op
from onnxzip.quantize.kernels import Bounds, Kernel
from onnxzip.quantize.qparams import UNBOUNDED, Grid, QParams

PARAMETERS_BEHIND = frozenset({"Resize", "Clip", "Pad"})
"""Operators whose inputs but the first are parameters, which are never quantized."""


def is_parameter(node: ir.Node, index: int) -> bool:
    """Whether this input of a node is a parameter."""
    return index > 0 and is_op(node, *PARAMETERS_BEHIND)


@dataclass(frozen=True)
class Maker:
    """A join or pass-through that could run in integers: its node, its inputs that count, its outputs, and the absorbed bounds."""

    node: ir.Node
    role: str
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Group:
    """Values that share one scale and zero point.

    Attributes:
        values: the values, in graph order.
        sources: the values whose statistics give the range.
        bounds: what the range must lie in.
        grid: dtype and symmetry, where they are not the target's for activations.
        fixed: scale and zero point, where the target asks for these.
        reach: values further than this below the largest (or 0) need not be represented.
    """

    values: tuple[ir.Value, ...]
    sources: tuple[ir.Value, ...]
    bounds: Bounds
    grid: Grid | None = None
    fixed: QParams | None = None
    reach: float = math.inf


def group(
    model: ir.Model, kernels: tuple[Kernel, ...], makers: tuple[Maker, ...]
) -> tuple[tuple[Group, ...], frozenset[ir.Value]]:
    """The quantized values, united where they share a scale; and those of them that an integer operator makes."""
    bounds = {k.end: k.bounds for k in kernels if k.end is not None}
    bounds |= {o: m.bounds for m in makers for o in m.outputs}
    made = frozenset(bounds)
    sites = made | {k.data for k in kernels if k.role != "table"}
    united = United({v: bounds.get(v, UNBOUNDED) for v in sites})
    for maker in makers:
        if maker.role == "pass" or maker.node.op_type == "Concat":
            for value in maker.inputs if maker.role == "pass" else _alone(maker, united):
                united.unite(value, maker.outputs[0])
            for value in maker.outputs[1:]:
                united.unite(value, maker.outputs[0])
    sources = Sources(makers)
    groups = tuple(
        Group(values, sources.of_all(values), united.bounds(values[0]))
        for values in united.groups(in_order(model, sites))
    )
    return groups, made


def _alone(concat: Maker, united: United) -> tuple[ir.Value, ...]:
    """Inputs of a Concat that nobody else reads, when the bounds of all inputs agree: the bounds become those of the output."""
    if len({united.bounds(v) for v in concat.inputs}) > 1:
        return ()
    return tuple(v for v in concat.inputs if len(v.uses()) == 1 and not v.is_graph_output())


def in_order(model: ir.Model, sites: Container[ir.Value]) -> list[ir.Value]:
    """Those values of the main graph and of bodies that are in `sites`, in graph order, outer graphs first."""
    values: list[ir.Value] = []
    for graph in (model.graph, *model.graph.subgraphs()):
        values += [*graph.inputs, *graph.initializers.values()]
        values += [o for node in graph for o in node.outputs]
    return [v for v in dict.fromkeys(values) if v in sites]


class United:
    """Union-find over values; a class has the narrowest bounds of its members."""

    def __init__(self, bounds: Mapping[ir.Value, Bounds]) -> None:
        self._parent = {v: v for v in bounds}
        self._bounds = dict(bounds)

    def unite(self, a: ir.Value, b: ir.Value) -> None:
        """Put the classes of two values together."""
        a, b = self._root(a), self._root(b)
        (low, high), (other_low, other_high) = self._bounds[a], self._bounds[b]
        self._parent[a], self._bounds[b] = b, (max(low, other_low), min(high, other_high))

    def bounds(self, value: ir.Value) -> Bounds:
        """The bounds of the class of a value."""
        return self._bounds[self._root(value)]

    def _root(self, value: ir.Value) -> ir.Value:
        while self._parent[value] is not value:
            value = self._parent[value]
        return value

    def groups(self, ordered: Iterable[ir.Value]) -> list[tuple[ir.Value, ...]]:
        """The classes, each in the given order, by their first member."""
        found: dict[ir.Value, list[ir.Value]] = {}
        for value in ordered:
            found.setdefault(self._root(value), []).append(value)
        return [tuple(members) for members in found.values()]


class Sources:
    """The values whose statistics say everything about another: not what merely passes through, nor what a Concat merges."""

    def __init__(self, makers: Iterable[Maker], absorbed: Mapping[ir.Value, ir.Value] | None = None) -> None:
        """`absorbed`: values that have the scale of what an activation function makes of them, which is what counts."""
        self._through = {
            o: m.inputs for m in makers if m.role == "pass" or m.node.op_type == "Concat" for o in m.outputs
        }
        self._through |= {before: (after,) for before, after in (absorbed or {}).items()}

    def of_all(self, values: Iterable[ir.Value]) -> tuple[ir.Value, ...]:
        """Sources of several values, each once, in order."""
        found: dict[ir.Value, None] = {}
        todo = list(values)[::-1]
        while todo:
            value = todo.pop()
            inputs = self._through.get(value)
            if inputs is None:
                found[value] = None
            else:
                todo.extend(reversed(inputs))
        return tuple(found)
