"""What the names in a plan stand for in a model, or that the two do not fit. Names of bodies count too; functions are left alone."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.errors import UsageError
from onnxzip.quantize.schema import QuantPlan


def find_nodes(model: ir.Model, plan: QuantPlan) -> dict[str, ir.Node]:
    """The planned nodes by output.

    Raises:
        UsageError: one is not there, or is another operator.
    """
    by_output = {o.name: n for n in model.graph.all_nodes() for o in n.outputs if o.name}
    found: dict[str, ir.Node] = {}
    for entry in plan.nodes:
        node = by_output.get(entry.output)
        if node is None or node.op_type != entry.op:
            what = "there is none" if node is None else f"there it is {node.op_type}"
            raise UsageError(
                f"the plan does not fit the model: {entry.op} {entry.node!r} with output {entry.output!r} is planned, {what}. Make a new plan for this model."
            )
        found[entry.output] = node
    return found


def find_sites(model: ir.Model, plan: QuantPlan) -> dict[str, ir.Value]:
    """The quantized values by name.

    Raises:
        UsageError: one is not there.
    """
    values: dict[str, ir.Value] = {}
    for graph in (*model.graph.subgraphs(), model.graph):
        known: Iterable[ir.Value]
        known = (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))
        values |= {v.name: v for v in known if v.name}
    for site in plan.sites:
        if site.tensor not in values:
            raise UsageError(
                f"the plan does not fit the model: tensor {site.tensor!r} is planned, there is none. Make a new plan for this model."
            )
    return {s.tensor: values[s.tensor] for s in plan.sites}
