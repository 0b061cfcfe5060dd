"""What a file says is what every CPU computes: products are not added up in too few bits, on whatever CPU the model comes to run."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.config import Config
from onnxzip.quantize import quantize
from onnxzip.runtime import Session, sums_saturate
from tests.helpers.graphs import model

SHAPES = {"MatMul": (32, 64), "Gemm": (32, 64), "Conv": (8, 16, 8, 8)}


def net(op: str) -> ir.Model:
    """One layer whose weights are all about as large as they can be, and mostly of one sign: pairs of them overflow 16 bits."""
    rng = np.random.default_rng(0)
    if op == "Conv":
        kernel = rng.uniform(0.8, 1, (16, 16, 3, 3)).astype(np.float32)
        return model("agraph (float[N,16,8,8] x) => (float[N,16,6,6] y) { y = Conv(x, w) }", w=kernel)
    weights = rng.uniform(0.8, 1, (64, 32)).astype(np.float32)
    weights[:, 16:] *= np.sign(rng.standard_normal((64, 16))).astype(np.float32)
    bias = {"b": np.ones(32, np.float32)} if op == "Gemm" else {}
    node = f"y = {op}(x, w{', b' * bool(bias)})"
    return model(f"agraph (float[N,64] x) => (float[N,32] y) {{ {node} }}", w=weights, **bias)


def apart(op: str, target: str) -> tuple[float, float]:
    """How far the integer kernels of this CPU are from what the file says, and a step of the output, both relative to the largest output."""
    rng = np.random.default_rng(1)
    data = [{"x": rng.random(SHAPES[op], np.float32)} for _ in range(3)]
    for batch in data:
        batch["x"][:4] = 1
    choice = quantize(net(op), data, Config(target=target))  # type: ignore[arg-type]
    assert choice.model is not None
    assert choice.plan is not None
    deployed, stated = (Session(choice.model, level=n, threads=1).run(data[0])["y"] for n in ("all", "none"))
    largest = float(np.abs(stated).max())
    step = next((s.scale for s in choice.plan.sites if s.tensor == "y"), 0.0)
    return float(np.abs(deployed - stated).max()) / largest, step / largest


@pytest.mark.parametrize("op", list(SHAPES))
def test_integer_kernels_compute_what_the_file_says_failure_31(op: str) -> None:
    """failures.md 31: but for rounding, of float32 and, where the output is quantized, at a tie."""
    error, step = apart(op, "cpu-avx2")
    assert error <= 1e-5 + 1.01 * step
    assert step < 0.01


@pytest.mark.skipif(not sums_saturate(), reason="this CPU adds up in 32 bits")
@pytest.mark.parametrize("op", list(SHAPES))
def test_what_is_made_for_a_cpu_that_adds_up_saturates_here(op: str) -> None:
    """The layers above do tell: for a machine without that limit their weights are left as they are, and are wrong on this one."""
    assert apart(op, "arm64")[0] > 0.1
