import numpy as np
import pytest

from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check, width


def test_batch_normalization_with_scale_0_is_its_bias():
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.norm(net.conv("x", 8, 3), 8, zero={0: 0.0, 3: -1.5}))
    result, _ = check(net.model(net.conv(h, 4, 8, pad=1)), 2)
    assert [initializer(result, f"w{i}").shape for i in range(2, 6)] == [(6,)] * 4


def test_constant_channels_through_relu_into_a_padded_conv():
    """failures.md 13: the beta of a dead channel is positive, and the next Conv pads. One channel stays for all of them."""
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.norm(net.conv("x", 8, 3), 8, zero={0: 0.5, 3: -1.5, 4: 2.0, 6: 0.25}))
    result, record = check(net.model(net.conv(h, 4, 8, pad=1)), 3)
    assert width(result, "conv0") == 5
    assert record.notes == (
        "Conv 'conv3' pads with zeros, so that a constant does not fit its bias: 1 constant channel kept",
    )


def test_constant_channels_through_relu_into_an_unpadded_conv():
    """failures.md 13: without padding the bias takes them all; dropping them would be off."""
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.norm(net.conv("x", 8, 3), 8, zero={0: 0.5, 3: -1.5, 4: 2.0}))
    check(net.model(net.conv(h, 4, 8, 1)), 3)


def test_batch_normalization_of_a_constant():
    net = Net("N", 3, 6, 6)
    h = net.norm(net.conv("x", 8, 3, zero=(2,), constant={5: 1.0}), 8)
    check(net.model(net.conv(h, 4, 8)), 2)


def test_batch_normalization_in_training_mode_is_refused():
    net = Net(2, 3, 6, 6)
    terms = [net.weight(np.abs(net.random(4))) for _ in range(4)]
    h = net.op("BatchNormalization", net.conv("x", 4, 3, zero=(0,)), *terms, training_mode=1, outputs=3)[0]
    _, record = check(net.model(net.conv(h, 2, 4)), 0)
    assert record.notes == ("BatchNormalization 'batchnormalization1' is in training mode: 1 constant channel kept",)


@pytest.mark.parametrize(
    ("kind", "attributes", "constants"),
    [
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4}, 1),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4}, 1),
        ("AveragePool", {"kernel_shape": [2, 2], "count_include_pad": 1}, 1),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, 0),
        ("AveragePool", {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "count_include_pad": 1}, 0),
        ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": 1}, 0),
        ("GlobalAveragePool", {}, 1),
        ("GlobalMaxPool", {}, 1),
        ("ReduceMean", {"axes": [2, 3]}, 1),
        ("ReduceMax", {"axes": [-1]}, 1),
        ("ReduceMin", {"axes": [3]}, 1),
        ("ReduceSum", {"axes": [2, 3]}, 0),
    ],
)
def test_pooling_keeps_zeros_and_most_constants(kind, attributes, constants):
    net = Net("N", 3, 7, 7)
    h = net.conv("x", 8, 3, zero=(1,), constant={4: -1.5})
    axes = attributes.pop("axes", None)
    h = net.op(kind, h, net.weight(axes), **attributes) if axes else net.op(kind, h, **attributes)
    attributes |= {"axes": axes} if axes else {}
    check(net.model(net.conv(h, 4, 8, 1)), 1 + constants)


def test_reduction_that_drops_its_axes():
    net = Net("N", 3, 6, 6)
    h = net.op("ReduceMean", net.conv("x", 8, 3, zero=(1, 2)), net.weight([2, 3]), keepdims=0)
    check(net.model(net.gemm(h, 4, 8), ranks=(2,)), 2)


def test_reduction_over_the_channels_is_refused():
    net = Net("N", 3, 6, 6)
    h = net.op("ReduceMean", net.conv("x", 8, 3, zero=(1, 2)), net.weight([1]))
    _, record = check(net.model(h), 0)
    assert record.notes == ("ReduceMean 'reducemean1' reduces over its channels: 2 constant channels kept",)


def test_pooling_of_channels_that_lie_elsewhere_is_refused():
    net = Net("N", 3, 6, 6)
    h = net.op("Transpose", net.conv("x", 8, 3, zero=(1, 2)), perm=[0, 2, 1, 3])
    _, record = check(net.model(net.op("MaxPool", h, kernel_shape=[2, 2])), 0)
    assert "works on axis 1, but its channels lie elsewhere" in record.notes[0]
