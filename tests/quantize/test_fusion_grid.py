"""Dtypes, zero points and scales that the fusions ask for, on the plan and in what onnxruntime runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.quantize import insert
from tests.helpers.graphs import model
from tests.quantize.audit import audit, conv_net, dense, normal, plan_of, quantized
from tests.quantize.broken import plain


def integer_dtypes(net: ir.Model) -> dict[str, ir.DataType | None]:
    """Of the constants that Gathers and DQ read, by their names."""
    readers = ("DequantizeLinear", "Gather")
    constants = {n.inputs[0].name: n.inputs[0] for n in net.graph if n.op_type in readers and n.inputs[0] is not None}
    return {name or "": v.dtype for name, v in constants.items() if v.const_value is not None}


@pytest.mark.parametrize("body", ["y = Gemm(x, w, b)", "y = Gemm<transB=1>(x, wt)", "y = MatMul(x, w)"])
def test_weights_of_dense_layers_are_signed(body: str) -> None:
    dtypes = integer_dtypes(quantized(dense(body, wt=normal(48, 32))))
    assert dtypes["weight"] == ir.DataType.INT8
    assert ir.DataType.UINT8 not in dtypes.values()


def test_tables_are_signed() -> None:
    net = model("agraph (int64[N] i) => (float[N,32] y) { y = Gather(t, i) }", t=normal(2000, 32))
    after = insert(net, plan_of(net, [{"i": np.arange(8)}]))
    assert integer_dtypes(after)["weight"] == ir.DataType.INT8


def test_relu_gives_zero_point_0_and_clip_a_range_within_its_bounds() -> None:
    net = conv_net(
        "a = Conv(x, w1, b1) r = Relu(a) c = Conv(r, wide) t = Clip(c, lo, hi) y = Conv(t, w2)",
        wide=normal(16, 16, 3, 3) * 100,
        lo=np.float32(0),
        hi=np.float32(6),
    )
    sites = {s.tensor: s for s in plan_of(net).sites}
    assert sites["r"].zero_point == sites["t"].zero_point == 0
    assert 5.9 < sites["t"].scale * 255 <= 6 * (1 + 1e-6)
    assert plain(net) == []


@pytest.mark.parametrize(
    "move",
    [
        "r = Transpose<perm=[0,1,3,2]>(a)",
        "r = Reshape(a, shape)",
        "r = Slice(a, starts, ends, axes)",
        "u = Unsqueeze(a, axes) r = Squeeze(u, axes)",
    ],
)
def test_what_moves_elements_shares_one_scale_and_runs_on_integers(move: str, tmp_path: Path) -> None:
    net = conv_net(
        f"a = Conv<pads=[1,1,1,1]>(x, w1, b1) {move} y = Conv(r, w2, b2)",
        shape=np.array([0, 16, 4, 16]),
        starts=np.array([1]),
        ends=np.array([7]),
        axes=np.array([2]),
    )
    sites = {s.tensor: (s.scale, s.zero_point) for s in plan_of(net).sites}
    assert sites["a"] == sites["r"]
    audit(net, tmp_path, QLinearConv=2, QuantizeLinear=1, DequantizeLinear=1)
    assert plain(net) == []


def test_average_pool_gets_no_planned_integers_and_its_own_scales() -> None:
    """onnxruntime makes an integer pool of what stands between DQ and Q; the plan does not count on it."""
    net = conv_net("a = Conv(x, w1) r = AveragePool<kernel_shape=[2,2]>(a) y = Conv(r, w2)")
    plan = plan_of(net)
    assert [n.op for n in plan.nodes] == ["Conv", "Conv"]
    sites = {s.tensor: s.scale for s in plan.sites}
    assert sites["a"] != sites["r"]
    assert plain(net) == [("r", "unplanned", "AveragePool")]
