import numpy as np
import onnx
import pytest

from onnxzip.prune.movement import blocks
from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check, width


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("N", 8, 2, 2), ("N", 32), [(1, 4, 1, 2), (0, 1, 0, 1)]),
        (("N", 8, 1, 1), (None, 8), [(3, 4, 2, 2), (2, 3, 2, 2), (1, 2, 1, 2)]),
        (("N", 8), ("N", 8, 1, 1), [(1, 2, 1, 4), (0, 1, 0, 1)]),
        (("N", "S", 8), ("N", "S", 2, 4), [(2, 3, 2, 4), (1, 2, 1, 2), (0, 1, 0, 1)]),
        (("N", "S", 8), (None, 8), [(2, 3, 1, 2)]),
        (("N", 8), (None,), []),
    ],
)
def test_blocks_of_a_reshape(before, after, expected):
    assert [(b[0].start, b[0].stop, b[1].start, b[1].stop) for b in blocks(before, after)] == expected


@pytest.mark.parametrize("form", ["flatten", "0,-1", "-1,number", "reshape_computed"])
def test_flatten_with_four_pixels_a_channel(form):
    net = Net("N", 3, 4, 4)
    h = net.op("Relu", net.conv("x", 8, 3, zero=(1, 6)))  # 2 x 2 pixels
    if form == "flatten":
        h = net.op("Flatten", h)
    elif form == "reshape_computed":
        batch = net.op("Gather", net.op("Shape", h), net.weight(np.int64(0)))
        target = net.op("Concat", net.op("Unsqueeze", batch, net.weight([0])), net.weight([-1]), axis=0)
        h = net.op("Reshape", h, target)
    else:
        h = net.op("Reshape", h, net.weight([0, -1] if form == "0,-1" else [-1, 32], "target"))
    result, _ = check(net.model(net.gemm(h, 5, 32), ranks=(2,)), 2)
    assert width(result, "conv0") == 6
    if form == "-1,number":
        assert initializer(result, "target").tolist() == [-1, 24]


def test_flatten_takes_constants_to_the_gemm_behind_it():
    net = Net("N", 3, 4, 4)
    h = net.op("Flatten", net.op("Sigmoid", net.conv("x", 8, 3, zero=(1,), constant={6: -0.5})))
    check(net.model(net.gemm(h, 5, 32), ranks=(2,)), 2)


def test_a_channel_is_dead_only_when_none_of_its_pixels_is_read():
    net = Net("N", 3, 4, 4)
    h = net.op("Flatten", net.conv("x", 4, 3))
    weights = net.random(5, 16)
    weights[:, 0:4] = 0  # channel 0: no pixel is read
    weights[:, 4:7] = 0  # channel 1: the last one is
    check(net.model(net.op("Gemm", h, net.weight(weights), transB=1), ranks=(2,)), 1)


def test_reshape_whose_target_is_computed_at_the_channels_is_refused():
    net = Net("N", 3, 4, 4)
    h = net.conv("x", 8, 3, zero=(1,))
    count = net.op("Mul", net.op("Gather", net.op("Shape", "x"), net.weight([1])), net.weight([0]))
    target = net.op("Concat", net.weight([0]), net.op("Add", count, net.weight([32])), axis=0)
    _, record = check(net.model(net.gemm(net.op("Reshape", h, target), 5, 32), ranks=(2,)), 0)
    assert len(record.notes) == 1
    assert record.notes[0].startswith("Reshape 'reshape")


def test_one_target_shape_that_serves_two_reshapes_is_not_changed_for_both():
    net = Net("N", 3, 4, 4)
    target = net.weight([-1, 32], "target")
    left = net.op("Reshape", net.conv("x", 8, 3, zero=(1, 2)), target)
    right = net.op("Reshape", net.conv("x", 8, 3), target)
    result, _ = check(net.model(net.gemm(left, 5, 32), net.gemm(right, 5, 32), ranks=(2, 2)), 2)
    assert initializer(result, "target").tolist() == [-1, 32]
    assert initializer(result, "target_1").tolist() == [-1, 24]


def test_channel_shuffle():
    net = Net("N", 3, 4, 4)
    h = net.op("Reshape", net.conv("x", 8, 3, zero=(1,)), net.weight([0, 2, 4, 2, 2]))
    h = net.op("Reshape", net.op("Transpose", h, perm=[0, 2, 1, 3, 4]), net.weight([0, 8, 2, 2]))
    _, record = check(
        net.model(net.conv(h, 2, 8, 1)), 0
    )  # each row of 4 keeps as many, and the other has none that can go
    assert record.widths == ()


def test_transpose_to_channels_last_and_back():
    net = Net("N", 3, 6, 6)
    h = net.op("Transpose", net.conv("x", 8, 3, zero=(1, 6)), perm=[0, 2, 3, 1])
    h = net.op("Mul", net.op("Add", h, net.weight(np.zeros(8, np.float32))), net.weight(net.random(1, 1, 8)))
    h = net.op("Transpose", h, perm=[0, 3, 1, 2])
    check(net.model(net.conv(h, 2, 8)), 2)


def test_squeeze_and_unsqueeze():
    net = Net("N", 3, 6, 6)
    h = net.op("GlobalAveragePool", net.conv("x", 8, 3, zero=(1, 6)))
    h = net.op("Squeeze", h, net.weight([2, 3]))
    h = net.op("Unsqueeze", net.gemm(h, 4, 8), net.weight([2, 3]))
    check(net.model(net.conv(h, 2, 4, 1)), 2)


def test_concat_whose_parts_go_to_several_layers():
    net = Net("N", 3, 6, 6)
    a = net.op("Relu", net.conv("x", 8, 3, pad=1, zero=(0, 3)))
    b = net.op("Relu", net.conv(a, 4, 8, pad=1, zero=(2,)))
    ab = net.op("Concat", a, b, axis=1)
    c = net.op("Relu", net.conv(ab, 4, 12, pad=1, zero=(1,)))
    abc = net.op("Concat", a, b, c, "x", axis=-3)
    result, _ = check(net.model(net.conv(abc, 2, 19, pad=1), net.conv(ab, 2, 12)), 4)
    assert [width(result, f"conv{i}") for i in (0, 2, 5)] == [6, 3, 3]


def test_concat_along_another_axis_ties_its_parts():
    net = Net("N", 3, 6, 6)
    a, b = net.conv("x", 4, 3, zero=(0, 1)), net.conv("x", 4, 3, zero=(1, 2))
    result, _ = check(net.model(net.conv(net.op("Concat", a, b, axis=2), 2, 4)), 2)
    assert width(result, "conv0") == width(result, "conv1") == 3


def test_concat_beside_a_value_of_fixed_channels_is_refused_on_another_axis():
    net = Net("N", 4, 6, 6)
    a = net.conv("x", 4, 4, 1, zero=(0,))
    _, record = check(net.model(net.conv(net.op("Concat", a, "x", axis=2), 2, 4)), 0)
    assert "beside values that have none that can go: 1 constant channel kept" in record.notes[0]


def test_shape_is_harmless_where_the_channels_are_not_counted():
    for index, removed in ((0, 1), (-1, 1), (1, 0)):
        net = Net("N", 3, 6, 6)
        h = net.conv("x", 4, 3, zero=(1,))
        size = net.op(
            "Cast", net.op("Gather", net.op("Shape", h), net.weight(np.int64(index))), to=onnx.TensorProto.FLOAT
        )
        check(net.model(net.op("Mul", net.conv(h, 2, 4), size)), removed)


def test_shape_that_is_sliced_or_starts_late():
    for attributes, bounds, removed in (
        ({}, [2, 4], 1),
        ({"start": 2}, None, 1),
        ({}, [0, 2], 0),
        ({"end": 2}, None, 0),
    ):
        net = Net("N", 3, 6, 6)
        h = net.conv("x", 4, 3, zero=(1,))
        sizes = net.op("Shape", h, **attributes)
        if bounds is not None:
            sizes = net.op("Slice", sizes, net.weight(bounds[:1]), net.weight(bounds[1:]), net.weight([0]))
        factor = net.op("Cast", net.op("ReduceSum", sizes, keepdims=0), to=onnx.TensorProto.FLOAT)
        check(net.model(net.op("Mul", net.conv(h, 2, 4), factor)), removed)
