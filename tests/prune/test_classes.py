import numpy as np
import pytest

from onnxzip.prune import eliminate
from tests.prune.nets import Net, check, width


def test_dead_channels_and_all_that_only_feeds_them():
    net = Net("N", 3, 8, 8)
    a = net.op("Relu", net.conv("x", 4, 3, pad=1))  # feeds nothing but dead channels and one live one
    h = net.conv(a, 8, 4, pad=1, unread=(0, 1))
    result, _ = check(net.model(net.conv(h, 4, 8, pad=1, unread=(2, 3, 5))), 5)
    assert (width(result, "conv0"), width(result, "conv2")) == (2, 5)


def test_a_whole_branch_that_nobody_needs_keeps_one_channel_a_layer():
    net = Net("N", 3, 8, 8)
    branch = net.conv(net.conv("x", 4, 3, pad=1), 4, 4, pad=1)
    both = net.op("Concat", net.conv("x", 4, 3, pad=1), branch, axis=1)
    result, record = check(net.model(net.conv(both, 2, 8, unread=(4, 5, 6, 7))), 6)
    assert (width(result, "conv0"), width(result, "conv1"), width(result, "conv2")) == (1, 1, 4)
    assert record.widths[0].stayed == ("1: the last one",)


def test_channels_of_a_residual_stream_that_only_feed_each_other_are_dead():
    net = Net("N", 3, 8, 8)
    stem = net.conv("x", 4, 3)
    inner = net.op("Relu", net.conv(stem, 4, 4, 1))
    outer = net.conv(inner, 4, 4, 1)
    # inner 0 reads all of the stream, but writes only to channel 3, which the end does not read
    column = net.weights["w4"][:, 0]
    column[[0, 1, 2]] = 0
    net.weights["w2"][1:, 3] = 0
    result, _ = check(net.model(net.conv(net.op("Add", stem, outer), 2, 4, unread=(3,))), 3)
    assert [width(result, f"conv{i}") for i in (0, 1, 3)] == [3, 3, 3]


def test_an_input_of_a_constant_channel_is_not_needed():
    net = Net("N", 3, 8, 8)
    h = net.conv(net.conv("x", 4, 3), 4, 4, unread=(0,))
    net.weights["w2"][1, 0] = 1.0  # channel 0 is read by filter 1 only, which the scale of 0 makes constant
    h = net.op("Sigmoid", net.norm(h, 4, zero={1: 0.5}))
    check(net.model(net.conv(h, 2, 4, pad=1)), 1)


@pytest.mark.parametrize(("multiple", "kept"), [(1, 11), (2, 12), (4, 12), (8, 16), (3, 11)])
def test_widths_that_are_multiples_stay_multiples(multiple, kept):
    net = Net("N", 3, 8, 8)
    h = net.op("Relu", net.conv("x", 16, 3, zero=(0, 1, 2, 3, 4)))
    result, record = check(net.model(net.conv(h, 4, 16)), 16 - kept, multiple=multiple)
    assert width(result, "conv0") == kept
    if multiple == 4:
        assert record.widths[0].stayed == ("11: in use", "1: spare, so that the width stays a multiple of 4")


def test_a_concat_of_odd_widths_stays_a_multiple_as_a_whole():
    net = Net("N", 3, 8, 8)
    a, b = net.conv("x", 12, 3, zero=(0, 1, 2)), net.conv("x", 20, 3, zero=(0, 1, 2, 3, 4, 5))
    model = net.model(net.conv(net.op("Concat", a, b, axis=1), 4, 32))
    result, _ = check(model, 8, multiple=8)
    assert width(result, "conv0") + width(result, "conv1") == 24
    result, _ = check(model, 9)
    assert (width(result, "conv0"), width(result, "conv1")) == (9, 14)


def test_a_spare_channel_keeps_what_it_is_made_of():
    """Channel 0 of the second MatMul is the constant W · k; it stays for the width, so that k must stay, for it has no bias to go to."""
    net = Net("N", 6)
    first = net.random(6, 3)
    first[:, 0] = 0
    h = net.op("Add", net.op("MatMul", "x", net.weight(first)), net.weight(np.array([2, 0.5, 0.7], np.float32)))
    second = net.random(3, 4)
    second[1:, 0] = 0
    second[0, 1:] = 0
    h = net.op("MatMul", h, net.weight(second))
    y = net.op("Gemm", h, net.weight(net.random(3, 4)), net.weight(net.random(3)), transB=1)
    check(net.model(y, ranks=(2,)), 2)
    check(net.model(y, ranks=(2,)), 0, multiple=2)


def test_constants_merge_only_with_those_that_the_same_layers_read():
    net = Net("N", 3, 8, 8)
    a = net.conv("x", 6, 3, constant={0: 1.0, 1: -2.0, 2: 0.5, 3: 3.0})
    left = net.conv(a, 2, 6, pad=1, unread=(2, 3))
    right = net.conv(a, 2, 6, pad=1, unread=(0, 1))
    result, _ = check(net.model(left, right), 3)  # every one is constant in both, so one stands in for all
    assert width(result, "conv0") == 3


def test_the_largest_constant_stands_in_for_the_others():
    net = Net("N", 3, 8, 8)
    a = net.conv("x", 4, 3, constant={0: 1e-30, 1: 2.0})
    result, _ = check(net.model(net.conv(a, 2, 4, pad=1)), 1)
    kept = result.graph.initializers["w1"].const_value
    assert kept is not None
    assert kept.numpy()[0] == 2.0


def test_constants_on_both_sides_of_a_residual_add_merge_where_all_readers_agree():
    net = Net("N", 4, 8, 8)
    stem = net.conv("x", 4, 4, pad=1, constant={0: 1.0, 1: -2.0, 2: 0.5})
    branch = net.conv(stem, 4, 4, pad=1, constant={0: 0.5, 1: -1.0})  # channel 2 is live behind the Add
    y = net.conv(net.op("Add", stem, branch), 2, 4, pad=1)
    result, _ = check(net.model(y), 2)
    assert width(result, "conv0") == width(result, "conv1") == 3


def test_constants_into_shared_weights_are_not_merged():
    net = Net("N", 3, 8, 8)
    a = net.conv("x", 4, 3, constant={0: 1.0, 1: -2.0})
    b = net.conv("x", 4, 3, constant={0: 1.0, 1: -2.0})
    weights = net.weight(net.random(2, 4, 3, 3))
    left, right = (net.op("Conv", v, weights, pads=[1] * 4) for v in (a, b))
    _, record = check(net.model(left, right), 0)
    assert len(record.notes) == 2


def test_constants_of_a_grouped_conv_merge_within_their_group():
    net = Net("N", 3, 8, 8)
    a = net.conv("x", 8, 3, constant={0: 1.0, 1: -2.0, 4: 1.0, 5: 2.0})
    check(net.model(net.conv(a, 4, 4, pad=1, group=2)), 2)
    net = Net("N", 3, 8, 8)
    a = net.conv("x", 8, 3, constant={0: 1.0, 4: 1.0})
    check(net.model(net.conv(a, 4, 4, pad=1, group=2)), 0)


def test_a_multiple_below_1_is_refused():
    net = Net("N", 3, 8, 8)
    with pytest.raises(ValueError, match="multiple is 0"):
        eliminate(net.model(net.conv("x", 2, 3)), multiple=0)
