"""Traps of integer Gemm and MatMul, and tables, audited by reading back the graph that onnxruntime runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxzip.model.save import model_bytes
from onnxzip.model.signature import signature
from onnxzip.quantize import insert
from tests.helpers.graphs import model, op_types
from tests.quantize.audit import (
    audit,
    dense,
    normal,
    plan_of,
    quantized,
    runtime_ops,
    sqnr,
    weights_dequantized,
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
    audit(net, tmp_path, decibels=20, QLinearMatMul=1, Gemm=0)


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


def test_vector_times_matrix(tmp_path: Path) -> None:
    net = model(
        "agraph (float[32] x) => (float[48] y) { m = MatMul(x, w) y = Add(m, b) }", w=normal(32, 48), b=normal(48)
    )
    audit(net, tmp_path, decibels=15, QGemm=1, Gemm=0)


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


def test_two_embeddings_of_one_table_share_its_integers(tmp_path: Path) -> None:
    net = model(
        "agraph (int64[N] i, int64[N] j) => (float[N,32] y) { a = Gather(t, i) b = Gather(t, j) y = Add(a, b) }",
        t=normal(2000, 32),
    )
    batch = {"i": np.arange(9) * 200, "j": np.arange(9) * 100}
    after = insert(net, plan_of(net, [batch]))
    assert model_bytes(after) < 0.3 * model_bytes(net)
    assert sqnr(net, after, batch) > 38


def test_table_that_writes_an_output_keeps_its_name() -> None:
    net = model("agraph (int64[N,5] i) => (float[N,5,32] rows) { rows = Gather(t, i) }", t=normal(2000, 32))
    after = insert(net, plan_of(net, [{"i": np.zeros((1, 5), np.int64)}]))
    assert signature(after) == signature(net)
