"""An If whose branch is known becomes the nodes of that branch.

Exact, errors included. Legal cases:
1. The condition is constant, or follows from sizes and ranks that are known (`known`).
2. "If axis a of x is 1 long: Squeeze(x, a), else x" (what exporters make of `squeeze`), where everything that could
   follow on x itself must fail for its number of axes (`ranks`): the Squeeze. It fails as well when the axis is longer.
3. Both branches compute the same: the first.
The branch moves into the graph around the If, its constants too; names that are taken become new ones.
Left alone: an output of the graph that is a sequence or optional and would need an Identity that its opset does not have.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.walk import is_op
from onnxzip.passes.bodies import can_stand_in, move_out, stand_in
from onnxzip.passes.context import Context
from onnxzip.passes.known import decided
from onnxzip.passes.local import local
from onnxzip.passes.ranks import must_fail
from onnxzip.passes.same import same_outputs


@local("If", since=1)
def resolve_ifs(node: ir.Node, context: Context) -> bool:
    """Move the branch that is taken out of the If."""
    then, other = (node.attributes[key].as_graph() for key in ("then_branch", "else_branch"))
    taken: ir.Graph | None = None
    condition = decided(node.inputs[0], context)
    if condition is not None:  # case 1
        taken = then if condition else other
    elif _is_squeeze(node, then, other, context) or same_outputs(then, other):  # cases 2 and 3
        taken = then
    if taken is None or not can_stand_in(node, context.opset):
        return False
    stand_in(node, move_out(taken, node, context.names), context.names)
    return True


def _is_squeeze(node: ir.Node, then: ir.Graph, other: ir.Graph, context: Context) -> bool:
    """Case 2."""
    if len(then.outputs) != 1 or len(node.outputs) != 1:
        return False
    squeeze, kept = then.outputs[0].producer(), other.outputs[0].producer()
    if squeeze is None or kept is None or not is_op(squeeze, "Squeeze") or not is_op(kept, "Identity"):
        return False
    source = squeeze.inputs[0]
    rank = context.shapes.rank(source)
    if source is None or rank is None or kept.inputs[0] is not source or len(then) != 1 or len(other) != 1:
        return False
    axis = _squeezed_axis(squeeze, rank, context)
    if axis is None or _tested_axis(node.inputs[0], source, rank) != axis:
        return False
    return must_fail(node.outputs[0], rank, node, context)


def _squeezed_axis(node: ir.Node, rank: int, context: Context) -> int | None:
    if context.opset < 13:
        axes = list(node.attributes.get_ints("axes") or ())
    else:
        found = array(node.inputs[1]) if len(node.inputs) > 1 else None
        axes = [] if found is None else [int(a) for a in found.reshape(-1)]
    return axes[0] % rank if len(axes) == 1 and -rank <= axes[0] < rank else None


def _tested_axis(condition: ir.Value | None, source: ir.Value, rank: int) -> int | None:
    """The axis of `source` that the condition compares with 1."""
    equal = condition.producer() if condition is not None else None
    if equal is None or not is_op(equal, "Equal"):
        return None
    for size, one in (tuple(equal.inputs), tuple(equal.inputs)[::-1]):
        gather, number = size.producer() if size is not None else None, array(one)
        if gather is None or not is_op(gather, "Gather") or number is None or number.size != 1 or number.item() != 1:
            continue
        shape, index = gather.inputs[0].producer() if gather.inputs[0] is not None else None, array(gather.inputs[1])
        if shape is None or not is_op(shape, "Shape") or shape.attributes or shape.inputs[0] is not source:
            continue
        if index is not None and index.size == 1 and -rank <= index.item() < rank:
            return int(index.item()) % rank
    return None
