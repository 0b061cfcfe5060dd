"""Networks of the field, narrow and with seeded weights, each with a hand-written list of what is coupled in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tests.prune.blocks import Blocks, Ids, Network, Tensor


def resnet() -> Network:
    """Bottleneck blocks in three stages; projections at the start of each."""
    b = Blocks("N", 3, 16, 16)
    value = b.conv_norm(b.start(3), 16, 3)
    b.couple(value)
    value = b.pool("MaxPool", value, 3, 1, pad=1)
    for stage, middle in enumerate((16, 24, 32)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            first = b.conv_norm(value, middle)
            second = b.conv_norm(first, middle, 3, stride=stride)
            b.couple(first, constants="merge")
            b.couple(second)
            if not block:
                value = b.conv_norm(value, 4 * middle, stride=stride, act="")
                b.couple(value)
            value = b.same("Relu", b.add(b.conv_norm(second, 4 * middle, act="", into=value), value))
    return b.network(b.classify(value))


def densenet() -> Network:
    """Two dense blocks of three layers: BatchNormalization and Relu before each Conv, over all that came before."""
    b = Blocks("N", 3, 16, 16)
    value = b.layer_conv(b.start(3), 16, 3)
    b.couple(value)
    for block in range(2):
        if block:
            value = b.layer_conv(b.same("Relu", b.layer_norm(value)), 32)
            b.couple(value)
            value = b.pool("AveragePool", value, 2, 2)
        for _ in range(3):
            inner = b.conv_norm(b.same("Relu", b.layer_norm(value)), 32)
            b.couple(inner, constants="merge")
            grown = b.layer_conv(inner, 16, 3)
            b.couple(grown)
            value = b.concat(value, grown)
    return b.network(b.classify(b.same("Relu", b.layer_norm(value))))


def inception() -> Network:
    """Two blocks of four branches, and one between them that halves the image and hands its input on through a MaxPool."""
    b = Blocks("N", 3, 16, 16)
    value = b.conv_norm(b.start(3), 16, 3)
    narrow = b.conv_norm(value, 24)
    b.couple(value)
    b.couple(narrow, constants="merge")
    value = b.conv_norm(narrow, 32, 3)
    b.couple(value)
    value = _branches(b, value, "MaxPool")
    left, right = b.conv_norm(value, 16), b.conv_norm(value, 16)
    between = b.conv_norm(right, 24, 3)
    b.couple(left, right, between, constants="merge")
    ends = b.conv_norm(left, 24, 3, stride=2), b.conv_norm(between, 24, 3, stride=2)
    b.couple(*ends)
    value = b.concat(*ends, b.pool("MaxPool", value, 3, 2, pad=1))
    return b.network(b.classify(_branches(b, value, "AveragePool")))


def _branches(b: Blocks, value: Tensor, pool: str) -> Tensor:
    middle = b.conv_norm(value, 16), b.conv_norm(value, 16)
    deeper = b.conv_norm(middle[1], 24, 3)
    b.couple(*middle, deeper, constants="merge")
    pooled = b.pool(pool, value, 3, 1, pad=1)
    ends = b.conv_norm(value, 16), b.conv_norm(middle[0], 24, 3), b.conv_norm(deeper, 24, 3), b.conv_norm(pooled, 16)
    b.couple(*ends)
    return b.concat(*ends)


def shufflenet(groups: int) -> Network:
    """Version 1: grouped 1x1 Convs around a shuffle and a depthwise Conv; Add within a stage, Concat with a pool at its start.

    The stream is one set: stem, then what the first stage appends (as much again), then what the second appends (as much again). Every
    grouped layer cuts it at multiples of 8, so that blocks of 8 are its cells: with equally many from each, all groups stay even.

    The number of groups does not divide the size of a group in the first stage of 3 groups (24 channels, 8 a group) and in the second
    of 4 (40 channels, 10 a group), so that cells of a shuffle differ in size.
    """
    stem, inner = {3: (24, (24, 36)), 4: (32, (32, 40))}[groups]
    b = Blocks("N", 3, 16, 16)
    value = b.conv_norm(b.start(3), stem, 3)
    value, size = b.pool("MaxPool", value, 3, 2, pad=1), 8
    for stage, middle in enumerate(inner):
        for unit in range(2):
            first = not stage and not unit  # the stem is too narrow for groups
            a = b.conv_norm(value, middle, group=1 if first else groups)
            b.couple(a, cells=list(shuffle_cells(a.ids, groups)))
            a = b.shuffle(a, groups, size)
            a = b.layer_norm(b.layer_conv(a, middle, 3, stride=1 if unit else 2, group=middle))
            if unit:
                a = b.conv_norm(a, value.width, group=groups, act="", into=value)
                value = b.same("Relu", b.add(value, a))
                continue
            size //= 2
            a = b.conv_norm(a, value.width, group=groups, act="")
            value = b.same("Relu", b.concat(b.pool("AveragePool", value, 3, 2, pad=1), a))
    b.couple(value, cells=np.split(value.ids, value.width // 8))
    return b.network(b.classify(value))


def shuffle_cells(ids: Ids, groups: int) -> Iterator[Ids]:
    """Channels by the group that makes them and the group that reads them behind the shuffle."""
    size = len(ids) // groups
    place = np.empty(len(ids), np.int64)
    place[np.arange(len(ids)).reshape(groups, -1).T.ravel()] = np.arange(len(ids))
    for maker in range(groups):
        for reader in range(groups):
            yield ids[(np.arange(len(ids)) // size == maker) & (place // size == reader)]


def squeezenet() -> Network:
    """Fire modules: one squeeze, read by a 1x1 and by a 3x3 Conv. No BatchNormalization."""
    b = Blocks("N", 3, 16, 16)
    value = b.conv_relu(b.start(3), 16, 3, pad=False)
    b.couple(value)
    value = b.pool("MaxPool", value, 3, 2)
    for number, (narrow, wide) in enumerate(((16, 24), (16, 24), (24, 32), (24, 32))):
        squeezed = b.conv_relu(value, narrow)
        b.couple(squeezed, constants="merge")
        ends = b.conv_relu(squeezed, wide), b.conv_relu(squeezed, wide, 3)
        b.couple(*ends)
        value = b.concat(*ends)
        if number == 1:
            value = b.pool("MaxPool", value, 3, 2)
    scores = b.layer_conv(value, 10, bias=True, into=Tensor("", np.full(10, -1)))
    return b.network(b.same("GlobalAveragePool", b.same("Relu", scores)), rank=4)


def mobilenet() -> Network:
    """Version 2: inverted residuals, linear where they add."""
    b = Blocks("N", 3, 16, 16)
    limits = b.weight(np.float32(0)), b.weight(np.float32(6))

    def activated(value: Tensor, count: int, kernel: int, **options: int) -> Tensor:
        return b.same("Clip", b.conv_norm(value, count, kernel, act="", **options), *limits)

    value = activated(b.start(3), 16, 3, stride=2)
    b.couple(value)
    value = b.conv_norm(activated(value, 16, 3, group=16), 8, act="")
    b.couple(value)
    for count, blocks, stride in ((16, 2, 1), (24, 3, 2), (32, 2, 1)):
        for block in range(blocks):
            wide = 6 * value.width
            inner = activated(value, wide, 1)
            b.couple(inner)
            inner = activated(inner, wide, 3, stride=1 if block else stride, group=wide)
            if block:
                value = b.add(value, b.conv_norm(inner, count, act="", into=value))
            else:
                value = b.conv_norm(inner, count, act="")
                b.couple(value)
    value = activated(value, 64, 1)
    b.couple(value)
    return b.network(b.classify(value))


def vgg() -> Network:
    """3x3 Convs with biases; Flatten with 16 pixels a channel; three Gemm."""
    b = Blocks("N", 3, 16, 16)
    value = b.start(3)
    for stage, width in enumerate((16, 32, 48)):
        for number in range(2):
            value = b.conv_relu(value, width, 3)
            b.couple(value, constants="fold" if (stage, number) == (2, 1) else "merge")
        if stage < 2:
            value = b.pool("MaxPool", value, 2, 2)
    value = Tensor(b.op("Flatten", value.name), np.repeat(value.ids, 16))
    for _ in range(2):
        value = b.same("Relu", b.dense(value, 64))
        b.couple(value)
    return b.network(b.dense(value, 10, last=True))


def transformer(heads: int = 6, size: int = 8) -> Network:
    """Two blocks: attention in heads, normalization behind each Add, Gelu. LayerNormalization holds the stream: heads and FFN can go.

    Of a head, queries, keys and values go together. Constant values would pass through a Softmax, which is not claimed.
    """
    width, wide = 48, 64
    b = Blocks("N", "S", width, opset=20)
    stream = np.full(width, -1)
    value = Tensor("x", stream)

    def split(made: Tensor, perm: list[int]) -> str:
        apart = b.reshape(made, [0, 0, heads, size], 2, size)
        return str(b.op("Transpose", apart.name, perm=perm))

    def normal(left: Tensor, right: Tensor) -> Tensor:
        terms = b.weight(b.random(width)), b.weight(b.random(width))
        return Tensor(b.op("LayerNormalization", b.op("Add", left.name, right.name), *terms), stream)

    for _ in range(2):
        ids = np.repeat(b.fresh(heads), size)
        query, key, values = (b.linear(value, ids) for _ in range(3))
        b.couple(query, constants="zero")
        scores = b.op("MatMul", split(query, [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
        weights = b.op("Softmax", b.op("Div", scores, b.weight(np.float32(size**0.5))), axis=-1)
        mixed = b.op("Transpose", b.op("MatMul", weights, split(values, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
        value = normal(value, b.linear(b.reshape(Tensor(mixed, ids), [0, 0, heads * size], 2), stream))
        hidden = b.same("Gelu", b.linear(value, b.fresh(wide)))
        b.couple(hidden)
        value = normal(value, b.linear(hidden, stream))
    return b.network(b.linear(value, np.full(10, -1)), rank=3)


ZOO: dict[str, Callable[[], Network]] = {
    "resnet": resnet,
    "densenet": densenet,
    "inception": inception,
    "shufflenet in 3 groups": lambda: shufflenet(3),
    "shufflenet in 4 groups": lambda: shufflenet(4),
    "squeezenet": squeezenet,
    "mobilenet": mobilenet,
    "vgg": vgg,
    "transformer": transformer,
}
