"""Small models, quantized on seeded data, and what onnxruntime makes of them, read back."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.calibrate.collect import collect
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.model.signature import signature
from onnxzip.quantize import QuantPlan, insert, make_plan, observe
from onnxzip.runtime import Session
from tests.helpers import numerics
from tests.helpers.graphs import model

Feed = dict[str, np.ndarray]


def feeds(net: ir.Model, count: int = 3, **sizes: int) -> list[Feed]:
    """Seeded normal batches of 16."""
    return [numerics.feed(net, seed, {"N": 16} | sizes) for seed in range(count)]


def plan_of(
    model: ir.Model,
    batches: list[Feed] | None = None,
    *,
    method: str = "minmax",
    keep: tuple[str, ...] = (),
    target: str = "cpu",
) -> QuantPlan:
    """The plan from real statistics."""
    tensors = observe(model, target, keep)
    statistics = collect(model, tensors, batches or feeds(model), threads=1) if tensors else {}
    return make_plan(model, statistics, target, method=method, keep_float=keep)


def quantized(model: ir.Model, **options: object) -> ir.Model:
    """Plan and insert; the result is checked by onnx."""
    result = insert(model, plan_of(model, **options))  # type: ignore[arg-type]
    onnx.checker.check_model(to_proto(result), full_check=True)
    return result


def runtime_graph(model: ir.Model, tmp_path: Path) -> onnx.GraphProto:
    """The graph that onnxruntime runs."""
    path = tmp_path / "optimized.onnx"
    Session(model, level="all", threads=1, optimized_to=path)
    return onnx.load(str(path)).graph


def runtime_ops(model: ir.Model, tmp_path: Path) -> Counter[str]:
    """How many nodes of each operator onnxruntime runs."""
    return Counter(n.op_type for n in runtime_graph(model, tmp_path).node)


def weights_dequantized(model: ir.Model, tmp_path: Path) -> list[str]:
    """Constants that onnxruntime dequantizes at every run."""
    graph = runtime_graph(model, tmp_path)
    constants = {t.name for t in graph.initializer}
    return [n.input[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in constants]


@cache
def adds_up() -> bool:
    """Whether this CPU's integer kernels add up without saturation: those without VNNI do not (failure 31)."""
    text = """<ir_version: 8, opset_import: ["" : 18]>
        agraph (uint8[1,64] a) => (int32[1,64] y) { y = MatMulInteger(a, w) }"""
    net = model(text, w=np.full((64, 64), 127, np.int8))
    return bool((Session(net, threads=1).run({"a": np.full((1, 64), 255, np.uint8)})["y"] == 64 * 255 * 127).all())


def deployed(net: ir.Model) -> Session:
    """As it will run; on a CPU that saturates, as the file says, so that a test is about the plan and not about the CPU."""
    return Session(net, level="all" if adds_up() else "none", threads=1)


def sqnr(before: ir.Model, after: ir.Model, batch: Feed) -> float:
    """The worst output, in dB, as deployed."""
    expected, actual = deployed(before).run(batch), deployed(after).run(batch)
    assert list(expected) == list(actual)
    worst = np.inf
    for name, reference in expected.items():
        noise = float(((reference.astype(np.float64) - actual[name]) ** 2).sum())
        worst = min(worst, 10 * np.log10(float((reference.astype(np.float64) ** 2).sum()) / noise) if noise else np.inf)
    return worst


_STATE = {"rng": np.random.default_rng(0)}


def reseed() -> None:
    """Each test draws the same weights, whichever tests ran before it."""
    _STATE["rng"] = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    """Weights that keep the variance of what they multiply."""
    return (_STATE["rng"].standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)


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


def dense(body: str, rank: int = 2, columns: int = 48, **arrays: np.ndarray) -> ir.Model:
    shape = ",".join(["N", "7", "5"][: rank - 1])
    arrays = {"w": normal(32, columns), "b": normal(columns)} | arrays
    return model(
        f"agraph (float[{shape},32] x) => (float[{shape},{columns}] y) {{ {body} }}",
        **{k: v for k, v in arrays.items() if k in body},
    )
