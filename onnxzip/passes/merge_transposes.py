"""Two Transposes in a row become one: Transpose(Transpose(x, p), q) = Transpose(x, p[q]).

Exact. Legal cases:
1. Both have a `perm`, and the composition is not the identity: the second reads x. The first goes when nobody else reads it.
2. The composition is the identity: readers of the second read x.
Left alone: a first Transpose that others read too, unless case 2 applies (nothing would be gained); a missing `perm`
where the rank is not known.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import can_replace, discard, remove, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.local import local


@local("Transpose", since=1)
def merge_transposes(second: ir.Node, context: Context) -> bool:
    """Compose Transposes that follow each other."""
    middle = second.inputs[0]
    first = middle.producer() if middle is not None else None
    if middle is None or first is None or not is_op(first, "Transpose") or first.inputs[0] is None:
        return False
    rank = context.shapes.rank(second.outputs[0])
    inner, outer = _perm(first, rank), _perm(second, rank)
    if inner is None or outer is None or len(inner) != len(outer):
        return False
    composed, source = [inner[axis] for axis in outer], first.inputs[0]
    if composed == sorted(composed) and can_replace(second.outputs[0], source):
        replace(second.outputs[0], source)
        remove(second)
    elif sole_consumer(middle) is second and first.graph is second.graph:
        second.replace_input_with(0, source)
        second.attributes["perm"] = ir.AttrInt64s("perm", composed)
    else:
        return False
    discard([middle])
    return True


def _perm(node: ir.Node, rank: int | None) -> list[int] | None:
    perm = node.attributes.get_ints("perm")
    if perm is not None:
        return list(perm)
    return None if rank is None else list(reversed(range(rank)))
