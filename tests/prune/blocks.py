"""Builds networks that know what goes together: each position along each weight is said, by hand, to belong to a channel.

Nothing here asks onnxzip. A layer makes channels of its own, or is told `into=` whose channels it makes (the other side of an
Add, the other heads of an attention); all else follows from where a value goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from tests.prune.nets import Net

Ids = np.ndarray


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value, and the channel that each position along its channel axis belongs to; -1: to none that can go."""

    name: str
    ids: Ids

    @property
    def width(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Layer:
    """Conv, Gemm or MatMul: its weights, the axis of what it makes, and the channels that it makes and reads.

    A depthwise Conv makes no channels: `reads` is None. `bias` is empty where there is none.
    """

    weight: str
    bias: str
    axis: int
    makes: Ids
    reads: Ids | None
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Norm:
    """BatchNormalization: its terms, and the channels along them."""

    scale: str
    offset: str
    mean: str
    variance: str
    ids: Ids


@dataclass(frozen=True, eq=False)
class Target:
    """A Reshape target that holds a width: `target[index] = positions / divisor`."""

    name: str
    index: int
    ids: Ids
    divisor: int


@dataclass(frozen=True, eq=False)
class Coupled:
    """Channels that may be zeroed together.

    Attributes:
        cells: groups of the channels; what goes must go in equal number from each, because of grouped layers. One cell else.
        constants: what becomes of a channel that is constant:
            "fold": every layer that reads it takes it in its bias; none stays.
            "merge": one layer that reads it pads with zeros; of all that are not 0 behind the activation, one stays.
            "zero": nothing is claimed; only zeros are used.
    """

    cells: tuple[Ids, ...]
    constants: str


@dataclass(frozen=True)
class Network:
    """A model, and what its weights belong to."""

    proto: onnx.ModelProto
    layers: tuple[Layer, ...]
    norms: tuple[Norm, ...]
    targets: tuple[Target, ...]
    sets: tuple[Coupled, ...]
    shuffles: dict[int, tuple[Ids, int]] = field(default_factory=dict)


class Blocks(Net):
    """Net with channels. Weights are scaled as He does, so that activations stay as large as they are."""

    def __init__(self, *shape: int | str, seed: int = 0, opset: int = 18) -> None:
        super().__init__(*shape, seed=seed, opset=opset)
        self.layers: list[Layer] = []
        self.norms: list[Norm] = []
        self.targets: list[Target] = []
        self.sets: list[Coupled] = []
        self.shuffles: dict[int, tuple[Ids, int]] = {}
        self.count = 0

    def start(self, width: int) -> Tensor:
        return Tensor("x", np.full(width, -1))

    def fresh(self, count: int) -> Ids:
        self.count += count
        return np.arange(self.count - count, self.count)

    def couple(self, *tensors: Tensor, constants: str = "fold", cells: Sequence[Ids] = ()) -> None:
        """State that the channels of each of these tensors are a set of their own."""
        assert not cells or len(tensors) == 1
        for tensor in tensors:
            self.sets.append(Coupled(tuple(cells) or (np.unique(tensor.ids),), constants))

    def layer_conv(
        self, value: Tensor, count: int, kernel: int = 1, *, stride: int = 1, group: int = 1, bias: bool = False, pad: bool = True,
        into: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        width = value.width // group
        depthwise = group == value.width > 1
        ids = value.ids if depthwise else self.fresh(count) if into is None else into.ids
        weight = self.weight(self.he(width * kernel**2, count, width, kernel, kernel))
        offset = self.weight(self.random(count)) if bias else ""
        self.layers.append(Layer(weight, offset, 0, ids, None if depthwise else value.ids, group))
        pads = [kernel // 2 if pad else 0] * 4
        operands = [value.name, weight, *([offset] if bias else [])]
        return Tensor(self.op("Conv", *operands, pads=pads, strides=[stride] * 2, group=group), ids)

    def layer_norm(self, value: Tensor) -> Tensor:
        width = value.width
        terms = [self.weight(t) for t in (self.random(width), self.random(width), self.random(width))]
        terms.append(self.weight(np.abs(self.random(width))))
        self.norms.append(Norm(*terms, value.ids))
        return Tensor(self.op("BatchNormalization", value.name, *terms), value.ids)

    def conv_norm(self, value: Tensor, count: int, kernel: int = 1, *, act: str = "Relu", **options: Any) -> Tensor:
        """Conv, BatchNormalization and an activation (none when `act` is empty)."""
        made = self.layer_norm(self.layer_conv(value, count, kernel, **options))
        return self.same(act, made) if act else made

    def conv_relu(self, value: Tensor, count: int, kernel: int = 1, **options: Any) -> Tensor:
        return self.same("Relu", self.layer_conv(value, count, kernel, bias=True, **options))

    def dense(self, value: Tensor, count: int, *, last: bool = False) -> Tensor:
        """Gemm with bias. The last one makes the output, whose channels cannot go."""
        ids = np.full(count, -1) if last else self.fresh(count)
        weight, bias = self.weight(self.he(value.width, count, value.width)), self.weight(self.random(count))
        self.layers.append(Layer(weight, bias, 0, ids, value.ids))
        return Tensor(self.op("Gemm", value.name, weight, bias, transB=1), ids)

    def linear(self, value: Tensor, ids: Ids) -> Tensor:
        """MatMul, its bias as Add."""
        count = len(ids)
        weight, bias = self.weight(self.he(value.width, value.width, count)), self.weight(self.random(count))
        self.layers.append(Layer(weight, bias, 1, ids, value.ids))
        return Tensor(self.op("Add", self.op("MatMul", value.name, weight), bias), ids)

    def reshape(self, value: Tensor, target: list[int], index: int, divisor: int = 1) -> Tensor:
        """Reshape whose target holds the width of the value, or a part of it, at `index`."""
        name = self.weight(target)
        self.targets.append(Target(name, index, value.ids, divisor))
        return Tensor(self.op("Reshape", value.name, name), value.ids)

    def shuffle(self, value: Tensor, groups: int, size: int) -> Tensor:
        """Channel shuffle: (groups, n) becomes (n, groups)."""
        apart = self.reshape(value, [0, groups, value.width // groups, size, size], 2, groups)
        turned = self.op("Transpose", apart.name, perm=[0, 2, 1, 3, 4])
        ids = value.ids.reshape(groups, -1).T.ravel()
        self.shuffles[id(ids)] = value.ids, groups
        return self.reshape(Tensor(turned, ids), [0, value.width, size, size], 1)

    def same(self, kind: str, value: Tensor, *more: str, **attributes: Any) -> Tensor:
        """An operator that leaves channels where they are: activation, pool."""
        return Tensor(self.op(kind, value.name, *more, **attributes), value.ids)

    def pool(self, kind: str, value: Tensor, size: int, stride: int, *, pad: int = 0) -> Tensor:
        return self.same(kind, value, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4)

    def add(self, left: Tensor, right: Tensor) -> Tensor:
        assert (left.ids == right.ids).all()  # whoever adds says so with `into`
        return self.same("Add", left, right.name)

    def concat(self, *parts: Tensor) -> Tensor:
        return Tensor(self.op("Concat", *[p.name for p in parts], axis=1), np.concatenate([p.ids for p in parts]))

    def classify(self, value: Tensor, count: int = 10) -> Tensor:
        pooled = self.same("GlobalAveragePool", value)
        return self.dense(self.same("Flatten", pooled), count, last=True)

    def network(self, output: Tensor, rank: int = 2) -> Network:
        proto = self.proto(output.name, ranks=(rank,))
        parts = (tuple(self.layers), tuple(self.norms), tuple(self.targets), tuple(self.sets))
        return Network(proto, *parts, self.shuffles)

    def he(self, reads: int, *shape: int) -> np.ndarray:
        return (self.random(*shape) * np.float32(np.sqrt(2 / reads) / 0.6)).astype(np.float32)
