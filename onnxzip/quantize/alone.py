"""What each layer costs at the outputs when it alone is quantized.

The plan is cut down to one node that holds weights: its weights, its bias correction and the sites of the tensors that it reads. What comes out
is held against the float model. Errors of layers add up only roughly, for those of several layers may cancel or grow; the order is what counts.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.progress import Observer
from onnxzip.quantize.fit import find_nodes
from onnxzip.quantize.insert import FACTOR, insert
from onnxzip.quantize.schema import PlannedNode, QuantPlan
from onnxzip.records import OutputMetrics, Sensitivity
from onnxzip.runtime import Batch, Session
from onnxzip.validate.reference import Reference

MOST_LAYERS = 64
"""Layers that are looked at; of more, those with the largest weights."""


def layers_alone(
    model: ir.Model, plan: QuantPlan, batches: Sequence[Batch], observer: Observer, *, level: str = "all"
) -> tuple[tuple[Sensitivity, ...], int]:
    """The error of the outputs with one layer quantized, for each that the plan holds weights of.

    Args:
        model: the float model that the plan was made for.
        plan: the plan.
        batches: what to run on.
        observer: told of each layer.
        level: graph optimizations of onnxruntime, as of `Session`.

    Returns:
        One record a layer, in order of the graph, and how many layers were left out.

    Raises:
        ModelError: the model or a candidate does not run.
    """
    nodes = find_nodes(model, plan)
    layers = [p for p in plan.nodes if p.weight]
    chosen = sorted(layers, key=lambda p: -_weight_size(nodes[p.output], p))[:MOST_LAYERS]
    position = {node: i for i, node in enumerate(model.graph.all_nodes())}
    chosen.sort(key=lambda p: position[nodes[p.output]])
    reference = Reference(Session(model, level=level), batches, repeat=False)
    found = []
    with observer.step("quantize layers one by one", len(chosen)) as done:
        for entry in chosen:
            candidate = insert(model, only(plan, entry, nodes[entry.output]))
            worst = _worst(reference.compare(Session(candidate, level=level)))
            name = entry.node or entry.output
            found.append(Sensitivity(node=name, operator=entry.op, output=worst.name, sqnr_db=_sqnr(worst)))
            done()
    return tuple(found), len(layers) - len(chosen)


def only(plan: QuantPlan, entry: PlannedNode, node: ir.Node) -> QuantPlan:
    """The plan with this node alone; what it reads is quantized for no other reader."""
    read = {v.name for v in node.inputs if v is not None}
    sites = (
        dataclasses.replace(s, readers="quantized") for s in plan.sites if s.tensor in read and s.readers != FACTOR
    )
    weights = tuple(w for w in plan.weights if w.initializer == entry.weight)
    return dataclasses.replace(plan, nodes=(entry,), sites=tuple(sites), weights=weights, left=(), notes=())


def _weight_size(node: ir.Node, entry: PlannedNode) -> int:
    tensors = (v.const_value for v in node.inputs if v is not None and v.name == entry.weight)
    return next((t.nbytes for t in tensors if t is not None), 0)


def _worst(outputs: Sequence[OutputMetrics]) -> OutputMetrics:
    return min(outputs, key=_sqnr)


def _sqnr(output: OutputMetrics) -> float:
    return math.inf if output.sqnr_db is None else output.sqnr_db
