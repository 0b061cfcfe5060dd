import numpy as np
import pytest

from tests.prune.nets import Net, check, width


def shuffle(net: Net, value: str, count: int, groups: int, pixels: int = 6) -> str:
    """Channel shuffle: (g, n) becomes (n, g)."""
    h = net.op("Reshape", value, net.weight([0, groups, count // groups, pixels, pixels]))
    h = net.op("Transpose", h, perm=[0, 2, 1, 3, 4])
    return str(net.op("Reshape", h, net.weight([0, -1, pixels, pixels])))


@pytest.mark.parametrize(
    ("groups", "zero", "removed"),
    [
        (2, (0, 1, 4), 2),  # one in each group, the other stays
        (2, (0, 1, 6, 7), 4),
        (2, (0, 1, 2), 0),  # all in one group
        (4, (0, 2, 5, 7), 4),  # other places in each group
        (4, (0, 2, 5), 0),
    ],
)
def test_grouped_conv_loses_equally_many_channels_in_each_group(groups, zero, removed):
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.conv("x", 8, 3, 1, zero=zero))
    h = net.conv(h, 8, 8 // groups, 3, pad=1, group=groups)
    result, record = check(net.model(net.conv(h, 2, 8)), removed)
    assert width(result, "conv0") == 8 - removed
    if removed == 2:
        assert "1: Conv 'conv2' wants equally many channels in each of 2 groups" in record.widths[0].stayed


def test_outputs_of_a_grouped_conv_go_alike_too():
    net = Net("N", 3, 6, 6)
    h = net.conv(net.conv("x", 9, 3, 1), 9, 3, group=3, zero=(0, 4, 8, 1))
    result, _ = check(net.model(net.conv(h, 2, 9)), 3)
    assert width(result, "conv1") == 6


def test_a_group_with_one_filter_keeps_it():
    net = Net("N", 3, 6, 6)
    h = net.conv(net.conv("x", 4, 3, 1), 2, 2, group=2, zero=(0,))
    _, record = check(net.model(net.conv(h, 2, 2)), 0)
    assert "Conv 'conv1' wants one channel in each of 2 groups: 2 channels kept" in record.frozen


def test_grouped_conv_on_channels_that_cannot_go_is_left_alone():
    net = Net("N", 4, 6, 6)
    h = net.op("Add", "x", net.conv("x", 4, 4, 1, zero=(0, 2)))
    check(net.model(net.conv(net.conv(h, 4, 2, group=2), 2, 4)), 0)


@pytest.mark.parametrize(("zero", "removed"), [((0, 5), 4), ((0, 1), 0), ((1, 4), 4)])
def test_residual_around_a_grouped_conv(zero, removed):
    """The stream is tied to both sides of the Conv in 2 groups of 4."""
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=zero)
    inner = net.conv(h, 8, 4, pad=1, group=2, zero=zero)
    result, _ = check(net.model(net.conv(net.op("Add", h, inner), 2, 8)), removed)
    assert width(result, "conv0") == width(result, "conv1") == 8 - removed // 2


def test_concat_in_front_of_a_grouped_conv():
    """The border of the groups lies at the border of the parts: each loses one."""
    net = Net("N", 3, 6, 6)
    a, b = net.conv("x", 4, 3, 1, zero=(0,)), net.conv("x", 4, 3, 1, zero=(2, 3))
    h = net.conv(net.op("Concat", a, b, axis=1), 4, 4, group=2)
    result, _ = check(net.model(net.conv(h, 2, 4)), 2)
    assert width(result, "conv0") == width(result, "conv1") == 3


@pytest.mark.parametrize("groups", [2, 3, 4])
@pytest.mark.parametrize("wide", [2, 1])
def test_shuffle_between_grouped_convs(groups, wide):
    """Where `wide` is 2, cells have 2 channels and lose one each. Else they have one, all of them are zero but the first, and so
    many go that each group on both sides keeps one: those of a permutation."""
    count = groups * groups * wide
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 2, 3, 1)
    h = net.conv(h, count, 2, 1)
    zero = tuple(i * groups * wide + j * wide for i in range(groups) for j in range(groups))  # one of each cell
    zero = zero if wide == 2 else zero[1:]
    h = net.conv(h, count, count // groups, 1, group=groups, zero=zero)
    h = net.conv(shuffle(net, h, count, groups), count, count // groups, 1, group=groups)
    removed = groups * groups if wide == 2 else groups * (groups - 1)
    result, _ = check(net.model(net.conv(h, 2, count)), removed)
    assert width(result, "conv2") == count - removed


def test_shuffle_whose_groups_do_not_divide_its_rows_is_exact():
    """3 channels a group, 2 groups: cells have 1 or 2 channels, and no number of each keeps rows equal."""
    net = Net("N", 3, 6, 6)
    h = net.conv(net.conv("x", 6, 3, 1), 6, 3, 1, group=2, zero=(0, 3))
    h = net.conv(shuffle(net, h, 6, 2), 6, 3, 1, group=2)
    check(net.model(net.conv(h, 2, 6)), 0)


def test_two_blocks_of_shuffle_with_a_residual_around_each():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(0, 1, 4, 5))
    for _ in range(2):
        inner = net.op("Relu", net.conv(h, 8, 4, 1, group=2, zero=(1, 2, 4, 7)))
        inner = net.conv(shuffle(net, inner, 8, 2), 8, 1, 3, pad=1, group=8)
        inner = net.conv(inner, 8, 4, 1, group=2, zero=(0, 1, 4, 5))
        h = net.op("Add", h, inner)
    check(net.model(net.conv(h, 2, 8)), 4 + 2 * (4 + 4))


@pytest.mark.parametrize("form", ["split", "slices"])
def test_halves_that_are_split_worked_on_concatenated_and_shuffled(form):
    """The block of ShuffleNetV2. Channels of the shortcut and of the branch both go, equally many."""
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.conv("x", 8, 3, 1))
    if form == "split":
        left, right = net.op("Split", h, net.weight([4, 4]), axis=1, outputs=2)
    else:
        bounds = [net.weight(b) for b in ([0], [4], [8], [1])]
        left = net.op("Slice", h, bounds[0], bounds[1], bounds[3])
        right = net.op("Slice", h, bounds[1], bounds[2], bounds[3])
    right = net.op("Relu", net.conv(right, 4, 4, 1, zero=(1,)))
    right = net.conv(right, 4, 1, 3, pad=1, group=4)
    right = net.op("Relu", net.conv(right, 4, 4, 1, zero=(3, 2)))
    h = shuffle(net, net.op("Concat", left, right, axis=1), 8, 2)
    check(net.model(net.conv(h, 2, 8)), 1)  # nothing of the shortcut can go, so neither do 2 and 3 of the branch


def test_both_halves_of_a_shuffle_lose_channels():
    net = Net("N", 3, 6, 6)
    left = net.op("Relu", net.conv("x", 4, 3, 1, zero=(0, 3)))
    right = net.op("Relu", net.conv("x", 4, 3, 1, zero=(1, 2, 3)))
    h = shuffle(net, net.op("Concat", left, right, axis=1), 8, 2)
    result, _ = check(net.model(net.conv(h, 2, 8, pad=1)), 4)
    assert width(result, "conv0") == width(result, "conv2") == 2


def test_every_second_channel_of_a_shuffled_value():
    """Shuffle written as two Slices with step 2."""
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.conv("x", 8, 3, 1, zero=(0, 1, 5)))
    even, odd = (
        net.op("Slice", h, net.weight([start]), net.weight([8]), net.weight([1]), net.weight([2])) for start in (0, 1)
    )
    result, _ = check(net.model(net.conv(even, 2, 4), net.conv(odd, 2, 4)), 3)
    assert width(result, "conv0") == 5


def test_bottleneck_with_a_grouped_conv_in_the_middle():
    """ResNeXt: 1x1, 3x3 in 4 groups, 1x1, residual."""
    net = Net("N", 3, 6, 6)
    stem = net.op("Relu", net.conv("x", 8, 3, 1, zero=(0, 3)))
    h = net.op("Relu", net.norm(net.conv(stem, 16, 8, 1, bias=False), 16, zero=dict.fromkeys((0, 5, 10, 15, 14), 0.0)))
    h = net.op(
        "Relu", net.norm(net.conv(h, 16, 4, pad=1, group=4, bias=False), 16, zero=dict.fromkeys((3, 4, 9, 12), 0.0))
    )
    h = net.op("Add", stem, net.conv(h, 8, 16, 1, zero=(0, 3)))
    check(net.model(net.conv(h, 2, 8)), 4 + 4 + 2 + 2)


def test_what_a_gather_picks_out_of_a_shuffled_value_keeps_its_channels():
    """Channels may change places within what the Gather takes, and within the rest, but then the shuffle mixes the order up."""
    net = Net("N", 3, 6, 6)
    source = net.conv("x", 8, 3, 1, zero=(0, 3, 4, 5))
    picked = net.op("Gather", source, net.weight([5, 3, 6, 2]), axis=1)
    h = shuffle(net, source, 8, 2)
    model = net.model(net.conv(h, 2, 8), net.conv(picked, 2, 4))
    check(model, 0)


def test_constants_of_a_shuffled_value_go_to_the_bias():
    net = Net("N", 3, 6, 6)
    h = net.op("Sigmoid", net.conv("x", 8, 3, 1, constant={1: 0.5, 7: -1.0}))
    result, _ = check(net.model(net.conv(shuffle(net, h, 8, 2), 2, 8)), 2)
    assert width(result, "conv0") == 6


@pytest.mark.parametrize(("times", "removed"), [(1, 3), (2, 4)])  # two filters on one channel are twins
def test_a_depthwise_conv_that_is_left_with_one_group_becomes_a_dense_one(times, removed):
    net = Net("N", 3, 6, 6)
    grouped = net.conv(net.conv("x", 4, 3, 1, zero=(0, 3)), 4, 2, group=2)
    depthwise = net.conv(net.conv("x", 2, 3, 1, zero=(0,)), 2 * times, 1, 1, group=2, bias=False)
    check(net.model(net.conv(grouped, 2, 4), net.conv(depthwise, 2, 2 * times)), removed)


def test_a_group_of_repeated_channels_stays():
    """A depthwise Conv makes two of each channel; then the groups of the next Conv hold one class each, and none can vanish."""
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, zero=(0, 1))
    h = net.conv(h, 8, 1, 1, group=4, bias=False)
    check(net.model(net.conv(net.conv(h, 8, 2, 1, group=4), 2, 8)), 0)


def test_numbers_of_grouped_channels_are_kept_in_order():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, zero=(0, 3))
    result, _ = check(net.model(net.conv(net.conv(h, 4, 2, group=2), 2, 4)), 2)
    kept = next(v for n, v in result.graph.initializers.items() if n == "w0").const_value
    assert kept is not None
    np.testing.assert_array_equal(kept.numpy(), net.weights["w0"][[1, 2]])
