"""Transposes and axes of size 1 move through what does not care for the order of axes, where they meet and vanish.

A region of nodes (element by element, Concat, Split, Slice, Pad, reductions, Softmax: see `view_rules`) is computed on
views of its tensors: f(T(x)) = T(f'(x)), for a view T (Transpose, Squeeze, Unsqueeze, or a Reshape that does no more; see
`views`). Exact, but that a reduction may add up in another order. Legal cases; the region grows
1. down from a view node: its readers compute on the input of it,
2. up from a view node: what gives its input computes on the output of it.
What stands at the border of the region then pays or wins: view nodes join with the one that the region needs or leaves;
constants are stored in the new form; anything else gets a view node of its own. The whole is done when fewer nodes
are left, no more elements are moved and no bytes are added, so that it ends. Nodes whose part in it does not pay are
left out (in regions of up to `_PEELED` nodes).
Left alone: what would put a view node between a DequantizeLinear or QuantizeLinear and the operator it belongs to;
a region has a bounded number of nodes,
so that the time grows with the graph; strings.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.regions import Region, grow
from onnxzip.passes.view_edit import carry_out
from onnxzip.passes.view_plan import Plan, plan
from onnxzip.passes.views import VIEW_OPS, inverse, is_sound, view_of


@local(*VIEW_OPS)
def move_views(node: ir.Node, context: Context) -> bool:
    """Compute what is around a view node on the other side of it."""
    view, source, result = view_of(node, context), node.inputs[0], node.outputs[0]
    shape = context.shapes.of(source)
    if view is None or source is None or shape is None or not is_sound(view, shape):
        return False
    down = grow(result, inverse(view, len(shape)), node, context)  # case 1
    if _done(down, node, context):
        return True
    up = grow(source, view, node, context)  # case 2
    return _done(up, node, context)


def _done(region: Region, node: ir.Node, context: Context) -> bool:
    """Do it with those nodes of the region for which it pays."""
    best = plan(region, context) if region.moved else None
    if best is None:
        return False
    while len(region.moved) <= _PEELED and (smaller := _peeled(region, best, context)) is not None:
        best, region = smaller, smaller.region
    if not best.pays or not isinstance(node.graph, ir.Graph):
        return False
    carry_out(best, node.graph, context)
    return True


def _peeled(region: Region, whole: Plan, context: Context) -> Plan | None:
    """The plan without nodes that do not pay for themselves, or None when all of them do."""
    best = whole
    for member in reversed(region.moved):
        smaller = plan(best.region.without(member), context) if len(best.region.moved) > 1 else None
        if smaller is not None and smaller.cost <= best.cost:
            best = smaller
    return None if best is whole else best


_PEELED = 48
"""Larger regions are taken as a whole or not at all."""
