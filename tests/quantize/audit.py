"""Quantize a model on seeded data, and read back what onnxruntime made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.calibrate.collect import collect
from onnxzip.model.save import to_proto
from onnxzip.quantize import QuantPlan, insert, make_plan, observe
from onnxzip.runtime import Session
from tests.helpers import numerics

Feed = dict[str, np.ndarray]


def feeds(model: ir.Model, count: int = 3, **sizes: int) -> list[Feed]:
    """Seeded normal batches of 16."""
    return [numerics.feed(model, seed, {"N": 16} | sizes) for seed in range(count)]


def plan_of(
    model: ir.Model, batches: list[Feed] | None = None, *, method: str = "minmax", keep: tuple[str, ...] = ()
) -> QuantPlan:
    """The plan from real statistics."""
    tensors = observe(model, "cpu", keep)
    statistics = collect(model, tensors, batches or feeds(model), threads=1) if tensors else {}
    return make_plan(model, statistics, "cpu", method=method, keep_float=keep)


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


def sqnr(before: ir.Model, after: ir.Model, batch: Feed) -> float:
    """The worst output, in dB, as deployed."""
    expected = Session(before, threads=1).run(batch)
    actual = Session(after, threads=1).run(batch)
    assert list(expected) == list(actual)
    worst = np.inf
    for name, reference in expected.items():
        noise = float(((reference.astype(np.float64) - actual[name]) ** 2).sum())
        worst = min(worst, 10 * np.log10(float((reference.astype(np.float64) ** 2).sum()) / noise) if noise else np.inf)
    return worst
