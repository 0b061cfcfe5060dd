import numpy as np
import pytest

from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check, width


def twins(net: Net, value: str, count: int, wide: int, factors: dict[tuple[int, int], float], kernel: int = 1) -> str:
    """A Conv in which filter b is `factor` times filter a, for each (a, b)."""
    weights, bias = net.random(count, wide, kernel, kernel) / np.float32(wide * kernel), net.random(count)
    for (a, b), factor in factors.items():
        weights[b], bias[b] = factor * weights[a], factor * bias[a]
    return str(net.op("Conv", value, net.weight(weights), net.weight(bias), pads=[kernel // 2] * 4))


def head(net: Net, value: str, wide: int, pad: int = 1) -> str:
    return net.conv(value, 2, wide, 3 if pad else 1, pad=pad)


def test_equal_filters_merge_and_the_next_layer_adds_its_weights_up():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 1.0})
    result, _ = check(net.model(head(net, h, 4)), 1)
    old, new = net.weights["w2"], initializer(result, "w2")
    np.testing.assert_allclose(new[:, 0], old[:, 0] + old[:, 2], rtol=1e-6)


def test_filters_that_differ_are_left_alone():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 1.0})
    net.weights["w0"][2, 0] *= np.float32(1 + 1e-4)
    check(net.model(head(net, h, 4)), 0)


def test_filters_with_other_biases_are_left_alone():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 1.0})
    net.weights["w1"][2] += 0.5
    check(net.model(head(net, h, 4)), 0)


@pytest.mark.parametrize(
    ("kind", "attributes", "merges"),
    [
        ("Relu", {}, True),
        ("LeakyRelu", {"alpha": 0.3}, True),
        ("Abs", {}, True),
        ("Neg", {}, True),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4}, True),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": 1}, True),
        ("Sigmoid", {}, False),
        ("Tanh", {}, False),
        ("HardSwish", {}, False),
        ("Elu", {}, False),
    ],
)
def test_a_positive_factor_passes_what_is_homogeneous(kind, attributes, merges):
    net = Net("N", 3, 6, 6)
    h = net.op(kind, twins(net, "x", 4, 3, {(0, 2): 2.0, (1, 3): 1.0}), **attributes)
    check(net.model(head(net, h, 4)), 2 if merges else 1)  # 1 and 3 are equal, which passes everything


def test_a_negative_factor_does_not_merge():
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", twins(net, "x", 4, 3, {(0, 2): -1.0}))
    check(net.model(head(net, h, 4)), 0)


def test_batch_normalization_keeps_what_is_in_proportion():
    net = Net("N", 3, 6, 6)
    h = net.norm(twins(net, "x", 4, 3, {(0, 2): 2.0, (1, 3): 2.0}), 4)
    scale, offset, mean, variance = (net.weights[f"w{i}"] for i in range(2, 6))
    # channel 2 = 3 · channel 0 behind it, channel 3 is not in proportion
    scale[2], variance[2], mean[2], offset[2] = scale[0] * 1.5, variance[0], mean[0] * 2, offset[0] * 3
    offset[2] += 0
    scale[2] *= np.sqrt(variance[2] + 1e-5) / np.sqrt(variance[0] + 1e-5)
    check(net.model(head(net, net.op("Relu", h), 4)), 1)


@pytest.mark.parametrize(("slopes", "removed"), [([0.1, 0.2, 0.1, 0.3], 1), ([0.1, 0.2, 0.3, 0.2], 1), ([0.1], 2)])
def test_prelu_needs_equal_slopes(slopes, removed):
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 2.0, (1, 3): 3.0})
    h = net.op("PRelu", h, net.weight(np.array(slopes, np.float32).reshape(-1, 1, 1)))
    check(net.model(head(net, h, 4)), removed)


def test_constants_in_proportion_keep_twins():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 2.0, (1, 3): 2.0})
    h = net.op("Add", h, net.weight(np.array([1, 1, 2, 1], np.float32).reshape(4, 1, 1)))
    check(net.model(head(net, net.op("Relu", h), 4)), 1)
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 4, 3, {(0, 2): 2.0, (1, 3): 2.0})
    h = net.op("Mul", h, net.weight(np.array([1, 1, -2, 3], np.float32).reshape(4, 1, 1)))
    check(net.model(head(net, net.op("Relu", h), 4)), 1)


def test_residual_add_of_twins_on_both_sides():
    for factors, removed in (({(0, 2): 2.0}, 2), ({(0, 2): 3.0}, 0), ({(1, 2): 2.0}, 0)):
        net = Net("N", 3, 6, 6)
        stem = twins(net, "x", 4, 3, {(0, 2): 2.0})
        h = net.op("Relu", net.op("Add", stem, twins(net, "x", 4, 3, factors)))
        check(net.model(head(net, h, 4)), removed)


def test_product_of_twins_multiplies_factors():
    net = Net("N", 3, 6, 6)
    h = net.op("Mul", twins(net, "x", 4, 3, {(0, 2): 2.0}), twins(net, "x", 4, 3, {(0, 2): 3.0}))
    check(net.model(head(net, net.op("Relu", h), 4)), 2)


def test_maximum_wants_equal_twins():
    for factor, removed in ((1.0, 2), (2.0, 0)):
        net = Net("N", 3, 6, 6)
        h = net.op("Max", twins(net, "x", 4, 3, {(0, 2): factor}), twins(net, "x", 4, 3, {(0, 2): factor}))
        check(net.model(head(net, h, 4)), removed)


def test_twins_of_one_part_of_a_concat():
    net = Net("N", 3, 6, 6)
    a, b = twins(net, "x", 4, 3, {(0, 2): 2.0}), twins(net, "x", 4, 3, {(1, 3): 1.0})
    result, _ = check(net.model(head(net, net.op("Relu", net.op("Concat", a, b, axis=1)), 8)), 2)
    assert width(result, "conv0") == width(result, "conv1") == 3


def test_twins_of_one_filter_in_two_parts_of_a_concat_are_left_alone():
    net = Net("N", 3, 6, 6)
    a = twins(net, "x", 4, 3, {})
    b = net.op("Conv", "x", "w0", "w1")
    check(net.model(head(net, net.op("Concat", a, b, axis=1), 8)), 0)


def test_twins_through_split():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 6, 3, {(0, 2): 2.0, (1, 5): 1.0})
    a, b = net.op("Split", h, net.weight([3, 3]), axis=1, outputs=2)
    check(net.model(head(net, a, 3), head(net, b, 3)), 1)  # 1 and 5 are not read by the same layer


def test_twins_through_flatten_are_twins_pixel_by_pixel():
    net = Net("N", 3, 4, 4)
    h = net.op("Flatten", net.op("Relu", twins(net, "x", 4, 3, {(0, 2): 2.0})))
    check(net.model(net.gemm(h, 5, 64), ranks=(2,)), 1)


def test_twins_through_space_to_depth_are_twins_block_by_block():
    net = Net("N", 3, 6, 6)
    h = net.op("SpaceToDepth", net.op("Relu", twins(net, "x", 4, 3, {(0, 2): 2.0})), blocksize=2)
    check(net.model(head(net, h, 16)), 1)


def test_twins_through_depthwise():
    for factor, removed in ((1.0, 1), (2.0, 1), (-1.0, 0)):
        net = Net("N", 3, 6, 6)
        h = twins(net, "x", 4, 3, {(0, 2): 2.0})
        kernels = net.random(4, 1, 3, 3)
        kernels[2] = factor * kernels[0]
        h = net.op("Relu", net.op("Conv", h, net.weight(kernels), group=4, pads=[1] * 4))
        check(net.model(head(net, h, 4)), removed)


def test_constants_through_padded_depthwise_merge_where_kernels_agree():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 4, 3, 1, constant={0: 1.0, 1: 2.0, 3: 1.0})
    kernels = net.random(4, 1, 3, 3)
    kernels[1] = 2 * kernels[0]
    h = net.op("Conv", h, net.weight(kernels), group=4, pads=[1] * 4)
    check(net.model(head(net, h, 4)), 1)  # 0 and 1; 3 has a kernel of its own


def test_twins_of_a_grouped_conv_merge_within_the_group_that_reads_them():
    net = Net("N", 3, 6, 6)
    h = twins(net, "x", 8, 3, {(0, 2): 2.0, (1, 5): 1.0, (4, 7): 1.0})
    check(net.model(net.conv(net.op("Relu", h), 8, 4, group=2), ranks=(4,)), 2)


def test_twins_that_two_layers_read():
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", twins(net, "x", 4, 3, {(0, 2): 2.0}))
    check(net.model(head(net, h, 4), head(net, net.op("MaxPool", h, kernel_shape=[2, 2]), 4)), 1)
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", twins(net, "x", 4, 3, {(0, 2): 2.0}))
    check(net.model(head(net, h, 4), head(net, net.op("Sigmoid", h), 4)), 0)


def test_twins_that_are_read_twice_by_one_layer():
    """Where the first place of a channel meets zero weights, the second one counts."""
    for unread in ((), (2,), (6,), (0, 6)):
        net = Net("N", 3, 6, 6)
        h = net.op("Tile", twins(net, "x", 4, 3, {(0, 2): 2.0}), net.weight([1, 2, 1, 1]))
        check(net.model(net.conv(h, 2, 8, 3, pad=1, unread=unread)), 1)


def test_twins_into_a_graph_output_stay():
    net = Net("N", 3, 6, 6)
    check(net.model(twins(net, "x", 4, 3, {(0, 2): 2.0})), 0)


def test_twins_of_matmul_and_gemm():
    net = Net("N", 6)
    weights = net.random(6, 4)
    weights[:, 3] = 3 * weights[:, 1]
    h = net.op("Add", net.op("MatMul", "x", net.weight(weights)), net.weight(np.array([1, 2, 3, 6], np.float32)))
    y = net.gemm(net.op("Relu", h), 3, 4)
    check(net.model(y, ranks=(2,)), 1)


@pytest.mark.parametrize(("alpha", "beta", "removed"), [(0.5, 1.0, 1), (-1.0, 2.0, 1), (0.0, 1.0, 0)])
def test_twins_of_a_gemm_by_alpha_and_beta(alpha, beta, removed):
    net = Net("N", 6)
    weights, bias = net.random(4, 6), net.random(4)
    weights[3], bias[3] = 2 * weights[0], 2 * bias[0]
    h = net.op("Gemm", "x", net.weight(weights), net.weight(bias), transB=1, alpha=alpha, beta=beta)
    check(net.model(net.gemm(net.op("Relu", h), 3, 4), ranks=(2,)), removed)
