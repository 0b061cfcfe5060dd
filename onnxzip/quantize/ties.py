"""Which channels of a float network can be divided by a positive factor, exactly, and which must take the same one.

Channel j of what a Conv or Gemm makes can be divided by s_j > 0 where only Convs and Gemms read it in the end: row j of the maker's weights and
its bias are divided, column j of the readers' weights multiplied (Nagel et al., ICCV 2019). On the way may lie

 1. Relu, LeakyRelu, MaxPool, AveragePool, GlobalAveragePool, Identity: f(x / s) = f(x) / s.
 2. Concat of channels: each keeps its own factor.
 3. Add of two activations with as many channels: channel j of both takes the same factor, and so does the sum.

Everything else locks the channels that it reads: they keep the factor 1. Clip(0, 6) does, for it would need bounds for each channel. So do outputs
of the model, bodies of If, Loop and Scan, and layers whose weights or bias are read twice, or are not float32 initializers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.arrays import Flags, Ids
from onnxzip.model.constants import constant
from onnxzip.model.walk import is_op
from onnxzip.quantize.matrix import groups_of

HOMOGENEOUS = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity")


@dataclass(frozen=True)
class Layer:
    """A Conv or Gemm with constant weights, their axis of output channels, and the values that it reads and makes."""

    node: ir.Node
    axis: int
    source: ir.Value
    result: ir.Value


class Ties:
    """The channels of a model's main graph.

    Attributes:
        layers: in graph order.
    """

    def __init__(self, model: ir.Model) -> None:
        self.layers: list[Layer] = []
        self._parent: list[int] = []
        self._ids: dict[ir.Value, Ids] = {}
        self._rank: dict[ir.Value, int] = {}
        locked: set[int] = set()
        for node in model.graph:
            for value in self._visit(node):
                locked.update(self._ids.get(value, np.zeros(0, np.int64)).tolist())
        for value, ids in self._ids.items():
            if value.is_graph_output() or any(u.node.graph is not model.graph for u in value.uses()):
                locked.update(ids.tolist())
        self._locked = {self._root(i) for i in locked}

    def of(self, value: ir.Value) -> Ids:
        """The class of every channel of what a layer reads or makes: int64[C]. Channels of one class take the same factor."""
        return np.array([self._root(i) for i in self._ids[value]], np.int64)

    def free(self, value: ir.Value) -> Flags:
        """Which channels of it may take a factor: bool[C]."""
        return np.array([i not in self._locked for i in self.of(value).tolist()], np.bool_)

    def _visit(self, node: ir.Node) -> Iterator[ir.Value]:
        """Take a node into account; gives the values whose channels it locks."""
        values = [v for v in node.inputs if v is not None]
        known = [self._ids[v] for v in values if v in self._ids]
        if (axis := _axis(node)) is not None:
            yield from self._layer(node, axis)
        elif is_op(node, *HOMOGENEOUS) and known:
            self._ids[node.outputs[0]] = known[0]
        elif is_op(node, "Concat") and node.attributes.get_int("axis", 0) == 1 and len(known) == len(values):
            self._ids[node.outputs[0]] = np.concatenate(known)
        elif is_op(node, "Add") and len(known) == 2 and len(known[0]) == len(known[1]) and self._same_rank(values):
            self._join(*known)
            self._ids[node.outputs[0]] = known[0]
        else:
            yield from values
        if node.outputs and node.outputs[0] in self._ids and values[0] in self._rank:
            self._rank[node.outputs[0]] = self._rank[values[0]]

    def _same_rank(self, values: list[ir.Value]) -> bool:
        """Or the second axis of the one would meet another axis of the other."""
        return len({self._rank[v] for v in values}) == 1

    def _layer(self, node: ir.Node, axis: int) -> Iterator[ir.Value]:
        tensor, value, result = constant(node.inputs[1]), node.inputs[0], node.outputs[0]
        assert tensor is not None and value is not None  # noqa: S101, PT018 # for mypy: `_axis` has looked
        shape = tensor.shape.numpy()
        if value not in self._ids:
            self._ids[value] = self._new(shape[1 - axis] * groups_of(node))
            self._rank[value] = len(shape)  # weights have as many axes as what they multiply
            yield value
        self._ids[result] = self._new(shape[axis])
        self.layers.append(Layer(node, axis, value, result))
        own = [v for v in node.inputs[1:] if v is not None]
        if not all(_own(v) for v in own):
            yield from (value, result)
        elif len(own) > 1 and tuple(own[1].shape or ()) != (shape[axis],):
            yield result

    def _new(self, count: int) -> Ids:
        first = len(self._parent)
        self._parent += range(first, first + count)
        return np.arange(first, first + count)

    def _root(self, index: int) -> int:
        while self._parent[index] != index:
            self._parent[index] = index = self._parent[self._parent[index]]
        return index

    def _join(self, one: Ids, other: Ids) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parent[high] = low


def _axis(node: ir.Node) -> int | None:
    """The axis of output channels of the weights of a Conv or plain Gemm; None for other nodes."""
    if not is_op(node, "Conv", "Gemm") or constant(node.inputs[1]) is None or node.inputs[0] is None:
        return None
    flags = node.attributes
    if is_op(node, "Conv"):
        return 0
    if flags.get_float("alpha", 1.0) != 1 or flags.get_float("beta", 1.0) != 1 or flags.get_int("transA", 0) != 0:
        return None
    return 0 if flags.get_int("transB", 0) else 1


def _own(value: ir.Value) -> bool:
    """Whether a constant can be changed without changing anything but its one reader."""
    fixed = not value.is_initializer() or constant(value) is None or value.is_graph_output()
    return not fixed and value.dtype == ir.DataType.FLOAT and len(value.uses()) == 1
