"""Nodes that compute in float with weights that are stored as integers, beside others that compute in integers.

It saves the bytes and costs the error of the weights only. A MatMul becomes MatMulNBits in onnxruntime; a Conv gets float weights when the model is loaded (`at_load`);
what else has no such kernel dequantizes its weights at every run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import onnx_ir as ir

from onnxzip.quantize.candidates import storable
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Weight
from onnxzip.quantize.selectors import name_of


def with_stored(model: ir.Model, plan: QuantPlan, row: TargetRow, nodes: Collection[ir.Node]) -> QuantPlan:
    """The plan, with these nodes in role "stored" where their weights can be; they must be float in the plan."""
    if not nodes:
        return plan
    planned = {p.output for p in plan.nodes}
    taken = {w.initializer for w in plan.weights}
    new, weights = dict[str, PlannedNode](), dict[str, Weight]()
    for kernel in storable(model, row, {}, data=False)[0]:
        output, name = kernel.node.outputs[0].name or "", kernel.weight.name or ""
        if kernel.node not in nodes or kernel.role == "table" or output in planned or name in taken:
            continue
        new[output] = PlannedNode(
            node=name_of(kernel.node), op=kernel.node.op_type, output=output, role="stored", weight=name
        )
        weights[name] = Weight(initializer=name, dtype=row.weight, axis=kernel.axis, zero_points=False)
    order = {o.name: i for i, node in enumerate(model.graph.all_nodes()) for o in node.outputs}
    every = sorted((*plan.nodes, *new.values()), key=lambda p: order[p.output])
    left = tuple(n for n in plan.left if n.output not in new)
    return dataclasses.replace(plan, nodes=tuple(every), weights=(*plan.weights, *weights.values()), left=left)
