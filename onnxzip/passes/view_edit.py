"""Moving a region of nodes to views of their tensors, as planned (see `move_views`)."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import add_constant, discard, replace
from onnxzip.passes.context import Context
from onnxzip.passes.size import compact
from onnxzip.passes.view_plan import Need, Plan, shape_in
from onnxzip.passes.view_rules import Moved
from onnxzip.passes.views import Shape, View, array_view, is_identity, realise


def carry_out(plan: Plan, graph: ir.Graph, context: Context) -> None:
    """Rewrite the graph."""
    region = plan.region
    needs = dict.fromkeys([*plan.feeds.values(), *plan.exits.values(), *plan.kept.values()])
    shapes = {value: shape_in(value, region, context) or () for value, _ in needs}
    changed = [v for v, view in region.views.items() if not is_identity(view, context.shapes.of(v) or ())]
    borrowed = {v: [use for use in v.uses() if use.node not in region.moved] for v in plan.kept}
    dropped = [v for node in region.moved for v in node.inputs] + [node.outputs[0] for node in plan.removed]
    names = {value: value.name or "" for value in changed}
    for value in changed:
        value.name, value.shape = context.names.fresh(names[value]), None
    made = {need: plan.present.get(need) or _made(need, shapes[need[0]], graph, context) for need in needs}
    for node, moved in region.moved.items():
        _move(node, moved, plan, made, graph, context)
    for value, need in plan.kept.items():
        _give_back(value, made[need], names[value], [(u.node, u.idx) for u in borrowed[value]], plan)
    for result, need in plan.exits.items():
        replace(result, made[need])
    discard(dropped)


def _made(need: Need, shape: Shape, graph: ir.Graph, context: Context) -> ir.Value:
    return realise(need[1], need[0], shape, graph, context, need[0].name or "view")


def _move(
    node: ir.Node, moved: Moved, plan: Plan, made: Mapping[Need, ir.Value], graph: ir.Graph, context: Context
) -> None:
    """Let one node of the region read views, and change what names axes."""
    for index, view in enumerate(moved.inputs):
        value = node.inputs[index]
        if value is None or view is None or value in plan.region.views:
            continue
        if (value, view) in plan.feeds:
            node.replace_input_with(index, made[plan.feeds[(value, view)]])
        else:
            node.replace_input_with(index, _stored(value, view, graph, context))
    for index, content in moved.constants.items():
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, add_constant(graph, compact(content), context.names.fresh("axes")))
    for name, setting in moved.attributes.items():
        made_of = ir.AttrInt64(name, setting) if isinstance(setting, int) else ir.AttrInt64s(name, setting)
        node.attributes[name] = made_of


def _stored(value: ir.Value, view: View, graph: ir.Graph, context: Context) -> ir.Value:
    """A constant in another view."""
    tensor = constant(value)
    if tensor is None:
        raise ValueError(f"{value.name!r} is not constant")
    if is_identity(view, tuple(tensor.shape.numpy())):
        return value
    name = context.names.fresh(value.name or "constant")
    return add_constant(graph, ir.tensor(array_view(tensor.numpy(), view), dtype=tensor.dtype, name=name), name)


def _give_back(value: ir.Value, restored: ir.Value, name: str, uses: list[tuple[ir.Node, int]], plan: Plan) -> None:
    """Let all others read what the value was, under the name that it had when it is an output."""
    if value.is_graph_output():
        outputs = value.graph.outputs if isinstance(value.graph, ir.Graph) else []
        index = next(i for i, o in enumerate(outputs) if o is value)
        outputs[index] = restored
        restored.name = name
    for node, index in uses:
        if node not in plan.removed:
            node.replace_input_with(index, restored)
