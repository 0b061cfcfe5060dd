"""The traps of onnxruntime's integer fusions, each audited by reading back the graph that it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.errors import UsageError
from onnxzip.model.opset import opset_of
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.model.signature import signature
from onnxzip.quantize import QuantPlan, Site, insert
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.quantize.audit import feeds, plan_of, quantized, runtime_graph, runtime_ops, sqnr, weights_dequantized

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


def conv_net(body: str, channels: int = 16, opset: int = 18, **arrays: np.ndarray) -> ir.Model:
    """x -> body -> y, on 16-channel images; w1, w2, b1, b2 are there for 3x3 Convs."""
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> agraph (float[N,{channels},8,8] x) => (float[N,M,H,W] y) {{ {body} }}'
    arrays = {"w1": normal(16, channels, 3, 3), "w2": normal(16, 16, 3, 3), "b1": normal(16), "b2": normal(16)} | arrays
    return model(text, **{k: v for k, v in arrays.items() if k in body})


def audit(before: ir.Model, tmp_path: Path, *, decibels: float = 25.0, **expected: int) -> ir.Model:
    """Quantize; these operators and this accuracy must come out, nothing may be dequantized at every run, the interface is the same."""
    after = quantized(before)
    ops = runtime_ops(after, tmp_path)
    assert {k: ops[k] for k in expected} == expected, ops
    assert not weights_dequantized(after, tmp_path)
    assert signature(after) == signature(before)
    assert sqnr(before, after, feeds(before, 4)[3]) > decibels
    assert model_bytes(after) < model_bytes(before)
    return after


# Conv


def test_conv_chain_runs_in_integers(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w2, b2)")
    after = audit(net, tmp_path, QLinearConv=2, Conv=0, FusedConv=0, QuantizeLinear=1, DequantizeLinear=1)
    assert op_types(after).count("QuantizeLinear") == 3  # x, r, y: none between Conv and Relu


def test_weights_are_signed_and_activations_are_not_failure_26() -> None:
    after = quantized(conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(a, w2)"))
    dtypes = {n: v.dtype for n, v in after.graph.initializers.items()}
    assert {d for n, d in dtypes.items() if n.startswith("weight")} == {ir.DataType.INT8}
    assert {d for n, d in dtypes.items() if n.startswith("zero")} == {ir.DataType.UINT8}
    assert {d for n, d in dtypes.items() if n.startswith("bias")} == {ir.DataType.INT32}
    assert initializer(after, "weight").min() == -127


@pytest.mark.parametrize("opset", [9, 11, 12, 13])
def test_per_channel_is_valid_from_every_opset_failure_23(opset: int, tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)", opset=opset)
    after = audit(net, tmp_path, QLinearConv=2, Conv=0)
    assert opset_of(after) == 13


def test_newer_opset_is_left_alone() -> None:
    assert opset_of(quantized(conv_net("y = Conv(x, w1, b1)", opset=18))) == 18


@pytest.mark.parametrize(
    ("body", "arrays"),
    [
        ("y = Conv<group=16, pads=[1,1,1,1]>(x, dw)", {"dw": normal(16, 1, 3, 3)}),
        ("y = Conv<group=4>(x, g)", {"g": normal(32, 4, 3, 3)}),
        ('y = Conv<strides=[2,2], auto_pad="SAME_UPPER">(x, w1)', {}),
    ],
)
def test_depthwise_and_grouped_convs(body: str, arrays: dict[str, np.ndarray], tmp_path: Path) -> None:
    audit(conv_net(body, **arrays), tmp_path, QLinearConv=1, Conv=0)


def test_one_dimensional_conv(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,20] x) => (float[N,32,18] y) { y = Conv(x, w, b) }", w=normal(32, 16, 3), b=normal(32)
    )
    audit(net, tmp_path, QLinearConv=1, Conv=0)


def test_relu_that_others_read_too_is_not_absorbed(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) s = Sigmoid(a) p = Mul(r, s) y = Conv(p, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (0.0, 0.2), (-0.1, 0.3), (-1.0, 1.0)])
def test_clip_is_absorbed_with_its_bounds(low: float, high: float, tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip(a, lo, hi) y = Conv(r, w2, b2)",
        lo=np.float32(low),
        hi=np.float32(high),
    )
    audit(net, tmp_path, QLinearConv=2, Clip=0, DequantizeLinear=1)


def test_relu6_of_old_opsets(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip<min=0.0, max=6.0>(a) y = Conv(r, w2, b2)", opset=9)
    audit(net, tmp_path, QLinearConv=2, Clip=0, DequantizeLinear=1)


def test_clip_that_excludes_zero_stays_between_integers(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Clip(a, lo, hi) y = Conv(r, w2, b2)",
        lo=np.float32(0.5),
        hi=np.float32(6),
    )
    audit(net, tmp_path, QLinearConv=2, Clip=1)


@pytest.mark.parametrize("activation", ["LeakyRelu(a)", "Sigmoid(a)", "HardSwish(a)", "Tanh(a)"])
def test_other_activations_get_a_pair_before_them(activation: str, tmp_path: Path) -> None:
    net = conv_net(f"a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = {activation} y = Conv(r, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


def test_x_times_sigmoid(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) s = Sigmoid(a) r = Mul(a, s) y = Conv(r, w2, b2)")
    audit(net, tmp_path, QLinearConv=2, Conv=0)


def test_int32_bias_has_the_scale_of_the_products() -> None:
    after = quantized(conv_net("y = Conv(x, w1, b1)"))
    conv = next(n for n in after.graph if n.op_type == "Conv")
    scale = [v.producer().inputs[1].const_value.numpy() for v in conv.inputs]  # type: ignore[union-attr]
    np.testing.assert_array_equal(scale[2], scale[0] * scale[1])


def test_bias_of_a_tiny_channel_does_not_overflow_failure_28(tmp_path: Path) -> None:
    weight, bias = normal(16, 16, 3, 3), np.full(16, 5.0, np.float32)
    weight[3] *= 1e-12
    weight[4] = 0
    audit(conv_net("y = Conv(x, wt, bt)", wt=weight, bt=bias), tmp_path, decibels=35, QLinearConv=1)


def test_conv_that_writes_an_output_keeps_its_name_and_its_other_readers(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,8,8] x) => (float[N,16,6,6] a, float[N,16,4,4] y) { a = Conv(x, w) y = Conv(a, v) }",
        w=normal(16, 16, 3, 3),
        v=normal(16, 16, 3, 3),
    )
    after = audit(net, tmp_path, QLinearConv=2, Conv=0)
    assert [o.name for o in after.graph.outputs] == ["a", "y"]


# Between Convs


def test_residual_add_with_relu(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b2) s = Add(c, r) t = Relu(s) y = Conv(t, w3)",
        w3=normal(16, 16, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, QLinearAdd=1, Relu=0, DequantizeLinear=1)


def test_add_of_a_conv_and_a_tensor_that_is_quantized_anyway(tmp_path: Path) -> None:
    net = conv_net("c = Conv<pads=[1,1,1,1]>(x, w1, b1) s = Add(x, c) y = Conv(s, w2)")
    audit(net, tmp_path, QLinearConv=2, QLinearAdd=1, Add=0)


def test_add_whose_result_no_integer_operator_wants_stays_float(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) c = Conv<pads=[1,1,1,1]>(a, w2, b2) y = Add(a, c)")
    audit(net, tmp_path, QLinearConv=2, QLinearAdd=0, Add=1)


def test_max_pool_between_convs(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) y = Conv(p, w2, b2)"
    )
    after = audit(net, tmp_path, QLinearConv=2, NhwcMaxPool=1, MaxPool=0, DequantizeLinear=1)
    pool = next(n for n in after.graph if n.op_type == "MaxPool")
    before, behind = pool.inputs[0].producer(), next(iter(pool.outputs[0].uses())).node  # type: ignore[union-attr]
    assert list(before.inputs[1:]) == list(behind.inputs[1:])  # the same scale and zero point


def test_conv_behind_a_max_pool_behind_a_float_conv_stays_float(tmp_path: Path) -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r) c = Conv<pads=[1,1,1,1]>(p, w2, b2) y = Conv(c, w3)"
    net = conv_net(body, w3=normal(16, 16, 3, 3))
    plan = plan_of(net, keep=("a",))
    assert [(n.output, n.reason.split(";")[0]) for n in plan.left] == [
        ("a", "kept float as asked (keep_float)"),
        ("c", "it reads MaxPool 'p' behind a float operator"),
    ]
    ops = runtime_ops(insert(net, plan), tmp_path)
    assert ops["QLinearConv"] == 1
    assert ops["NhwcMaxPool"] == 0


def test_max_pool_of_the_input_keeps_its_conv_float() -> None:
    plan = plan_of(conv_net("p = MaxPool<kernel_shape=[2,2]>(x) y = Conv(p, w1)"))
    assert plan.nodes == ()
    assert "behind a float operator" in plan.notes[0]


def test_fire_module_concat_shares_one_scale(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) s = Relu(b) c = Concat<axis=1>(r, s) y = Conv(c, w3)",
        w3=normal(16, 32, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, QLinearConcat=1, Concat=0, DequantizeLinear=1)
    scales = {s.tensor: s.scale for s in plan_of(net).sites}
    assert scales["r"] == scales["s"] == scales["c"]


def test_concat_of_a_relu_and_a_signed_tensor_keeps_the_sign(tmp_path: Path) -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) c = Concat<axis=1>(r, b) y = Conv(c, w3)"
    net = conv_net(body, w3=normal(16, 32, 3, 3))
    audit(net, tmp_path, QLinearConv=3, QLinearConcat=1, Relu=0)
    sites = {s.tensor: s for s in plan_of(net).sites}
    assert sites["r"].zero_point == 0
    assert sites["c"].zero_point > 50


def test_chained_concats_of_different_activations_keep_the_sign(tmp_path: Path) -> None:
    net = conv_net(
        """a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) b = Conv<pads=[1,1,1,1]>(x, w2) s = Relu(b) c = Concat<axis=1>(r, s)
        t = Reshape(c, shape) d = Conv<pads=[1,1,1,1]>(x, w3) e = Concat<axis=1>(t, d) y = Conv(e, w4)""",
        w3=normal(16, 16, 3, 3),
        w4=normal(16, 48, 3, 3),
        shape=np.array([0, 32, 8, 8], np.int64),
    )
    audit(net, tmp_path, QLinearConv=4, QLinearConcat=2)
    assert {s.tensor: s.zero_point for s in plan_of(net).sites}["e"] > 50


def test_average_pool_and_last_global_pool_stay_float(tmp_path: Path) -> None:
    audit(
        conv_net("a = Conv(x, w1) r = Relu(a) y = GlobalAveragePool(r)"), tmp_path, QLinearConv=1, GlobalAveragePool=1
    )
    audit(
        conv_net("a = Conv(x, w1) r = Relu(a) y = AveragePool<kernel_shape=[2,2]>(r)"),
        tmp_path,
        QLinearConv=1,
        AveragePool=1,
    )


def test_global_pool_before_a_gemm_runs_in_integers(tmp_path: Path) -> None:
    net = model(
        "agraph (float[N,16,8,8] x) => (float[N,32] y) { a = Conv(x, w) r = Relu(a) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v, b) }",
        w=normal(16, 16, 3, 3),
        v=normal(16, 32),
        b=normal(32),
    )
    audit(net, tmp_path, QLinearConv=1, QLinearGlobalAveragePool=1, QGemm=1, Gemm=0)


def test_split_passes_through_as_a_whole(tmp_path: Path) -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1) l, r = Split<axis=1, num_outputs=2>(a) c = Conv(l, w3) s = Sigmoid(r) d = Conv(s, w3) y = Concat<axis=1>(c, d)",
        w3=normal(16, 8, 3, 3),
    )
    audit(net, tmp_path, QLinearConv=3, Conv=0)


# MatMul and Gemm


def dense(body: str, rank: int = 2, columns: int = 48, **arrays: np.ndarray) -> ir.Model:
    shape = ",".join(["N", "7", "5"][: rank - 1])
    arrays = {"w": normal(32, columns), "b": normal(columns)} | arrays
    return model(
        f"agraph (float[{shape},32] x) => (float[{shape},{columns}] y) {{ {body} }}",
        **{k: v for k, v in arrays.items() if k in body},
    )


@pytest.mark.parametrize(
    "body", ["y = Gemm(x, w, b)", "y = Gemm(x, w)", "y = Gemm<transB=1>(x, wt, b)", "y = Gemm(x, w, row)"]
)
def test_gemm_runs_in_integers_with_a_float_output(body: str, tmp_path: Path) -> None:
    after = audit(dense(body, wt=normal(48, 32), row=normal(1, 48)), tmp_path, QGemm=1, Gemm=0, DequantizeLinear=0)
    assert op_types(after).count("QuantizeLinear") == 1


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_matmul_is_per_channel_with_a_float_output_failure_24(rank: int, tmp_path: Path) -> None:
    net = dense("y = MatMul(x, wide)", rank, wide=normal(32, 48) * np.geomspace(1e-3, 1e3, 48, dtype=np.float32))
    after = audit(net, tmp_path, MatMulIntegerToFloat=1, MatMul=0, DequantizeLinear=0)
    assert max(v.const_value.size for n, v in after.graph.initializers.items() if n.startswith("scale")) == 48  # type: ignore[union-attr]


@pytest.mark.parametrize("body", ["m = MatMul(x, w) y = Add(m, b)", "m = MatMul(x, w) y = Add(b, m)"])
@pytest.mark.parametrize("rank", [2, 3])
def test_bias_behind_a_matmul_does_not_hide_it(body: str, rank: int, tmp_path: Path) -> None:
    kernel = {"QGemm": 1} if rank == 2 else {"MatMulIntegerToFloat": 1}
    audit(dense(body, rank), tmp_path, **kernel, Gemm=0, MatMul=0, DequantizeLinear=0)


def test_bias_behind_a_matmul_of_fixed_shape(tmp_path: Path) -> None:
    net = model(
        "agraph (float[2,5,32] x) => (float[2,5,48] y) { m = MatMul(x, w) y = Add(m, b) }",
        w=normal(32, 48),
        b=normal(48),
    )
    audit(net, tmp_path, MatMulIntegerToFloat=1, Gemm=0)


@pytest.mark.parametrize(
    "body",
    ["m = MatMul(x, w) y = Relu(m)", "g = Gemm(x, w, b) y = Relu(g)", "m = MatMul(x, w) a = Add(m, b) y = Relu(a)"],
)
def test_relu_behind_a_matmul_does_not_hide_it(body: str, tmp_path: Path) -> None:
    ops = runtime_ops(audit(dense(body), tmp_path, Gemm=0, MatMul=0, FusedGemm=0), tmp_path)
    assert ops["QGemm"] + ops["QLinearMatMul"] == 1


def test_residual_add_behind_a_flat_matmul_does_not_hide_it(tmp_path: Path) -> None:
    net = model(
        "agraph (float[4,32] x, float[4,48] z) => (float[4,48] y) { m = MatMul(x, w) y = Add(m, z) }", w=normal(32, 48)
    )
    audit(net, tmp_path, QLinearMatMul=1, Gemm=0)


def test_perceptron(tmp_path: Path) -> None:
    net = dense("g = Gemm(x, w, b) r = Relu(g) y = Gemm(r, v, c)", v=normal(48, 48), c=normal(48))
    audit(net, tmp_path, QGemm=2, Gemm=0, DequantizeLinear=0)


def test_float_readers_of_an_activation_keep_the_float_value() -> None:
    net = dense("m = MatMul(x, sq) y = Add(m, x)", 3, columns=32, sq=normal(32, 32))
    after = quantized(net)
    add = next(n for n in after.graph if n.op_type == "Add")
    assert "x" in [v.name for v in add.inputs if v is not None]


def test_one_pair_serves_three_matmuls(tmp_path: Path) -> None:
    net = dense(
        "q = MatMul(x, w) k = MatMul(x, w2) v = MatMul(x, w3) s = Mul(q, k) y = Add(s, v)",
        3,
        w2=normal(32, 48),
        w3=normal(32, 48),
    )
    after = audit(net, tmp_path, MatMulIntegerToFloat=3, QuantizeLinear=1)
    assert op_types(after).count("QuantizeLinear") == 1


# Tables


def test_large_table_is_gathered_in_int8_and_scaled_by_row(tmp_path: Path) -> None:
    table = normal(2000, 32) * np.geomspace(0.01, 100, 2000, dtype=np.float32)[:, None]
    net = model("agraph (int64[N,5] i) => (float[N,5,32] y) { y = Gather(t, i) }", t=table)
    batch = {"i": np.arange(10).reshape(2, 5) * 200}
    after = insert(net, plan_of(net, [batch]))
    assert op_types(after) == ["Gather", "Cast", "Gather", "Mul"]
    assert sqnr(net, after, batch) > 38
    assert model_bytes(after) < 0.3 * model_bytes(net)
    assert not weights_dequantized(after, tmp_path)


def test_small_and_sideways_tables_stay_float() -> None:
    small = model("agraph (int64[N] i) => (float[N,8] y) { y = Gather(t, i) }", t=normal(40, 8))
    sideways = model("agraph (int64[N] i) => (float[32,N] y) { y = Gather<axis=1>(t, i) }", t=normal(32, 2000))
    assert plan_of(small).nodes == ()
    assert "read by row" in plan_of(sideways).left[0].reason


# Weights that several nodes read


def test_tied_weights_are_stored_once_failure_29(tmp_path: Path) -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv<pads=[1,1,1,1]>(r, w1, b2)")
    after = audit(net, tmp_path, QLinearConv=2)
    assert sum(v.dtype == ir.DataType.INT8 for v in after.graph.initializers.values()) == 1
    assert "w1" not in after.graph.initializers


def test_embedding_tied_with_the_classifier_is_stored_once_failure_29(tmp_path: Path) -> None:
    net = model(
        "agraph (int64[N] i) => (float[N,2000] y) { e = Gather(t, i) h = Tanh(e) y = Gemm<transB=1>(h, t) }",
        t=normal(2000, 32),
    )
    batch = {"i": np.arange(9) * 200}
    after = insert(net, plan_of(net, [batch]))
    assert [v.const_value.size for v in after.graph.initializers.values() if v.dtype == ir.DataType.INT8].count(
        64000
    ) == 1  # type: ignore[union-attr]
    assert runtime_ops(after, tmp_path)["QGemm"] == 1
    assert sqnr(net, after, batch) > 25


def test_tied_weights_along_different_axes_stay_float_failure_29() -> None:
    net = model(
        "agraph (float[N,48] x) => (float[N,48] y) { h = MatMul(x, t) y = Gemm<transB=1>(h, t) }", t=normal(48, 32)
    )
    plan = plan_of(net)
    assert plan.nodes == ()
    assert "another axis" in plan.left[0].reason


def test_weights_that_a_float_node_reads_stay_float() -> None:
    net = model(
        "agraph (float[N,32] x) => (float[N,32] y, float[32,32] z) { y = MatMul(x, w) z = Exp(w) }", w=normal(32, 32)
    )
    plan = plan_of(net)
    assert plan.nodes == ()
    assert plan.left[0].reason == "its weights 'w' are read in float by Exp 'z' too"


def test_weights_from_constant_nodes(tmp_path: Path) -> None:
    net = conv_net("y = Conv(x, w1, b1)")
    value = net.graph.initializers["w1"]
    node = ir.node("Constant", [], attributes={"value": value.const_value})
    node.outputs[0].name = "k"
    net.graph.insert_before(net.graph[0], node)
    net.graph[1].replace_input_with(1, node.outputs[0])
    del net.graph.initializers["w1"]
    after = quantized(net)
    assert "Constant" not in op_types(after)
    assert runtime_ops(after, tmp_path)["QLinearConv"] == 1


# Bytes, order, refusals


def test_equal_scales_and_zero_points_are_stored_once() -> None:
    after = quantized(
        conv_net("a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) p = MaxPool<kernel_shape=[2,2]>(r) y = Conv(p, w2)")
    )
    contents = [
        (v.dtype, v.const_value.numpy().shape, v.const_value.numpy().tobytes())
        for v in after.graph.initializers.values()
    ]  # type: ignore[union-attr]
    assert len(set(contents)) == len(contents)


def test_two_insertions_give_the_same_bytes_and_leave_the_model_alone() -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)")
    original = to_proto(net).SerializeToString(deterministic=True)
    plan = plan_of(net)
    replayed = QuantPlan.from_json(plan.to_json())
    first, second = (to_proto(insert(net, p)).SerializeToString(deterministic=True) for p in (plan, replayed))
    assert first == second
    assert to_proto(net).SerializeToString(deterministic=True) == original


def test_empty_plan_leaves_it_alone() -> None:
    net = conv_net("y = Conv(x, w1)", opset=11)
    after = insert(net, QuantPlan(target="cpu", method="mse"))
    assert opset_of(after) == 11
    assert_equivalent(net, after, rtol=0)


def test_plan_of_another_model_is_refused_by_name() -> None:
    net = conv_net("a = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(a, w2)")
    plan = plan_of(net)
    with pytest.raises(UsageError, match="Conv 'a' with output 'a' is planned, there is none"):
        insert(conv_net("k = Conv<pads=[1,1,1,1]>(x, w1, b1) y = Conv(k, w2)"), plan)
    with pytest.raises(UsageError, match="is planned, there it is Relu"):
        insert(conv_net("a = Relu(x) y = Conv(a, w2)"), plan)
    with pytest.raises(UsageError, match="does not read the constant weights 'w1'"):
        insert(conv_net("a = Conv<pads=[1,1,1,1]>(x, other, b1) y = Conv(a, w2)", other=normal(16, 16, 3, 3)), plan)
    ghost = Site(tensor="ghost", dtype="uint8", scale=1.0, zero_point=0, readers="all")
    with pytest.raises(UsageError, match="tensor 'ghost' is planned, there is none"):
        insert(net, QuantPlan(target="cpu", method="mse", sites=(ghost,), nodes=plan.nodes, weights=plan.weights))


def test_control_flow_bodies_read_the_dequantized_value() -> None:
    net = model(
        """agraph (float[N,16,8,8] x, bool c) => (float[N,16,6,6] y) {
          a = Conv(x, w)
          y = If (c) <then_branch = left () => (t) { t = Exp(a) }, else_branch = right () => (e) { e = Identity(a) }>
        }""",
        w=normal(16, 16, 3, 3),
    )
    batches = [{"x": f["x"], "c": np.array(True)} for f in feeds(net)]
    after = insert(net, plan_of(net, batches))
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert sqnr(net, after, batches[0]) > 25


def test_runtime_graph_of_a_float_model_has_no_integers(tmp_path: Path) -> None:
    """The audit itself can fail."""
    net = conv_net("y = Conv(x, w1)")
    assert not [n for n in runtime_graph(net, tmp_path).node if n.op_type.startswith("QLinear")]
