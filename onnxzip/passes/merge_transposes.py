"""Two Transposes in a row become one: Transpose(Transpose(x, p), q) = Transpose(x, p[q]).

Exact. Legal cases:
1. Both have a `perm`, and the composition is not the identity: the second reads x. The first goes when nobody else reads it.
2. The composition is the identity: readers of the second read x.
Left alone: a first Transpose that others read too, unless case 2 applies (nothing would be gained); a missing `perm`
where the rank is not known.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import scopes


def merge_transposes(model: ir.Model, context: Context) -> Outcome:
    """Compose Transposes that follow each other."""
    changes = 0
    for graph in scopes(model):
        for node in tuple(graph):
            if is_op(node, "Transpose"):
                changes += _merge(node, context)
    return Outcome(changes)


def _merge(second: ir.Node, context: Context) -> int:
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or not is_op(first, "Transpose") or first.inputs[0] is None:
        return 0
    rank = context.shapes.rank(second.outputs[0])
    inner, outer = _perm(first, rank), _perm(second, rank)
    if inner is None or outer is None or len(inner) != len(outer):
        return 0
    composed, source = [inner[axis] for axis in outer], first.inputs[0]
    if composed == sorted(composed) and can_replace(second.outputs[0], source):
        replace(second.outputs[0], source)
        remove(second)
    elif sole_consumer(middle) is second and first.graph is second.graph:
        second.replace_input_with(0, source)
        second.attributes["perm"] = ir.AttrInt64s("perm", composed)
    else:
        return 0
    if not middle.uses() and not middle.is_graph_output():
        remove(first)
    return 1


def _perm(node: ir.Node, rank: int | None) -> list[int] | None:
    perm = node.attributes.get_ints("perm")
    if perm is not None:
        return list(perm)
    return None if rank is None else list(reversed(range(rank)))
