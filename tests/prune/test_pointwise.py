import numpy as np
import onnx
import pytest

from onnxzip.model.load import load
from onnxzip.prune import eliminate
from tests.helpers.graphs import initializer
from tests.prune.nets import Net, check, width


def test_sigmoid_maps_0_to_a_half():
    """failures.md 14: a zeroed channel is not zero behind Sigmoid, and one of them must stay before a padded Conv."""
    net = Net("N", 3, 6, 6)
    h = net.op("Sigmoid", net.conv("x", 8, 3, zero=(1, 4, 6)))
    result, record = check(net.model(net.conv(h, 4, 8, pad=1)), 2)
    assert width(result, "conv0") == 6
    assert record.notes == (
        "Conv 'conv2' pads with zeros, so that a constant does not fit its bias: 1 constant channel kept",
    )


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Relu", {}), ("LeakyRelu", {"alpha": 0.3}), ("Tanh", {}), ("HardSigmoid", {"alpha": 0.3}), ("HardSwish", {}), ("Elu", {"alpha": 2.0}),
        ("Selu", {}), ("Celu", {}), ("Erf", {}), ("Softplus", {}), ("Softsign", {}), ("Exp", {}), ("Abs", {}), ("Neg", {}), ("Mish", {}),
        ("ThresholdedRelu", {"alpha": 0.1}), ("Identity", {}), ("Dropout", {}), ("Sigmoid", {}),
    ],
)  # fmt: skip
def test_constants_go_through_activations_as_the_runtime_computes_them(kind, attributes):
    net = Net("N", 3, 6, 6)
    h = net.op(kind, net.conv("x", 8, 3, zero=(1,), constant={4: 0.7, 6: -1.3}), **attributes)
    check(net.model(net.conv(h, 4, 8)), 3)


def test_gelu_of_opset_20():
    net = Net("N", 3, 6, 6, opset=20)
    h = net.op("Gelu", net.conv("x", 8, 3, zero=(1,), constant={4: 0.7}), approximate="tanh")
    check(net.model(net.conv(h, 4, 8)), 2)


def test_clip_with_bounds_as_inputs():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, zero=(1,), constant={4: 9.0, 6: -1.0})
    h = net.op("Clip", h, net.weight(np.float32(0)), net.weight(np.float32(6)))
    result, _ = check(net.model(net.conv(h, 4, 8, pad=1)), 2)  # 1 and 6 are 0; 4 is 6
    assert width(result, "conv0") == 6


def test_clip_with_computed_bounds_knows_nothing():
    net = Net("N", 3, 6, 6)
    h = net.op("Clip", net.conv("x", 8, 3, zero=(1,)), "", net.op("ReduceMax", "x", keepdims=0))
    check(net.model(net.conv(h, 4, 8)), 0)


def test_residual_add_removes_what_is_zero_on_both_sides_only():
    net = Net("N", 8, 6, 6)
    stem = net.conv("x", 8, 8, pad=1, zero=(0, 1, 2))
    branch = net.conv(net.op("Relu", stem), 8, 8, pad=1, zero=(1, 2, 3))
    result, record = check(net.model(net.conv(net.op("Add", stem, branch), 4, 8)), 4)
    assert width(result, "conv0") == width(result, "conv2") == 6
    assert record.widths[0].tied == ("Conv 'conv2'",)
    assert record.widths[1].tied == ("Conv 'conv0'",)


def test_residual_add_with_one_side_alive_removes_nothing():
    net = Net("N", 8, 6, 6)
    h = net.op("Add", net.conv("x", 8, 8, zero=(0, 1, 2)), net.conv("x", 8, 8))
    check(net.model(net.conv(h, 4, 8)), 0)


def test_residual_add_with_a_graph_input_freezes_and_names_it():
    net = Net("N", 8, 6, 6)
    h = net.op("Add", net.conv("x", 8, 8, pad=1, zero=(0, 1)), "x")
    _, record = check(net.model(net.conv(h, 4, 8)), 0)
    assert record.notes == ("Add 'add1' ties it to 'x', which has no channels that can go: 2 constant channels kept",)


@pytest.mark.parametrize("shape", [(8, 1, 1), (1, 8, 1, 1), (1, 1), (), (1, 1, 6), (8, 6, 6)])
def test_constant_operands_of_every_shape(shape):
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.conv("x", 8, 3, pad=1, zero=(1, 5)))
    h = net.op("Mul", h, net.weight(np.asarray(net.random(*shape)), "factor"))
    result, _ = check(net.model(net.conv(h, 4, 8, pad=1)), 2)
    cut = tuple(6 if s == 8 else s for s in shape)
    assert initializer(result, "factor").shape == cut


def test_addend_that_differs_within_a_channel_makes_it_live():
    net = Net("N", 3, 6, 6)
    h = net.op("Add", net.conv("x", 8, 3, pad=1, zero=(1, 5)), net.weight(net.random(8, 6, 6)))
    check(net.model(net.conv(h, 4, 8)), 0)


def test_factor_0_kills_a_live_channel():
    net = Net("N", 3, 6, 6)
    factor = net.random(8, 1, 1)
    factor[[2, 3]] = 0
    h = net.op("Mul", net.conv("x", 8, 3), net.weight(factor))
    check(net.model(net.conv(h, 4, 8, pad=1)), 2)


def test_prelu_slopes_are_cut():
    net = Net("N", 3, 6, 6)
    h = net.op("PRelu", net.conv("x", 8, 3, zero=(1,), constant={2: -2.0}), net.weight(net.random(8, 1, 1), "slope"))
    result, _ = check(net.model(net.conv(h, 4, 8)), 2)
    assert initializer(result, "slope").shape == (6, 1, 1)


def test_squeeze_and_excite_gates_are_tied_to_what_they_gate():
    net = Net("N", 3, 6, 6)
    h = net.op("Relu", net.conv("x", 8, 3, pad=1, zero=(1, 5)))
    squeezed = net.op("Relu", net.conv(net.op("GlobalAveragePool", h), 4, 8, 1, zero=(3,)))
    gate = net.op("Sigmoid", net.conv(squeezed, 8, 4, 1))
    result, _ = check(net.model(net.conv(net.op("Mul", h, gate), 4, 8, pad=1)), 5)  # 2 + their 2 gates + 1
    assert (width(result, "conv0"), width(result, "conv5"), width(result, "conv3")) == (6, 6, 3)


def test_a_gate_of_one_channel_makes_no_claim():
    net = Net("N", 3, 6, 6)
    h = net.conv("x", 8, 3, pad=1, zero=(1, 5))
    h = net.op("Mul", h, net.op("Sigmoid", net.conv("x", 1, 3, pad=1)))
    check(net.model(net.conv(h, 4, 8, pad=1)), 2)


def test_operands_of_unknown_size_are_refused():
    net = Net("N", 3, 6, 6)
    net.inputs.append(onnx.helper.make_tensor_value_info("gate", onnx.TensorProto.FLOAT, ["N", "C", 1, 1]))
    h = net.op("Mul", net.conv("x", 2, 3, zero=(1,)), "gate")
    _, record = check(net.model(net.conv(h, 4, 2)), 0, sizes=(1, 2))
    assert record.notes == ("Mul 'mul1' ties its channels to 'gate', whose size is unknown: 1 constant channel kept",)


def test_channels_on_different_axes_are_refused():
    net = Net("N", 6, 6, 6)
    h = net.conv("x", 6, 6, pad=1, zero=(1,))
    h = net.op("Add", h, net.op("Transpose", h, perm=[0, 2, 1, 3]))
    _, record = check(net.model(net.conv(h, 4, 6)), 0)
    assert any("on different axes" in n for n in record.notes)


def test_dropout_whose_mask_is_used_is_refused():
    net = Net("N", 3, 6, 6)
    h, mask = net.op("Dropout", net.conv("x", 4, 3, zero=(1,)), outputs=2)
    proto = net.proto(net.conv(h, 2, 4), mask, **{mask: onnx.TensorProto.BOOL})
    _, record = check(load(proto).model, 0)
    assert record.notes == ("Dropout 'dropout1' has further outputs that are used: 1 constant channel kept",)


def test_elementwise_operators_of_opset_6_are_refused():
    net = Net("N", 3, 6, 6, opset=6)
    h = net.op("Add", net.conv("x", 4, 3, zero=(1,)), net.weight(net.random(4)), broadcast=1, axis=1)
    model = net.model(net.conv(h, 2, 4))
    _, record = eliminate(model)
    assert record.removed == 0


def test_channels_that_meet_fixed_ones_in_a_part_only():
    net = Net("N", 3, 6, 6)
    both = net.op("Concat", net.conv("x", 5, 3, pad=1, zero=(0, 1)), "x", axis=1)
    h = net.op("Add", both, net.conv("x", 8, 3, pad=1, zero=(0, 1, 6)))
    _, record = check(net.model(net.conv(h, 4, 8)), 4)
    assert record.notes == ("Add 'add3' ties it to channels that stay: 1 constant channel kept",)
    assert "3: Add 'add3' ties it to channels that stay" in record.widths[1].stayed


def test_empty_constants_are_left_alone():
    net = Net("N", 0, 5)
    first = net.random(5, 4)
    first[:, 1] = 0
    h = net.op("Mul", net.op("MatMul", "x", net.weight(first)), net.weight(np.zeros((0, 4), np.float32)))
    check(net.model(net.op("MatMul", h, net.weight(net.random(4, 2))), ranks=(3,)), 1)
