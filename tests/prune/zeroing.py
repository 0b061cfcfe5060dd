"""Zeroes a third of every coupled set of a network, and knows by plain counting how many channels can go then.

- "weights": weights and bias of the channel are 0 in every layer that makes it; offset and mean of its BatchNormalization too.
- "balanced": the same, with other indices in every cell of a set that has cells (elsewhere every cell loses the same indices).
- "gamma": scale 0 in every BatchNormalization of the channel and an offset of either sign, drawn from `OFFSETS`; weights stay.
  A set without BatchNormalization gets weights of 0 and such a bias. Sets whose constants are "zero" are zeroed as by "weights".

What can go: every zeroed channel, but for one in each "merge" set with a constant that Relu leaves (0.5 is the only one): all of these
are one image up to a factor, border included, so one stands for all, and without it the border would be another.
To stay a multiple of 8, a width keeps the fewest zeroed channels: in sets with cells, equally many in each cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from tests.prune.blocks import Coupled, Ids, Network

OFFSETS = (-0.7, 0.0, 0.5)


@dataclass(frozen=True)
class Zeroed:
    """A network with dead channels.

    Attributes:
        proto: the model.
        dead: the channels that were zeroed.
        gone: those of them that a complete elimination removes, by `multiple`.
        removable: their number over all layers that make channels, by `multiple`.
    """

    proto: onnx.ModelProto
    dead: Ids
    gone: dict[int, Ids]
    removable: dict[int, int]


def zero(network: Network, seed: int, how: str) -> Zeroed:
    """Zero a random third of each coupled set, in one of the ways above."""
    rng, weights = np.random.default_rng(seed), _weights(network.proto)
    every: list[Ids] = []
    gone: dict[int, list[Ids]] = {1: [], 8: []}
    for coupled in network.sets:
        dead = _choose(rng, coupled, aligned=how != "balanced")
        positive = False
        if how == "gamma" and coupled.constants != "zero":
            positive = _make_constant(rng, network, weights, dead)
        else:
            _make_zero(network, weights, dead)
        stays = int(coupled.constants == "merge" and positive)
        for multiple, found in gone.items():
            found.append(_most(network, coupled, dead, stays, multiple))
        every.append(dead)
    parts = {multiple: np.concatenate(found) for multiple, found in gone.items()}
    numbers = {multiple: _positions(network, part) for multiple, part in parts.items()}
    return Zeroed(_replaced(network.proto, weights), np.concatenate(every), parts, numbers)


def strip(network: Network, zeroed: Zeroed, multiple: int = 1) -> onnx.ModelProto:
    """The network with the channels that can go cut out by hand; equal to it where all of them are 0."""
    gone = zeroed.gone[multiple]
    weights, groups = _weights(zeroed.proto), dict[str, int]()

    def kept(ids: Ids) -> Ids:
        before, count = network.shuffles.get(id(ids), (None, 0))
        if before is None:
            return np.flatnonzero(~np.isin(ids, gone))
        place = {int(c): p for p, c in enumerate(ids)}
        return np.array([place[int(c)] for c in before[kept(before)].reshape(count, -1).T.ravel()])

    for layer in network.layers:
        rows = kept(layer.makes)
        if layer.bias:
            weights[layer.bias] = weights[layer.bias][rows]
        held = np.moveaxis(weights[layer.weight], layer.axis, 0)
        if layer.reads is None:
            groups[layer.weight], held = len(rows), held[rows]
        elif layer.groups == 1:
            held = held[rows][:, kept(layer.reads)]
        else:
            wide = held.shape[1]
            columns = kept(layer.reads).reshape(layer.groups, -1)
            makers = rows.reshape(layer.groups, -1)
            assert (columns // wide == np.arange(layer.groups)[:, None]).all()
            assert (makers // (len(held) // layer.groups) == np.arange(layer.groups)[:, None]).all()
            held = np.concatenate([held[r][:, c % wide] for r, c in zip(makers, columns, strict=True)])
        weights[layer.weight] = np.moveaxis(held, 0, layer.axis)
    for norm in network.norms:
        for term in (norm.scale, norm.offset, norm.mean, norm.variance):
            weights[term] = weights[term][kept(norm.ids)]
    for target in network.targets:
        weights[target.name] = weights[target.name].copy()
        weights[target.name][target.index] = len(kept(target.ids)) // target.divisor
    proto = _replaced(zeroed.proto, weights)
    for node in proto.graph.node:
        if node.op_type == "Conv" and node.input[1] in groups:
            next(a for a in node.attribute if a.name == "group").i = groups[node.input[1]]
    return proto


def _choose(rng: np.random.Generator, coupled: Coupled, *, aligned: bool) -> Ids:
    """A third of the smallest cell, of each cell: the same indices, or others."""
    size = min(len(c) for c in coupled.cells)
    count = max(1, size // 3)
    if aligned:
        places = rng.permutation(size)[:count]
        return np.concatenate([c[places] for c in coupled.cells])
    return np.concatenate([rng.permutation(c)[:count] for c in coupled.cells])


def _make_zero(network: Network, weights: dict[str, np.ndarray], dead: Ids) -> None:
    for layer in network.layers:
        where = np.isin(layer.makes, dead)
        np.moveaxis(weights[layer.weight], layer.axis, 0)[where] = 0
        if layer.bias:
            weights[layer.bias][where] = 0
    for norm in network.norms:
        for term in (norm.offset, norm.mean):
            weights[term][np.isin(norm.ids, dead)] = 0


def _make_constant(rng: np.random.Generator, network: Network, weights: dict[str, np.ndarray], dead: Ids) -> bool:
    """Make channels constant. Whether an offset is positive."""
    norms = [n for n in network.norms if np.isin(n.ids, dead).any()]
    layers = [layer for layer in network.layers if not norms and np.isin(layer.makes, dead).any()]
    for norm in norms:
        weights[norm.scale][np.isin(norm.ids, dead)] = 0
    for layer in layers:
        np.moveaxis(weights[layer.weight], layer.axis, 0)[np.isin(layer.makes, dead)] = 0
    positive = False
    for name, ids in (*((n.offset, n.ids) for n in norms), *((layer.bias, layer.makes) for layer in layers)):
        drawn = rng.choice(OFFSETS, int(np.isin(ids, dead).sum()))
        weights[name][np.isin(ids, dead)] = drawn
        positive |= bool((drawn > 0).any())
    return positive


def _most(network: Network, coupled: Coupled, dead: Ids, stays: int, multiple: int) -> Ids:
    """The largest part of the dead channels that can go together: equally many of each cell, widths multiples as they were."""
    cells = [c[np.isin(c, dead)] for c in coupled.cells]
    for count in range(len(cells[0]) - stays, 0, -1):
        gone = np.concatenate([c[:count] for c in cells])
        if all(_fits(layer.makes, gone, multiple) for layer in network.layers):
            return gone
    return np.zeros(0, np.int64)


def _fits(ids: Ids, gone: Ids, multiple: int) -> bool:
    return len(ids) % multiple != 0 or int(np.isin(ids, gone).sum()) % multiple == 0


def _positions(network: Network, gone: Ids) -> int:
    """Rows that go with these channels, over the layers that make channels (a depthwise Conv makes none)."""
    return int(sum(np.isin(layer.makes, gone).sum() for layer in network.layers if layer.reads is not None))


def _weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t).copy() for t in proto.graph.initializer}


def _replaced(proto: onnx.ModelProto, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    result = onnx.ModelProto.FromString(proto.SerializeToString())
    del result.graph.initializer[:]
    result.graph.initializer.extend(numpy_helper.from_array(weights[t.name], t.name) for t in proto.graph.initializer)
    return result
