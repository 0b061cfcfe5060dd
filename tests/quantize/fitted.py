"""What is seen of small models on seeded data, and plans that are fitted to it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.progress import SILENT
from onnxzip.quantize import QuantPlan, make_plan, observe
from onnxzip.quantize.evidence import Evidence, look
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.refine import refine
from onnxzip.quantize.targets import target_row
from onnxzip.quantize.weights import bias_of, integer_weights

Feed = dict[str, np.ndarray]


def correlated(columns: int, *lead: int, count: int = 4, seed: int = 0, mean: float = 0.5) -> list[Feed]:
    """Batches x [*lead, columns] whose channels go together, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((columns // 4, columns))
    middle = mean * rng.standard_normal(columns)
    found = []
    for _ in range(count):
        x = rng.standard_normal((*lead, columns // 4)) @ mixing + 0.2 * rng.standard_normal((*lead, columns)) + middle
        found.append({"x": x.astype(np.float32)})
    return found


def images(channels: int, count: int = 3, seed: int = 0) -> list[Feed]:
    """The same as batches of 16 images of 8 x 8."""
    return [{"x": np.moveaxis(f["x"], -1, 1).copy()} for f in correlated(channels, 16, 8, 8, count=count, seed=seed)]


def evidence(net: ir.Model, data: list[Feed], target: str = "cpu") -> Evidence:
    """All that int8 looks at."""
    return look(net, target_row(target), {}, observe(net, target), data, effort="full", observer=SILENT)


def plans(
    net: ir.Model, data: list[Feed], target: str = "cpu", method: str = "minmax"
) -> tuple[QuantPlan, QuantPlan, Evidence]:
    """The plan with the nearest integers, the one with fitted ones, and what was seen."""
    seen = evidence(net, data, target)
    plan = make_plan(net, seen.statistics, target, method=method)
    return plan, refine(net, plan, target_row(target), seen.moments), seen


def weight_and_bias(net: ir.Model, plan: QuantPlan, output: str) -> tuple[np.ndarray, np.ndarray | None]:
    """What a layer computes with: its weights as the integers stand for them, and its bias in float."""
    nodes = find_nodes(net, plan)
    planned = next(p for p in plan.nodes if p.output == output)
    weight = integer_weights(plan, nodes, target_row(plan.target))[planned.weight][1]
    shape = [1] * weight.codes.ndim
    shape[weight.entry.axis] = -1
    return weight.codes * weight.scales.reshape(shape), bias_of(nodes[output], planned, plan)
