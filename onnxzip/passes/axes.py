"""The axes that a node names: an attribute in old opsets, an input in new ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, new_node
from onnxzip.passes.context import Context
from onnxzip.passes.size import compact

_INPUT_SINCE = {"Squeeze": 13, "Unsqueeze": 13, "ReduceSum": 13}
"""From this opset on the axes are an input; of all other reductions from 18 on."""


def axes_of(node: ir.Node, context: Context) -> list[int] | None:
    """The axes that a Squeeze, Unsqueeze or reduction names, as they are written; None when they are left out or computed."""
    if not _are_input(node.op_type, context):
        given = node.attributes.get_ints("axes")
        return None if given is None else list(given)
    found = array(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if found is None else [int(a) for a in found.reshape(-1)]


def leaves_out_axes(node: ir.Node, context: Context) -> bool:
    """Whether no axes are named at all (then an operator means all, or those of size 1)."""
    if not _are_input(node.op_type, context):
        return "axes" not in node.attributes
    return len(node.inputs) < 2 or node.inputs[1] is None


def with_axes(
    op_type: str,
    source: ir.Value,
    axes: list[int],
    output: str,
    graph: ir.Graph,
    context: Context,
    keepdims: int | None = None,
) -> ir.Node:
    """A new node of this operator that names these axes, not yet in the graph; a constant for them is, where it takes one."""
    attributes: dict[str, Any] = {} if keepdims is None else {"keepdims": keepdims}
    if not _are_input(op_type, context):
        return new_node(op_type, [source], output, axes=axes, **attributes)
    constant = add_constant(graph, compact(np.asarray(axes, np.int64)), context.names.fresh(f"{output}_axes"))
    return new_node(op_type, [source, constant], output, **attributes)


def _are_input(op_type: str, context: Context) -> bool:
    return context.opset >= _INPUT_SINCE.get(op_type, 18)
