"""What both branches of an If compute from outer values is computed once, before the If.

Exact, cost and errors included: one of both branches runs in any case. Legal case: nodes that are the same (`same`), all
inputs of which are outer values, and whose outputs are outputs of neither branch, or of both at the same places (the If
then gives that many outputs less).
Constants that both branches hold are brought out by `merge_initializers`.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from onnxzip.model.edit import remove, replace
from onnxzip.passes.bodies import keep, move_nodes, rebuild
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.same import node_key


@local("If")
def hoist_common(node: ir.Node, context: Context) -> bool:
    """Move the first pair of nodes that both branches have in common."""
    then, other = (node.attributes[key].as_graph() for key in ("then_branch", "else_branch"))
    found: dict[Hashable, ir.Node] = {}
    for each in then:
        if _reads_outer_values(each, then) and (key := node_key(each)) is not None:
            found.setdefault(key, each)
    for twin in other:
        key = node_key(twin)
        first = found.get(key) if key is not None else None
        if first is None or not _reads_outer_values(twin, other):
            continue
        places = _places(first, then)
        whole = [place for some in places for place in some]
        if places == _places(twin, other) and len(whole) < len(node.outputs) and all(len(p) < 2 for p in places):
            _hoist(node, first, twin, whole, context)
            return True
    return False


def _reads_outer_values(node: ir.Node, body: ir.Graph) -> bool:
    return all(value is None or value.graph is not body for value in node.inputs)


def _places(node: ir.Node, body: ir.Graph) -> list[list[int]]:
    """For each output of the node, which outputs of the body it is."""
    return [[i for i, given in enumerate(body.outputs) if given is output] for output in node.outputs]


def _hoist(node: ir.Node, each: ir.Node, twin: ir.Node, places: list[int], context: Context) -> None:
    then, other = (node.attributes[key].as_graph() for key in ("then_branch", "else_branch"))
    given = {place: each.outputs[i] for i, found in enumerate(_places(each, then)) for place in found}
    kept = [index for index in range(len(node.outputs)) if index not in places]
    keep(then.outputs, kept)
    keep(other.outputs, kept)
    for old, new in zip(twin.outputs, each.outputs, strict=True):
        replace(old, new)
    remove(twin)
    move_nodes([each], then, node, context.names)
    for place in places:
        replace(node.outputs[place], given[place])
    if places:
        rebuild(node, node.inputs, kept, {})
