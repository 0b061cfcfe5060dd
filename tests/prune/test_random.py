"""Random channel graphs: elimination is exact, and removes exactly what the test knows to be removable."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnxzip.prune import eliminate
from tests.prune.nets import Net, check


@dataclass
class Stream:
    """A value of the random graph, and for each channel what makes it: the layer and its index."""

    name: str
    owners: list[tuple[int, int]]


@dataclass
class Maker:
    """Builds a graph of Convs, residual Adds, Concats, pools and activations, and keeps count of what must go.

    A layer zeroes some filters. A class (a channel of a layer and all that it was added to) goes when every layer in it is zero there.
    """

    net: Net
    zeroed: dict[int, set[int]] = field(default_factory=dict)
    widths: dict[int, int] = field(default_factory=dict)
    tied: list[tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=list)
    parts: list[list[tuple[int, int]]] = field(default_factory=list)

    def conv(self, stream: str, wide: int, count: int, *, pad: bool, norm: bool, dead: set[int]) -> Stream:
        layer = len(self.widths)
        self.widths[layer], self.zeroed[layer] = count, dead
        kernel = 3 if pad else 1
        if norm:
            name = self.net.conv(stream, count, wide, kernel, pad=int(pad), bias=False)
            name = self.net.norm(name, count, zero=dict.fromkeys(dead, 0.0))
        else:
            name = self.net.conv(stream, count, wide, kernel, pad=int(pad), zero=tuple(dead))
        return Stream(name, [(layer, c) for c in range(count)])

    def removable(self) -> int:
        parent = {(layer, c): (layer, c) for layer, width in self.widths.items() for c in range(width)}

        def find(a: tuple[int, int]) -> tuple[int, int]:
            while parent[a] != a:
                a = parent[a]
            return a

        for a, b in self.tied:
            parent[find(a)] = find(b)
        members: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for a in parent:
            members.setdefault(find(a), []).append(a)
        gone = {a for m in members.values() if all(c in self.zeroed[layer] for layer, c in m) for a in m}
        assume(all(set(part) - gone for part in self.parts))  # of a value that is dead as a whole one channel stays
        return len(gone)


def dead_channels(draw: st.DrawFn, count: int) -> set[int]:
    """At most half of the channels, so that some stay everywhere."""
    return set(draw(st.lists(st.integers(0, count - 1), max_size=count // 2, unique=True)))


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Net, str, int]:
    maker = Maker(Net("N", 3, 8, 8, seed=draw(st.integers(0, 99))))

    def conv(stream: Stream | None, count: int) -> Stream:
        value, wide = ("x", 3) if stream is None else (stream.name, len(stream.owners))
        pad, norm = draw(st.booleans()), draw(st.booleans())
        return maker.conv(value, wide, count, pad=pad, norm=norm, dead=dead_channels(draw, count))

    stream = conv(None, draw(st.integers(4, 8)))
    for _ in range(draw(st.integers(1, 5))):
        step = draw(
            st.sampled_from(
                ["conv", "act", "residual", "concat", "pool", "depthwise", "split", "gather", "slice", "dense"]
            )
        )
        width = len(stream.owners)
        if step == "conv":
            stream = conv(stream, draw(st.integers(4, 8)))
        elif step == "act":
            kind = draw(st.sampled_from(["Relu", "LeakyRelu", "Tanh", "Erf", "HardSwish"]))
            stream = Stream(maker.net.op(kind, stream.name), stream.owners)
        elif step == "residual":
            other = conv(stream, width)
            maker.tied += list(zip(stream.owners, other.owners, strict=True))
            stream = Stream(maker.net.op("Add", stream.name, other.name), stream.owners)
        elif step == "concat":
            other = conv(stream, 4)
            stream = Stream(maker.net.op("Concat", stream.name, other.name, axis=1), stream.owners + other.owners)
        elif step == "pool":
            kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
            stream = Stream(maker.net.op(kind, stream.name, kernel_shape=[3, 3], pads=[1] * 4), stream.owners)
        elif step == "split":  # in another order
            cut = draw(st.integers(2, width - 2))
            a, b = maker.net.op("Split", stream.name, maker.net.weight([cut, width - cut]), axis=1, outputs=2)
            maker.parts += [stream.owners[:cut], stream.owners[cut:]]
            stream = Stream(maker.net.op("Concat", b, a, axis=1), stream.owners[cut:] + stream.owners[:cut])
        elif step == "gather":
            order = draw(st.permutations(range(width)))
            name = maker.net.op("Gather", stream.name, maker.net.weight(list(order)), axis=1)
            stream = Stream(name, [stream.owners[i] for i in order])
        elif step == "slice":  # backwards
            bounds = [maker.net.weight([n]) for n in (width, -width - 1, 1, -1)]
            stream = Stream(maker.net.op("Slice", stream.name, *bounds), stream.owners[::-1])
        elif step == "dense":  # one layer reads the stream beside what others made of it
            other = conv(stream, 4)
            both = Stream(maker.net.op("Concat", stream.name, other.name, axis=1), stream.owners + other.owners)
            after = conv(both, 4)
            name = maker.net.op("Concat", both.name, after.name, axis=1)
            stream = Stream(name, both.owners + after.owners)
        else:
            stream = Stream(maker.net.conv(stream.name, width, 1, pad=1, bias=False, group=width), stream.owners)
    pixels = draw(st.sampled_from([1, 4]))
    pool = maker.net.op("AveragePool", stream.name, kernel_shape=[8 // int(np.sqrt(pixels))] * 2, strides=[4, 4])
    flat = maker.net.op("Flatten", pool)
    return maker.net, maker.net.gemm(flat, 5, len(stream.owners) * pixels), maker.removable()


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_elimination_is_exact_and_complete(case):
    net, output, removable = case
    check(net.model(output, ranks=(2,)), removable)


@st.composite
def constants(draw: st.DrawFn) -> tuple[Net, str]:
    """Chains in which dead channels give any constant, through any activation, into padded and unpadded layers, with dead readers."""
    net = Net("N", 3, 8, 8, seed=draw(st.integers(0, 99)))
    numbers = st.sampled_from([0.0, 0.5, -0.5, 2.0])
    value, wide = "x", 3
    earlier: tuple[str, int] | None = None
    for _ in range(draw(st.integers(2, 4))):
        count = draw(st.sampled_from([4, 8]))
        constant = {c: draw(numbers) for c in sorted(dead_channels(draw, count))}
        unread = tuple(sorted(dead_channels(draw, wide))) if value != "x" else ()
        bias = draw(st.booleans())
        value = net.conv(value, count, wide, 3, pad=1, bias=bias, constant=constant, unread=unread)
        value = net.norm(value, count, zero={c: draw(numbers) for c in sorted(dead_channels(draw, count))})
        if earlier is not None and earlier[1] == count:
            value = net.op(draw(st.sampled_from(["Add", "Mul", "Max", "Sub"])), value, earlier[0])
        value = net.op(draw(st.sampled_from(["Relu", "Sigmoid", "Tanh", "HardSigmoid", "Neg"])), value)
        earlier, wide = (value, count), count
    return net, net.conv(value, 4, wide, draw(st.sampled_from([1, 3])), pad=draw(st.sampled_from([0, 1])))


@settings(max_examples=40, deadline=None)
@given(constants(), st.sampled_from([1, 4]))
def test_constants_of_every_kind_are_exact(case, multiple):
    net, output = case
    model = net.model(output)
    check(model, eliminate(model, multiple=multiple)[1].removed, multiple=multiple, rtol=1e-4)


@st.composite
def shuffles(draw: st.DrawFn) -> tuple[Net, str, int]:
    """Grouped Convs and channel shuffles in which each cell of (group, next group) has `spare` dead channels, anywhere in it."""
    groups, spare, each = draw(st.sampled_from([(2, 1, 2), (2, 1, 3), (3, 1, 2), (2, 2, 3)]))
    count, removed = groups * groups * each, 0
    net = Net("N", 3, 4, 4, seed=draw(st.integers(0, 99)))
    value = net.conv(net.conv("x", 2, 3, 1), count, 2, 1)
    for _ in range(draw(st.integers(1, 3))):
        places = [draw(st.permutations(range(each)))[:spare] for _ in range(groups * groups)]
        zero = tuple(cell * each + p for cell, chosen in enumerate(places) for p in chosen)
        value = net.op("Relu", net.conv(value, count, count // groups, 1, group=groups, zero=zero))
        removed += len(zero)
        rows = net.op("Reshape", value, net.weight([0, groups, count // groups, 4, 4]))
        value = net.op("Reshape", net.op("Transpose", rows, perm=[0, 2, 1, 3, 4]), net.weight([0, count, 4, 4]))
    last = net.conv(value, count, count // groups, 1, group=groups)
    return net, net.conv(last, 2, count, 1), removed


@settings(max_examples=15, deadline=None)
@given(shuffles())
def test_shuffled_groups_are_exact_and_complete(case):
    net, output, removed = case
    check(net.model(output), removed)
