import numpy as np
import pytest

from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check, width


def test_instance_normalization_takes_its_terms_along():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, 1, zero=(1,))
    scale, bias = net.random(8), net.random(8)
    scale[4], bias[4] = 0, 0.5  # gives 0.5 whatever comes in
    h = net.op("InstanceNormalization", h, net.weight(scale, "scale"), net.weight(bias))
    result, _ = check(net.model(net.conv(h, 2, 8)), 2)
    assert initializer(result, "scale").shape == (6,)


def test_instance_normalization_of_other_constants_is_left_alone():
    """x - mean is 0 up to rounding only."""
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, constant={1: 0.3})
    h = net.op("InstanceNormalization", h, net.weight(net.random(4)), net.weight(net.random(4)))
    check(net.model(net.conv(h, 2, 4)), 0)


@pytest.mark.parametrize("opset", [21, 22])
@pytest.mark.parametrize(("groups", "removed"), [(4, 2), (8, 2), (2, 0), (1, 0)])
def test_a_group_of_group_normalization_goes_as_a_whole(opset, groups, removed):
    net = Net("N", 3, 6, 6, opset=opset)
    h = net.conv("x", 8, 3, 1)
    terms = [net.weight(net.random(8)) for _ in range(2)]
    h = net.op("GroupNormalization", h, *terms, num_groups=groups)
    result, _ = check(net.model(net.conv(h, 2, 8, unread=(2, 3))), removed)
    assert width(result, "conv0") == 8 - removed


def test_layer_normalization_over_the_channels_is_refused():
    net = Net("N", 5, 6)
    h = net.op("MatMul", "x", net.weight(net.random(6, 4)))
    h = net.op("LayerNormalization", h, net.weight(net.random(4)), net.weight(net.random(4)))
    y = net.op("MatMul", h, net.weight(np.array([[0, 0], [1, 2], [3, 4], [5, 6]], np.float32)))
    _, record = check(net.model(y, ranks=(3,)), 0)
    assert record.frozen[0] == "LayerNormalization 'layernormalization1' normalizes over its channels: 4 channels kept"


def test_layer_normalization_over_pixels_is_harmless():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, unread=())
    h = net.op("LayerNormalization", h, net.weight(net.random(6)), net.weight(net.random(6)))
    check(net.model(net.conv(h, 2, 4, unread=(2,))), 1)


@pytest.mark.parametrize(
    ("opset", "axis", "removed"), [(18, 1, 0), (18, 2, 1), (18, -1, 1), (11, 1, 0), (11, 2, 1), (11, 0, 0)]
)
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_softmax_along_the_channels_is_refused_and_along_others_harmless(kind, opset, axis, removed):
    net = Net("N", 3, 6, 6, opset=opset)
    h = net.op(kind, net.conv("x", 4, 3, 1), axis=axis)
    check(net.model(net.conv(h, 2, 4, unread=(2,))), removed)


def test_softmax_makes_zeros_into_something_else():
    net = Net("N", 3, 6, 6)
    h = net.op("Softmax", net.conv("x", 4, 3, 1, zero=(2,)), axis=-1)
    check(net.model(net.conv(h, 2, 4)), 0)


@pytest.mark.parametrize(("axis", "removed"), [(1, 0), (-1, 1)])
def test_lp_normalization(axis, removed):
    net = Net("N", 3, 6, 6)
    h = net.op("LpNormalization", net.conv("x", 4, 3, 1), axis=axis)
    check(net.model(net.conv(h, 2, 4, unread=(2,))), removed)


def test_normalization_of_terms_that_are_computed_is_refused():
    net = Net("N", 4, 6, 6)
    terms = net.op("ReduceMean", "x", net.weight([0, 2, 3]), keepdims=0)
    h = net.op("InstanceNormalization", net.conv("x", 4, 4, 1, zero=(1,)), terms, terms)
    _, record = check(net.model(net.conv(h, 2, 4)), 0)
    assert record.frozen[0].endswith("has terms that are not constant: 4 channels kept")
