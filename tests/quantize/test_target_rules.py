"""The vendors' written rules (sources: `onnxzip.quantize.targets`), each asked of quantized graphs. Nothing of it runs on the vendor's hardware here."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.model.constants import array, constant
from onnxzip.model.opset import opset_of
from onnxzip.quantize import TARGETS, insert
from onnxzip.quantize.targets import PER_AXIS_OPSET
from tests.helpers.graphs import model, op_types
from tests.quantize import rules
from tests.quantize.audit import conv_net, dense, normal, plan_of
from tests.quantize.rules import NETS, activation_inputs, grid, is_dequantized, of, quantized_for, readers, stored

OTHERS = ("arm64", "tensorrt", "openvino", "qnn", "qnn16")


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_the_graph_says_what_the_original_did(name: str, target: str, method: str) -> None:
    net = NETS[name]()
    assert rules.as_written(net, quantized_for(target, net, method)) > 25


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("name", NETS)
def test_weights_are_symmetric_int8_by_output_channel(name: str, target: str) -> None:
    after = quantized_for(target, NETS[name]())
    convs = [n for n in of(after, "Conv", "ConvTranspose") if is_dequantized(n.inputs[1])]
    assert len(convs) == len(of(after, "Conv")) + (target != "arm64") * len(of(after, "ConvTranspose"))
    for node in convs:
        dequantize = node.inputs[1].producer()  # type: ignore[union-attr]
        axis = dequantize.attributes.get_int("axis", 1)  # type: ignore[union-attr]
        zeros = dequantize.inputs[2:]  # type: ignore[union-attr]
        assert axis == (1 if node.op_type == "ConvTranspose" else 0)
        assert stored(node.inputs[1]).dtype == np.int8
        assert abs(stored(node.inputs[1]).astype(int)).max() == 127
        assert array(dequantize.inputs[1]).shape == (stored(node.inputs[1]).shape[axis],)  # type: ignore[union-attr]
        assert all(not array(z).any() for z in zeros)  # type: ignore[union-attr]


def test_arm64_is_quantized_as_cpus_without_saturation_are() -> None:
    for build in NETS.values():
        net = build()
        there, here = plan_of(net, target="arm64"), plan_of(net, target="cpu")
        assert (there.sites, there.weights, there.nodes) == (here.sites, here.weights, here.nodes)
    assert not TARGETS["arm64"].pairs


# TensorRT: Q/DQ layer-placement recommendations


@pytest.mark.parametrize("name", NETS)
def test_tensorrt_is_symmetric_int8_with_float_biases(name: str) -> None:
    after = quantized_for("tensorrt", NETS[name]())
    assert opset_of(after) >= PER_AXIS_OPSET
    for node in of(after, "QuantizeLinear"):
        zero = array(node.inputs[2])
        assert zero is not None
        assert (zero.dtype, zero.shape, int(zero)) == (np.int8, (), 0)
    for node in of(after, "DequantizeLinear"):
        codes = array(node.inputs[0])
        assert codes is None or codes.dtype == np.int8
        assert all(not array(z).any() for z in node.inputs[2:])  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NETS)
def test_tensorrt_quantizes_what_weighted_operators_and_residual_adds_read_and_nothing_else(name: str) -> None:
    net = NETS[name]()
    after, planned = quantized_for("tensorrt", net), plan_of(net, target="tensorrt")
    weighted = [n for n in of(after, "Conv", "ConvTranspose", "Gemm", "MatMul") if is_dequantized(n.inputs[1])]
    assert len(weighted) == sum(bool(n.weight) for n in planned.nodes) > 0
    assert all(is_dequantized(n.inputs[0]) for n in weighted)
    adds = [n for n in of(after, "Add") if any(map(is_dequantized, n.inputs))]
    assert all(sum(map(is_dequantized, n.inputs)) == 1 for n in adds)
    for pair in of(after, "QuantizeLinear"):
        dequantize = next(iter(pair.outputs[0].uses())).node
        assert {u.node for u in dequantize.outputs[0].uses()} <= {*weighted, *adds}


def test_tensorrt_quantizes_the_skip_and_leaves_conv_add_relu_together() -> None:
    after = quantized_for("tensorrt", rules.residual())
    add = of(after, "Add")[0]
    assert [is_dequantized(v) for v in add.inputs] == [False, True]
    assert add.inputs[0].producer().op_type == "Conv"  # type: ignore[union-attr]
    assert readers(add.outputs[0]) == ["Relu"]
    skip = add.inputs[1]
    assert readers(skip) == ["Add", "Conv"]  # type: ignore[arg-type] # one pair serves both
    assert op_types(after).count("QuantizeLinear") == 3


def test_tensorrt_quantizes_the_shorter_of_two_ways_whatever_the_order() -> None:
    after = quantized_for("tensorrt", rules.downsample())
    add = of(after, "Add")[0]
    assert [is_dequantized(v) for v in add.inputs] == [True, False]
    assert add.inputs[0].producer().inputs[0].producer().inputs[0].producer() is of(after, "Conv")[0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "body",
    [
        "c = Conv<pads=[1,1,1,1]>(x, w1) s = Add(c, k) y = Conv(s, w2)",  # a constant is no skip
        "c = Conv<pads=[1,1,1,1]>(x, w1) g = GlobalAveragePool(x) s = Add(c, g) y = Conv(s, w2)",  # broadcast
        "r = Relu(x) c = Conv<pads=[1,1,1,1]>(r, w1) e = Exp(c) s = Add(e, x) y = Conv(s, w2)",  # not made by a Conv
        "r = Relu(x) c = Conv<pads=[1,1,1,1]>(r, w1) e = Exp(c) s = Add(c, e) y = Conv(s, w2)",  # the Conv has two readers
    ],
)
def test_tensorrt_leaves_other_adds_alone(body: str) -> None:
    after = quantized_for("tensorrt", conv_net(body, k=normal(16, 8, 8)))
    assert not any(is_dequantized(v) for v in of(after, "Add")[0].inputs)


@pytest.mark.parametrize("name", ["chain", "residual", "depthwise", "concat", "pool", "gemm"])
def test_tensorrt_has_nothing_between_a_conv_and_its_activation(name: str) -> None:
    after = quantized_for("tensorrt", NETS[name]())
    for node in of(after, "Relu", "Clip"):
        assert node.inputs[0].producer().op_type in ("Conv", "Gemm", "Add")  # type: ignore[union-attr]


def test_grouped_transposed_convs_stay_float() -> None:
    net = conv_net("a = ConvTranspose<group=2>(x, wt) y = Conv(a, w2)", wt=normal(16, 8, 2, 2))
    plan = plan_of(net, target="tensorrt")
    assert [(n.output, "grouped" in n.reason) for n in plan.left] == [("a", True)]


# OpenVINO: NNCF's setup for CPUs


@pytest.mark.parametrize("name", NETS)
def test_openvino_is_symmetric_and_unsigned_where_nothing_is_negative(name: str) -> None:
    net = NETS[name]()
    plan = plan_of(net, target="openvino")
    negative = {s.tensor: s.dtype == "int8" for s in plan.sites}
    assert all(s.zero_point == 0 for s in plan.sites)
    assert negative["x"]
    assert not any(negative.get(t, False) for t in ("r", "k", "p"))


def test_openvino_reads_residuals_and_products_quantized() -> None:
    add = of(quantized_for("openvino", rules.residual()), "Add")[0]
    assert all(map(is_dequantized, add.inputs))
    after = quantized_for("openvino", rules.attention())
    products = of(after, "MatMul")
    assert len(products) == 6
    for node in products:
        for value in node.inputs:
            while value is not None and value.producer().op_type in ("Reshape", "Transpose"):  # type: ignore[union-attr]
                value = value.producer().inputs[0]  # type: ignore[union-attr]
            assert is_dequantized(value)


def test_openvino_moves_quantizers_in_front_of_what_moves_data() -> None:
    after = quantized_for("openvino", rules.pool())
    for node in of(after, "MaxPool", "Flatten"):
        assert is_dequantized(node.inputs[0])
        assert "QuantizeLinear" not in readers(node.outputs[0])
    assert is_dequantized(of(after, "GlobalAveragePool")[0].inputs[0])


def test_openvino_does_not_move_a_quantizer_that_others_would_feel() -> None:
    net = conv_net(
        "a = Conv(x, w1) p = MaxPool<kernel_shape=[2,2]>(a) e = Exp(p) c = Conv<pads=[1,1,1,1]>(p, w2) y = Add(e, c)"
    )
    after = quantized_for("openvino", net)
    assert of(after, "MaxPool")[0].inputs[0].producer().op_type == "Conv"  # type: ignore[union-attr]
    assert of(after, "Exp")[0].inputs[0].producer().op_type == "MaxPool"  # type: ignore[union-attr]


def test_openvino_unifies_the_scales_of_a_concat() -> None:
    join = of(quantized_for("openvino", rules.concat()), "Concat")[0]
    assert len({grid(v) for v in join.inputs}) == 1
    assert readers(join.outputs[0]) == ["Conv"]


# QNN: the HTP runs what is quantized as a whole


@pytest.mark.parametrize("target", ["qnn", "qnn16"])
@pytest.mark.parametrize("name", NETS)
def test_qnn_quantizes_every_float_tensor_between_operators(name: str, target: str) -> None:
    after = quantized_for(target, NETS[name]())
    dtypes = set()
    for node, value in activation_inputs(after):
        assert is_dequantized(value), (node.op_type, value.name)
        if constant(value.producer().inputs[0]) is None:  # type: ignore[union-attr]
            dtypes.add(grid(value)[2])
    for output in after.graph.outputs:
        assert is_dequantized(output)
    narrowed = target == "qnn16" and name == "attention"
    assert dtypes == ({"uint16", "uint8"} if narrowed else {"uint16"} if target == "qnn16" else {"uint8"})
    assert plan_of(NETS[name](), target=target).left == ()


@pytest.mark.parametrize("target", ["qnn", "qnn16"])
@pytest.mark.parametrize("name", ["chain", "pool", "gemm", "deconv", "attention"])
def test_qnn_biases_are_int32_in_the_scale_of_the_product(name: str, target: str) -> None:
    after = quantized_for(target, NETS[name]())
    biased = [n for n in of(after, "Conv", "ConvTranspose", "Gemm", "LayerNormalization") if len(n.inputs) > 2]
    assert biased
    for node in biased:
        x, w, b = (v.producer().inputs for v in node.inputs[:3])  # type: ignore[union-attr]
        assert stored(node.inputs[2]).dtype == np.int32
        np.testing.assert_array_equal(array(b[1]), array(x[1]) * array(w[1]))  # type: ignore[operator]


@pytest.mark.parametrize("target", ["qnn", "qnn16"])
def test_qnn_factors_of_products_are_8_bits_with_one_scale(target: str) -> None:
    after = quantized_for(target, rules.attention())
    for node in of(after, "MatMul", "LayerNormalization"):
        scale, _, dtype = grid(node.inputs[1])
        assert (len(scale), dtype) == (4, "uint8")
    assert grid(of(after, "MatMul")[2].inputs[0])[2] == ("uint16" if target == "qnn16" else "uint8")


@pytest.mark.parametrize("name", ["pool", "attention"])
def test_qnn_has_one_scale_on_both_sides_of_what_moves_data(name: str) -> None:
    after = quantized_for("qnn", NETS[name]())
    moved = of(after, "MaxPool", "Flatten", "Reshape", "Transpose")
    assert moved
    for node in moved:
        quantize = next(iter(node.outputs[0].uses())).node
        assert quantize.op_type == "QuantizeLinear"
        assert grid(node.inputs[0]) == grid(quantize.outputs[0].uses()[0].node.outputs[0])  # type: ignore[index]


def test_qnn_gives_what_a_relu_reads_the_scale_of_what_it_makes() -> None:
    after = quantized_for("qnn", rules.chain())
    relu = of(after, "Relu")[0]
    _, zero, _ = grid(relu.inputs[0])
    assert zero == b"\0"
    quantize = next(iter(relu.outputs[0].uses())).node
    assert [v.name for v in quantize.inputs[1:]] == [v.name for v in relu.inputs[0].producer().inputs[1:]]  # type: ignore[union-attr]


def test_qnn16_fixes_the_scales_of_sigmoid_and_tanh_and_needs_opset_21() -> None:
    net = rules.gates()
    sites = {s.tensor: (s.scale, s.zero_point, s.dtype) for s in plan_of(net, target="qnn16").sites}
    assert sites["s"] == (2.0**-16, 0, "uint16")
    assert sites["t"] == (2.0**-15, 2**15, "uint16")
    assert opset_of(quantized_for("qnn16", net)) == 21
    free = {s.tensor: s.scale for s in plan_of(net, target="qnn").sites}
    assert free["s"] < 2.0**-8


def test_qnn_leaves_parameters_alone() -> None:
    net = conv_net(
        "a = Conv(x, w1) k = Clip(a, low, six) m = Mul(k, six) p = Pad(m, pads, six) y = Conv(p, w2)",
        low=np.float32(0),
        six=np.float32(6),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )
    after = quantized_for("qnn", net)
    clip, pad, product = (of(after, op)[0] for op in ("Clip", "Pad", "Mul"))
    assert not any(map(is_dequantized, (*clip.inputs[1:], *pad.inputs[1:])))
    assert is_dequantized(product.inputs[1])


def test_qnn_names_what_it_cannot_run_and_what_must_be_fixed() -> None:
    net = conv_net("a = Conv(x, w1) e = Erf(a) y = Conv(e, w2)")
    plan = plan_of(net, target="qnn")
    assert [(n.output, n.reason) for n in plan.left] == [("e", "target qnn does not run Erf quantized")]
    assert any("fixed shapes only" in note and "'x'" in note for note in plan.notes)
    assert not any("fixed shapes" in note for note in plan_of(rules.attention(), target="qnn").notes)
    assert not any("fixed shapes" in note for note in plan_of(net, target="tensorrt").notes)


def test_qnn_stores_a_table_in_8_bits() -> None:
    net = model("agraph (int64[4,5] i) => (float[4,5,32] y) { r = Gather(t, i) y = Relu(r) }", t=normal(2000, 32))
    after = insert(net, plan_of(net, [{"i": np.arange(20).reshape(4, 5) * 90}], target="qnn"))
    assert stored(of(after, "Gather")[0].inputs[0]).dtype == np.uint8


def test_qnn_keeps_a_bias_that_32_bits_cannot_hold_float() -> None:
    net = dense("y = Gemm(x, w, b)", b=np.full(48, 1e9, np.float32))
    plan = plan_of(net, target="qnn")
    assert [(n.op, n.reason) for n in plan.left] == [("Gemm", "its bias is too large beside its input and its weights")]


@pytest.mark.parametrize("target", OTHERS)
def test_nothing_to_quantize_is_left_alone(target: str) -> None:
    net = model("agraph (int64[N] x) => (int64[N] y) { y = Add(x, x) }")
    assert plan_of(net, target=target).nodes == ()
    kept = plan_of(rules.chain(), target=target, keep=("Conv", "Relu"))
    assert kept.nodes == ()
    assert kept.sites == ()


@pytest.mark.parametrize("target", OTHERS)
def test_two_plans_are_the_same(target: str) -> None:
    net = rules.attention()
    first, second = (plan_of(net, target=target).to_json() for _ in range(2))
    assert first == second
