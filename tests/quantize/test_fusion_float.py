"""What stays float keeps the fusions that it has in the float model: no Q or DQ stands inside a pattern."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.helpers.graphs import model
from tests.quantize.audit import audit, conv_net, normal, plan_of, quantized, runtime_ops
from tests.quantize.broken import plain

NORM = "mean = ReduceMean<axes=[-1]>({0}) d = Sub({0}, mean) sq = Pow(d, two) var = ReduceMean<axes=[-1]>(sq) ve = Add(var, eps) sd = Sqrt(ve) n = Div(d, sd) g = Mul(n, gain) {1} = Add(g, shift)"
GELU = "h = Div({0}, root) e = Erf(h) o = Add(e, one) k = Mul({0}, o) {1} = Mul(k, half)"

CONSTANTS = {
    "two": np.float32(2),
    "eps": np.float32(1e-5),
    "root": np.float32(np.sqrt(2)),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "gain": np.full(32, 1.1, np.float32),
    "shift": np.full(32, 0.1, np.float32),
    "b": np.full(32, 0.1, np.float32),
}

FLOAT = ("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "LayerNormalization", "SkipLayerNormalization")


def net(body: str, opset: int = 17, shape: str = "2,5,32") -> ir.Model:
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> agraph (float[{shape}] x) => (float[{shape}] y) {{ {body} }}'
    arrays = {**CONSTANTS, "w": normal(32, 32), "v": normal(32, 32)}
    return model(text, **{k: a for k, a in arrays.items() if f"{k})" in body or f"{k}," in body})


def fused(before: ir.Model, tmp_path: Path) -> dict[str, int]:
    ops = runtime_ops(before, tmp_path)
    return {op: ops[op] for op in FLOAT if ops[op]}


def test_gelu_written_out_is_still_fused(tmp_path: Path) -> None:
    before = net(f"m = MatMul(x, w) {GELU.format('m', 't')} y = MatMul(t, v)")
    assert fused(before, tmp_path) == {"Gelu": 1}
    after = audit(before, tmp_path, MatMulIntegerToFloat=2, Gelu=1, Erf=0, QuantizeLinear=2)
    assert fused(after, tmp_path) == {"Gelu": 1}


def test_gelu_behind_a_bias_is_still_fused(tmp_path: Path) -> None:
    before = net(f"m = MatMul(x, w) a = Add(m, b) {GELU.format('a', 't')} y = MatMul(t, v)")
    after = quantized(before)
    assert sum(fused(before, tmp_path).values()) == sum(fused(after, tmp_path).values()) == 1
    assert runtime_ops(after, tmp_path)["MatMulIntegerToFloat"] == 2
    assert runtime_ops(after, tmp_path)["Erf"] == 0


def test_layer_normalization_written_out_is_still_fused(tmp_path: Path) -> None:
    before = net(f"m = MatMul(x, w) {NORM.format('m', 't')} y = MatMul(t, v)")
    assert fused(before, tmp_path) == {"LayerNormalization": 1}
    audit(before, tmp_path, MatMulIntegerToFloat=2, LayerNormalization=1, ReduceMean=0, QuantizeLinear=2)


def test_norm_of_a_residual_sum_is_fused_as_in_float(tmp_path: Path) -> None:
    """One post-norm block: the norm's output is read by a MatMul and by the next sum, which reads it in float."""
    before = net(f"m = MatMul(x, w) s = Add(m, x) {NORM.format('s', 't')} p = MatMul(t, v) y = Add(p, t)")
    after = quantized(before)
    assert fused(before, tmp_path) == fused(after, tmp_path) != {}
    assert runtime_ops(after, tmp_path)["MatMulIntegerToFloat"] == 2


@pytest.mark.parametrize("norm", ["t = LayerNormalization(m, gain, shift)", "t = Softmax(m)", "t = HardSwish(m)"])
def test_operators_without_integer_kernels_run_in_float_between_matmuls(norm: str, tmp_path: Path) -> None:
    before = net(f"m = MatMul(x, w) {norm} y = MatMul(t, v)")
    ops = runtime_ops(quantized(before), tmp_path)
    assert ops["MatMulIntegerToFloat"] == 2
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"]) == (2, 0)


def test_product_of_two_activations_stays_float(tmp_path: Path) -> None:
    before = net(
        "q = MatMul(x, w) k = MatMul(x, v) t = Transpose<perm=[0,2,1]>(k) p = MatMul(q, t) y = MatMul(p, x)",
        shape="2,32,32",
    )
    audit(before, tmp_path, MatMulIntegerToFloat=2, QLinearMatMul=0)
    assert plain(before) == []


def test_transposed_conv_and_recurrent_nodes_get_no_q(tmp_path: Path) -> None:
    conv = conv_net("a = ConvTranspose(x, w1) y = Conv(a, w2)")
    assert runtime_ops(quantized(conv), tmp_path)["QLinearConv"] == 1
    assert [n.op for n in plan_of(conv).left] == ["ConvTranspose"]
    assert plain(conv) == []


def test_pool_behind_a_float_conv_runs_in_float(tmp_path: Path) -> None:
    body = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) p = MaxPool<kernel_shape=[2,2]>(r) c = Conv(p, w2, b2) y = Conv(c, w1)"
    before = conv_net(body)
    plan = plan_of(before, keep=("a", "y"))
    assert plan.nodes == ()
    assert [n.output for n in plan.left] == ["a", "c", "y"]
