import numpy as np
import onnx
import pytest

from onnxzip.model.load import load
from onnxzip.prune import eliminate
from tests.helpers.graphs import initializer, op_types
from tests.prune.nets import Net, check, width


def test_conv_removes_zero_filters_and_the_weights_that_read_them():
    net = Net("N", 3, 9, 9)
    y = net.conv(net.op("Relu", net.conv("x", 8, 3, zero=(1, 4, 7))), 4, 8)
    result, record = check(net.model(y), 3)
    assert [w.name for w in record.widths] == ["Conv 'conv0'"]
    assert (record.widths[0].before, record.widths[0].after) == (8, 5)
    assert initializer(result, "w0").shape == (5, 3, 3, 3)
    assert initializer(result, "w1").shape == (5,)
    assert initializer(result, "w2").shape == (4, 5, 3, 3)


def test_conv_leaves_live_channels_alone():
    net = Net("N", 3, 9, 9)
    check(net.model(net.conv(net.conv("x", 8, 3), 4, 8)), 0)


@pytest.mark.parametrize("bias", [True, False])
def test_conv_without_padding_takes_constants_into_its_bias(bias):
    net = Net("N", 3, 9, 9)
    y = net.conv(net.op("Sigmoid", net.conv("x", 4, 3, zero=(2,), constant={0: 1.5})), 4, 4, bias=bias, strides=[2, 2])
    result, _ = check(net.model(y), 2)
    assert len(next(n for n in result.graph if n.name == "conv2").inputs) == 3


def test_conv_with_same_padding_of_a_single_pixel_kernel_does_not_pad():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 4, 3, constant={1: 2.0})
    weights = net.weight(net.random(2, 4, 1, 1))
    check(net.model(net.op("Conv", h, weights, auto_pad="SAME_UPPER")), 1)


def test_conv_with_same_padding_keeps_one_constant():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 6, 3, constant={1: 2.0, 3: -1.0})
    check(net.model(net.op("Conv", h, net.weight(net.random(2, 6, 3, 3)), auto_pad="SAME_UPPER")), 1)


def test_conv_of_one_and_of_three_dimensions():
    for spatial in (1, 3):
        net = Net("N", 2, *[5] * spatial)
        first = net.random(4, 2, *[2] * spatial)
        first[1] = 0
        h = net.op("Relu", net.op("Conv", "x", net.weight(first)))
        y = net.op("Conv", h, net.weight(net.random(3, 4, *[2] * spatial)))
        check(net.model(y, ranks=(spatial + 2,)), 1)


def test_depthwise_conv_keeps_each_channel_to_itself():
    net = Net("N", 3, 9, 9)
    h = net.op("Relu", net.conv("x", 8, 3, zero=(0, 5)))
    h = net.conv(h, 8, 1, pad=1, group=8, constant={0: 0.0, 5: 0.0})
    result, _ = check(net.model(net.conv(net.op("Relu", h), 4, 8)), 2)
    depthwise = next(n for n in result.graph if n.name == "conv2")
    assert depthwise.attributes.get_int("group", 1) == 6
    assert width(result, "conv2") == 6


def test_depthwise_filter_of_zeros_frees_the_channel_before_it():
    net = Net("N", 3, 9, 9)
    h = net.conv(net.conv("x", 8, 3), 8, 1, pad=1, group=8, constant={3: -1.0, 6: 0.5})
    result, _ = check(net.model(net.conv(net.op("Relu", h), 4, 8, 1)), 2)
    assert width(result, "conv0") == 6


def test_depthwise_conv_with_two_filters_a_channel_loses_both_or_none():
    net = Net("N", 3, 9, 9)
    h = net.conv(net.conv("x", 4, 3), 8, 1, group=4, zero=(0, 2, 3))  # filters 2 and 3 belong to channel 1
    result, _ = check(net.model(net.conv(h, 4, 8)), 1)
    assert (width(result, "conv0"), width(result, "conv1")) == (3, 6)


def test_depthwise_bias_through_padding_is_not_constant():
    net = Net("N", 3, 9, 9)
    h = net.conv(net.conv("x", 4, 3, constant={1: 2.0}), 4, 1, pad=1, group=4)
    check(net.model(net.conv(h, 4, 4)), 0)


def test_grouped_conv_ties_equal_indices_of_its_groups():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 8, 3, zero=(1, 5, 2))  # 1 and 5 are index 1 of both groups; 2 is alone
    y = net.conv(net.conv(h, 6, 4, group=2, zero=(0, 3, 1)), 4, 6)  # filters 0 and 3 are index 0
    result, _ = check(net.model(y), 4)
    assert (width(result, "conv0"), width(result, "conv1")) == (6, 4)
    assert next(n for n in result.graph if n.name == "conv1").attributes.get_int("group", 1) == 2


def test_grouped_conv_takes_constants_into_its_bias():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 8, 3, constant={1: 1.5, 5: -2.0})
    check(net.model(net.conv(h, 6, 4, group=2)), 2)


def test_conv_transpose_removes_zeros_on_both_sides():
    net = Net("N", 3, 9, 9)
    h = net.op("Relu", net.conv("x", 6, 3, zero=(0, 2)))
    weights, bias = net.random(6, 5, 3, 3), net.random(5)
    weights[:, 4], bias[4] = 0, 0.25
    h = net.op("ConvTranspose", h, net.weight(weights), net.weight(bias), strides=[2, 2], output_padding=[1, 1])
    check(net.model(net.conv(h, 3, 5)), 3)


def test_conv_transpose_does_not_take_constants():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 4, 3, constant={1: 2.0})
    check(net.model(net.op("ConvTranspose", h, net.weight(net.random(4, 5, 3, 3)))), 0)


def test_conv_transpose_with_groups_is_refused():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 4, 3, zero=(1,))
    _, record = check(net.model(net.op("ConvTranspose", h, net.weight(net.random(4, 2, 3, 3)), group=2)), 0)
    assert record.notes == ("ConvTranspose 'convtranspose1' has groups: 1 constant channel kept",)


@pytest.mark.parametrize("trans_a", [0, 1])
@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("addend", ["none", "vector", "row", "scalar"])
def test_gemm_in_all_its_forms(trans_a, trans_b, addend):
    net = Net("N", 5)
    first, bias = net.random(7, 5), net.random(7)
    first[2], bias[2] = 0, 0
    h = net.op("Gemm", "x", net.weight(first), net.weight(bias), transB=1)
    h = net.op("Transpose", h) if trans_a else h
    shape = {"vector": (4,), "row": (1, 4), "scalar": ()}
    c = [] if addend == "none" else [net.weight(np.asarray(net.random(*shape[addend])))]
    weights = net.weight(net.random(4, 7) if trans_b else net.random(7, 4))
    h = net.op("Gemm", h, weights, *c, transA=trans_a, transB=trans_b, alpha=0.5, beta=2.0)
    check(net.model(net.gemm(h, 3, 4), ranks=(2,)), 1)


@pytest.mark.parametrize("addend", ["none", "vector"])
@pytest.mark.parametrize("beta", [0.5, 0.0])
def test_gemm_takes_constants_by_alpha_and_beta(addend, beta):
    net = Net("N", 5)
    first, bias = net.random(7, 5), net.random(7)
    first[[2, 4]], bias[[2, 4]] = 0, [3.0, -1.0]
    h = net.op("Gemm", "x", net.weight(first), net.weight(bias), transB=1)
    c = [] if addend == "none" else [net.weight(net.random(4))]
    y = net.op("Gemm", h, net.weight(net.random(4, 7)), *c, transB=1, alpha=1.5, beta=beta)
    _, record = check(net.model(y, ranks=(2,)), 2 if beta else 1)  # without a bias, one stands in for the other
    assert bool(record.notes) == (beta == 0)


def test_gemm_with_a_computed_addend_is_refused():
    net = Net("N", 5)
    h = net.gemm("x", 4, 5)
    y = net.op("Gemm", h, net.weight(net.random(4, 3)), net.op("ReduceMean", "x", net.weight([0, 1])))
    _, record = check(net.model(y, ranks=(2,)), 0)
    assert record.frozen[0] == "Gemm 'gemm2' has a bias that is not constant: 4 channels kept"


def test_matmul_with_an_add_behind_it_takes_constants():
    net = Net("N", "S", 5)
    first, bias = net.random(5, 8), net.random(8)
    first[:, [1, 3]], bias[3] = 0, -1.0  # channel 1 is bias[1] other than 0, channel 3 is relu(-1) = 0
    h = net.op("Relu", net.op("Add", net.op("MatMul", "x", net.weight(first)), net.weight(bias)))
    h = net.op("Add", net.weight(net.random(1, 1, 6)), net.op("MatMul", h, net.weight(net.random(8, 6))))
    result, _ = check(net.model(h, ranks=(3,)), 2)
    assert initializer(result, "w0").shape == (5, 6)
    assert initializer(result, "w1").shape == (6,)


def test_matmul_without_a_bias_keeps_one_constant():
    net = Net("N", 5)
    first = net.random(5, 8)
    first[:, [1, 3, 4]] = 0
    bias = np.abs(net.random(8))
    h = net.op("Add", net.op("MatMul", "x", net.weight(first)), net.weight(bias))
    _, record = check(net.model(net.op("MatMul", h, net.weight(net.random(8, 6))), ranks=(2,)), 2)
    assert record.notes == ("MatMul 'matmul2' has no bias that takes a constant: 1 constant channel kept",)


def test_feed_forward_units_of_a_transformer_go():
    net = Net("N", "S", 6)
    up, bias = net.random(6, 12), net.random(12)
    up[:, [0, 7]], bias[[0, 7]] = 0, [0.0, 1.25]
    h = net.op("Add", net.op("MatMul", "x", net.weight(up)), net.weight(bias))
    gate = net.op("Add", net.op("Erf", net.op("Div", h, net.weight(np.float32(1.4142)))), net.weight(np.float32(1.0)))
    h = net.op("Mul", net.op("Mul", h, gate), net.weight(np.float32(0.5)))
    h = net.op("Add", net.op("MatMul", h, net.weight(net.random(12, 6))), net.weight(net.random(6)))
    y = net.op("LayerNormalization", net.op("Add", h, "x"), net.weight(net.random(6)), net.weight(net.random(6)))
    check(net.model(y, ranks=(3,)), 2)


def test_weights_that_are_not_constant_freeze():
    net = Net(4, 3, 3, 3)
    h = net.conv(net.op("Relu", "x"), 4, 3, zero=(0,))  # 4 channels of 1 x 1
    y = net.op("Conv", h, "x2")
    net.inputs.append(onnx.helper.make_tensor_value_info("x2", onnx.TensorProto.FLOAT, [2, 4, 1, 1]))
    _, record = check(net.model(y), 0)
    assert record.notes == ("Conv 'conv2' has weights that are not constant floats: 1 constant channel kept",)


def test_quantized_weights_shrink():
    net = Net("N", 3, 9, 9)
    h = net.conv("x", 4, 3, zero=(0,))
    codes = net.weight(np.ones((2, 4, 1, 1), np.int8))
    weights = net.op("DequantizeLinear", codes, net.weight(np.float32(0.1)), net.weight(np.int8(0)))
    result, _ = check(net.model(net.op("Conv", h, weights)), 1)
    assert initializer(result, "w2").shape == (2, 3, 1, 1)


def test_an_initializer_that_the_caller_may_override_is_no_constant():
    net = Net("N", 3, 9, 9)
    proto = net.proto(net.conv(net.conv("x", 4, 3, zero=(1,)), 2, 4))
    proto.graph.input.append(onnx.helper.make_tensor_value_info("w2", onnx.TensorProto.FLOAT, [2, 4, 3, 3]))
    model = load(proto, keep_defaults=True).model
    result, record = eliminate(model)
    assert record.removed == 0
    assert op_types(result) == ["Conv", "Conv"]
    assert record.notes == ("Conv 'conv1' has weights that are not constant floats: 1 constant channel kept",)


def test_half_precision():
    net = Net("N", 3, 9, 9)
    h = net.op("Cast", "x", to=onnx.TensorProto.FLOAT16)
    weights, bias = net.random(6, 3, 3, 3).astype(np.float16), net.random(6).astype(np.float16)
    weights[[1, 4]], bias[[1, 4]] = 0, [0.0, 1.0]
    h = net.op("Relu", net.op("Conv", h, net.weight(weights), net.weight(bias)))
    h = net.op("Conv", h, net.weight((net.random(2, 6, 1, 1)).astype(np.float16)))
    result, _ = check(net.model(net.op("Cast", h, to=onnx.TensorProto.FLOAT)), 2, rtol=2e-3)
    assert initializer(result, "w0").dtype == np.float16


def test_constants_into_a_single_output():
    net = Net("N", 5)
    first = net.random(5, 4)
    first[:, 1] = 0
    h = net.op("Add", net.op("MatMul", "x", net.weight(first)), net.weight(np.full(4, 2, np.float32)))
    y = net.op("Add", net.op("MatMul", h, net.weight(net.random(4, 1))), net.weight(net.random(1)))
    check(net.model(y, ranks=(2,)), 1)
