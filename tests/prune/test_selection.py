import numpy as np
import pytest

from onnxzip.model.walk import is_op
from tests.helpers.graphs import initializer, op_types
from tests.prune.nets import Net, check, width


def sizes(net: Net, *numbers: int) -> str:
    return net.weight(list(numbers))


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("parts", [(3, 5), (4, 4)])
def test_parts_of_a_split_shrink_by_themselves(opset, parts):
    net = Net("N", 3, 6, 6, opset=opset)
    h = net.conv("x", 8, 3, 1, zero=(0, 6, 7))
    if opset < 13:
        a, b = net.op("Split", h, axis=1, outputs=2, split=list(parts))
    else:
        a, b = net.op("Split", h, sizes(net, *parts), axis=1, outputs=2)
    result, _ = check(net.model(net.conv(a, 2, parts[0]), net.conv(b, 2, parts[1])), 3)
    assert width(result, "conv0") == 5


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_equal_parts_without_sizes_get_some_when_they_lose_unequally(opset):
    net = Net("N", 3, 6, 6, opset=opset)
    count = {"num_outputs": 2} if opset >= 18 else {}
    a, b = net.op("Split", net.conv("x", 8, 3, 1, zero=(0, 6, 7)), axis=-3, outputs=2, **count)
    check(net.model(net.conv(a, 2, 4), net.conv(b, 2, 4)), 3)


def test_parts_in_another_order():
    net = Net("N", 3, 6, 6)
    a, b, c = net.op("Split", net.conv("x", 9, 3, 1, zero=(0, 5)), sizes(net, 2, 3, 4), axis=1, outputs=3)
    check(net.model(net.conv(net.op("Concat", c, a, b, axis=1), 2, 9, pad=1)), 2)


def test_a_part_of_one_channel_stays():
    net = Net("N", 3, 6, 6)
    a, b = net.op("Split", net.conv("x", 8, 3, 1, zero=(0, 6)), sizes(net, 1, 7), axis=1, outputs=2)
    _, record = check(net.model(net.conv(a, 2, 1), net.conv(b, 2, 7)), 1)
    assert "'split1_out' has no other channel: 1 channel kept" in record.frozen


def test_a_part_of_dead_channels_keeps_one():
    net = Net("N", 3, 6, 6)
    a, b = net.op("Split", net.conv("x", 8, 3, 1, zero=(0, 1, 2)), sizes(net, 3, 5), axis=1, outputs=2)
    result, _ = check(net.model(net.conv(a, 2, 3), net.conv(b, 2, 5)), 2)
    assert width(result, "conv0") == 6


def test_split_along_another_axis():
    net = Net("N", 3, 6, 6)
    a, b = net.op("Split", net.conv("x", 8, 3, 1, zero=(0, 6)), sizes(net, 2, 4), axis=2, outputs=2)
    check(net.model(net.conv(a, 2, 8, 1), net.conv(b, 2, 8)), 2)


def test_split_with_computed_sizes_is_refused():
    net = Net("N", 3, 6, 6)
    parts = net.op("Slice", net.op("Shape", "x"), sizes(net, 2), sizes(net, 4))
    a, b = net.op("Split", net.conv("x", 12, 3, 1, zero=(0, 6)), parts, axis=1, outputs=2)
    _, record = check(net.model(net.op("Relu", a), net.op("Relu", b)), 0)
    assert record.frozen[0].endswith("has sizes that are computed: 12 channels kept")


@pytest.mark.parametrize("opset", [9, 10, 18])
@pytest.mark.parametrize(
    ("start", "end", "removed"), [(0, 4, 5), (2, 8, 4), (-6, 1000, 4), (-6, -2, 4), (4, 8, 4)], ids=str
)
def test_bounds_of_a_slice_follow(opset, start, end, removed):
    net = Net("N", 3, 6, 6, opset=opset)
    h = net.conv("x", 8, 3, 1, zero=(1, 6, 7) if start != 4 else ())
    if opset < 10:
        h = net.op("Slice", h, starts=[start], ends=[end], axes=[1])
    else:
        h = net.op("Slice", h, sizes(net, start), sizes(net, end), sizes(net, 1))
    taken = len(range(8)[start:end])
    check(net.model(net.conv(h, 2, taken)), removed)  # what is not taken goes too


def test_bounds_that_no_channel_crosses_are_left_as_they_are():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(7,))
    a = net.op("Slice", h, sizes(net, 0), net.weight([4], "end"), sizes(net, 1))
    result, _ = check(net.model(net.conv(a, 2, 4), net.conv(h, 2, 8)), 1)
    assert initializer(result, "end").tolist() == [4]


def test_a_slice_of_several_axes():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(1, 6))
    a = net.op("Slice", h, sizes(net, 1, 2), sizes(net, 5, 8), sizes(net, 3, 1))
    check(net.model(net.conv(a, 2, 6), net.conv(h, 2, 8)), 2)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 8, 2), (1, 8, 3), (7, -9, -1), (-1, 1, -2)])
def test_a_slice_with_steps_becomes_a_gather_where_something_goes(start, end, step):
    for zero in ((1, 6), ()):
        net = Net("N", 3, 6, 6)
        h = net.conv("x", 8, 3, 1, zero=zero)
        a = net.op("Slice", h, *(sizes(net, n) for n in (start, end, 1, step)))
        taken = len(range(*slice(start, end, step).indices(8)))
        result, _ = check(net.model(net.conv(a, 2, taken), net.conv(h, 2, 8)), len(zero))
        assert ("Gather" in op_types(result)) == bool(zero)


def test_a_slice_with_steps_along_another_axis_too_is_refused():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(1, 6))
    h = net.op("Slice", h, sizes(net, 0, 0), sizes(net, 8, 6), sizes(net, 1, 2), sizes(net, 2, 1))
    _, record = check(net.model(net.conv(h, 2, 4)), 0)
    assert record.frozen[0] == "Slice 'slice1' takes its channels with steps: 8 channels kept"


@pytest.mark.parametrize(
    ("indices", "zero", "removed"),
    [
        ([7, 0, 3, 2], (0, 1), 5),
        ([-1, -8, 3, 2], (0, 1), 5),
        ([0, 0, 1, 2, 2, 5], (0, 3), 5),
        ([4, 0, -4, 2], (), 5),  # after 3, 5, 6, 7 have gone, -4 would mean another one
        ([0, 1, 2, 3, 4, 5, 6, 7], (), 0),
    ],
    ids=str,
)
def test_indices_of_a_gather_follow(indices, zero, removed):
    net = Net("N", 3, 6, 6)
    h = net.op("Gather", net.conv("x", 8, 3, 1, zero=zero), net.weight(indices), axis=1)
    check(net.model(net.conv(h, 2, len(indices))), removed)


def test_negative_indices_are_counted_from_what_stays():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 6, 3, 1, unread=(), zero=(5,))
    picked = net.op("Gather", h, net.weight([4, 0, -4, 2], "indices"), axis=1)
    result, _ = check(net.model(net.conv(picked, 2, 4), net.conv(h, 2, 6)), 1)
    assert initializer(result, "indices").tolist() == [4, 0, 2, 2]


def test_a_gather_of_a_matrix_of_indices_wants_equal_rows():
    for zero, removed in (((0, 1), 2), ((0,), 0)):
        net = Net("N", 3, 6, 6)
        h = net.conv("x", 6, 3, 1, zero=zero)
        picked = net.op("Gather", h, net.weight(np.array([[0, 2, 4], [1, 3, 5]])), axis=1)
        a = net.op("Reshape", picked, sizes(net, 0, 6, 6, 6))
        check(net.model(net.conv(a, 2, 6)), removed)


def test_gather_of_one_channel_keeps_it():
    net = Net("N", 3, 6, 6)
    h = net.op("Gather", net.conv("x", 8, 3, 1, zero=(3,)), net.weight(np.int64(3)), axis=1)
    check(net.model(h, ranks=(3,)), 7)


def test_gather_along_another_axis():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(3,))
    h = net.op("Gather", h, net.weight(np.array([[0, 1], [2, 3]])), axis=2)
    check(net.model(net.op("Relu", net.op("Einsum", h, net.weight(net.random(8)), equation="nchwd,c->nhwd"))), 0)
    net = Net("N", 3, 6, 6)
    h = net.op("Gather", net.conv("x", 8, 3, 1, zero=(3,)), net.weight([5, 0]), axis=-1)
    check(net.model(net.conv(h, 2, 8, 1)), 1)


def test_gather_by_computed_indices_is_refused():
    net = Net("N", 3, 6, 6)
    h = net.op("Gather", net.conv("x", 8, 3, 1, zero=(3,)), net.op("Shape", "x"), axis=1)
    _, record = check(net.model(net.op("Relu", h)), 0)
    assert record.frozen[0].endswith("picks channels by computed indices: 8 channels kept")


def test_columns_of_an_embedding_that_are_zero_go():
    net = Net("N", 5)
    table = net.random(3, 8)
    table[:, [1, 4]] = 0
    table[:, 6] = 0.5
    ids = net.op("Cast", net.op("Clip", "x", net.weight(np.float32(0)), net.weight(np.float32(2))), to=7)
    h = net.op("MatMul", net.op("Gather", net.weight(table, "table"), ids), net.weight(net.random(8, 4)))
    y = net.op("Add", h, net.weight(net.random(4)))
    result, _ = check(net.model(y, ranks=(3,)), 3)
    assert initializer(result, "table").shape == (3, 5)


@pytest.mark.parametrize("opset", [9, 11, 18])
def test_padding_makes_channels_of_zeros_that_go_as_well(opset):
    """The shortcut of option A: pad the channels with zeros."""
    net = Net("N", 3, 6, 6, opset=opset)
    h = net.conv("x", 4, 3, 1, zero=(1,))
    counts = [0, 2, 0, 0, 0, 2, 0, 0]
    h = net.op("Pad", h, pads=counts) if opset < 11 else net.op("Pad", h, net.weight(counts))
    check(net.model(net.conv(h, 2, 8)), 1)


def test_option_a_shortcut_beside_a_layer():
    net = Net("N", 3, 6, 6)
    stem = net.conv("x", 4, 3, 1, zero=(1, 2))
    short = net.op("Pad", stem, net.weight([0, 2, 0, 0, 0, 2, 0, 0]))
    main = net.conv(stem, 8, 4, pad=1, zero=(0, 3, 7))  # 0, 7: padding; 3: channel 1 of the stem
    check(net.model(net.conv(net.op("Add", short, main), 2, 8)), 4)


def test_padding_with_another_constant_goes_to_the_bias():
    net = Net("N", 3, 6, 6)
    h = net.op("Pad", net.conv("x", 4, 3, 1), net.weight([0, 1, 0, 0, 0, 1, 0, 0]), net.weight(np.float32(0.5)))
    model = net.model(net.conv(h, 2, 6))
    result, _ = check(model, 0)
    assert op_types(result).count("Pad") == 1


@pytest.mark.parametrize(("mode", "number", "removed"), [("constant", 0.5, 1), ("constant", 0.0, 0), ("edge", None, 1)])
def test_padding_of_pixels_keeps_constants_that_it_pads_with(mode, number, removed):
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, constant={1: 0.5})
    fill = [] if number is None else [net.weight(np.float32(number))]
    h = net.op("Pad", h, net.weight([0, 0, 1, 1, 0, 0, 1, 1]), *fill, mode=mode)
    check(net.model(net.conv(h, 2, 4)), removed)


def test_cropping_or_mirroring_channels_is_refused():
    for counts, mode in (([0, -1, 0, 0, 0, 0, 0, 0], "constant"), ([0, 1, 0, 0, 0, 0, 0, 0], "reflect")):
        net = Net("N", 3, 6, 6)
        h = net.op("Pad", net.conv("x", 4, 3, 1, zero=(1,)), net.weight(counts), mode=mode)
        _, record = check(net.model(net.conv(h, 2, 4 + counts[1])), 0)
        assert record.frozen[0].endswith("pads its channels in a way that is not understood: 4 channels kept")


def test_padding_of_channels_on_two_axes_is_refused():
    net = Net("N", 3, 6, 6)
    h = net.op("Gather", net.conv("x", 6, 3, 1), net.weight(np.array([[2, 0], [2, 5]])), axis=1)
    _, record = check(net.model(net.op("Pad", h, net.weight([0, 2, 0, 0, 0, 0, 1, 0, 0, 0])), ranks=(5,)), 3)
    assert record.frozen[0].endswith("pads its channels in a way that is not understood: 4 channels kept")


@pytest.mark.parametrize("form", ["scales", "sizes", "upsample"])
def test_resize_of_pixels(form):
    net = Net(2, 3, 6, 6, opset=9 if form == "upsample" else 18)
    h = net.conv("x", 8, 3, 1, zero=(1,), constant={4: 0.5})
    if form == "sizes":
        h = net.op("Resize", h, "", "", sizes(net, 2, 8, 12, 12), mode="linear")
    elif form == "scales":
        h = net.op("Resize", h, "", net.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    else:
        h = net.op("Upsample", h, net.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    check(net.model(net.conv(h, 2, 8)), 2, sizes=(2,))


def test_resize_of_channels_is_refused():
    net = Net(2, 3, 6, 6)
    h = net.op("Resize", net.conv("x", 8, 3, 1, zero=(1,)), "", net.weight(np.array([1, 2, 1, 1], np.float32)))
    _, record = check(net.model(net.conv(h, 2, 16)), 0, sizes=(2,))
    assert record.frozen[0].endswith("may resize the axis of its channels: 8 channels kept")


def test_cubic_resize_keeps_zeros_only():
    net = Net(2, 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(1,), constant={4: 0.5})
    h = net.op("Resize", h, "", net.weight(np.array([1, 1, 2, 2], np.float32)), mode="cubic")
    result, _ = check(net.model(net.conv(h, 2, 8)), 1, sizes=(2,))
    assert any(is_op(n, "Resize") for n in result.graph)
