"""Chains of nodes that only move elements become the one operator that does the same.

The chain is run on the positions of the elements (`index_map`), and what comes out is compared with what one Reshape,
Transpose, Slice or Gather would give (`move_forms`): Reshape-Transpose-Reshape and a Gather of one half, which is how a
channel shuffle is exported, is a Slice of every second channel. Exact. Legal cases:
1. A chain, each node of which is the only reader of the one before: it becomes one node, or none.
2. A chain whose result several such nodes read (Gather, Slice, Split, ...): all of them read the source, each as one node,
   and the chain goes. As many Slices as there were nodes are welcome in the place of a Split: each element moves once.
Left alone: what is no single operator; axes that are symbolic and would be cut; arrays of more than a million elements;
chains of Reshapes, Squeezes and Unsqueezes only (`merge_reshapes`) and of Transposes only (`merge_transposes`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, can_replace, discard, replace, sole_consumer
from onnxzip.model.walk import is_op
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed
from onnxzip.passes.index_map import MOVES, Trials, moved, sources
from onnxzip.passes.local import local
from onnxzip.passes.move_forms import Form, Keep, Reshape, Slice, Take, Transpose, form_of
from onnxzip.passes.size import compact, initializer_bytes, node_bytes

_DEEPEST = 6
"""Nodes of a chain, at most."""

_SHAPE_ONLY = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})


@dataclass(frozen=True)
class _Chain:
    """From `source` through `nodes`, each read by the next alone, to what the last one gives."""

    source: ir.Value
    given: Trials
    nodes: tuple[ir.Node, ...]
    result: Trials


@local("Reshape", "Transpose", "Slice", "Gather", "Split", "Squeeze", "Unsqueeze", "Flatten", since=7)
def merge_moves(node: ir.Node, context: Context) -> bool:
    """Make one operator of a chain that ends in `node`, or of the chain before it and before its neighbours."""
    value = node.inputs[0]
    if value is None or node.graph is None:
        return False
    ends = tuple(dict.fromkeys(use.node for use in value.uses()))
    if value.is_graph_output() or any(
        not is_op(n, *MOVES) or n.graph is not node.graph or n.inputs[0] is not value for n in ends
    ):
        return False
    return any(_merge(chain, ends, context) for chain in _chains(value, node.graph, context))


def _chains(value: ir.Value, graph: ir.Graph | ir.Function, context: Context) -> list[_Chain]:
    """Chains that end in `value`, the longest first."""
    nodes, found, current = list[ir.Node](), list[_Chain](), value
    for _ in range(_DEEPEST):
        node = current.producer()
        if node is None or not is_op(node, *MOVES) or node.op_type == "Split" or node.graph is not graph:
            break
        if node.inputs[0] is None or (current is not value and sole_consumer(current) is not nodes[0]):
            break
        nodes.insert(0, node)
        current = node.inputs[0]
        given = sources(context.shapes.of(current))
        result = given
        for each in nodes:
            result = None if result is None else moved(each.outputs[0], result, context.opset)
        if given is not None and result is not None:
            found.insert(0, _Chain(current, given, tuple(nodes), result))
    return found


def _merge(chain: _Chain, ends: Sequence[ir.Node], context: Context) -> bool:
    outputs = [o for end in ends for o in end.outputs if o.uses() or o.is_graph_output()]
    before = len(chain.nodes) + len(ends)
    if _is_others_task([*chain.nodes, *ends]) or len(outputs) > before:
        return False
    forms = list[Form]()
    for output in outputs:
        result = moved(output, chain.result, context.opset)
        form = form_of(chain.given, result) if result is not None else None
        if form is None or (isinstance(form, Keep) and not can_replace(output, chain.source)):
            return False
        if isinstance(form, Slice) and context.opset < 10 and any(step != 1 for step in form.steps):
            return False
        forms.append(form)
    parts = any(is_op(end, "Split") for end in ends) and all(isinstance(form, Slice) for form in forms)
    if len(outputs) == before and not parts:
        return False
    built = [_build(form, context.opset) for form in forms]
    constants = {numbers for b in built for numbers in b.constants}
    added = sum(b.bytes() for b in built) + sum(initializer_bytes(compact(_int64(c)), "moves") + 8 for c in constants)
    if not context.affords(added - bytes_freed([*chain.nodes, *ends])):
        return False
    _put_in(built, outputs, chain.source, ends[0], context)
    discard(o for end in ends for o in end.outputs)
    return True


def _is_others_task(nodes: Sequence[ir.Node]) -> bool:
    kinds = {n.op_type for n in nodes}
    return kinds <= _SHAPE_ONLY or kinds == {"Transpose"}


@dataclass(frozen=True)
class _Built:
    """A node on its way into the graph: operator (none: the source itself), attributes, integers after the first input."""

    op_type: str = ""
    attributes: Mapping[str, int | Sequence[int]] = field(default_factory=dict)
    constants: tuple[tuple[int, ...], ...] = ()

    def bytes(self) -> int:
        """What it adds to the file without its constants."""
        return 40 + node_bytes(ir.node(self.op_type, [], attributes=self.attributes)) if self.op_type else 0


def _build(form: Form, opset: int) -> _Built:
    if isinstance(form, Reshape):
        return _Built("Reshape", constants=(form.target,))
    if isinstance(form, Transpose):
        return _Built("Transpose", {"perm": form.perm})
    if isinstance(form, Take):
        return _Built("Gather", {"axis": form.axis}, (form.indices,))
    if isinstance(form, Keep):
        return _Built()
    if opset < 10:
        return _Built("Slice", {"axes": form.axes, "starts": form.starts, "ends": form.ends})
    stepping = (form.steps,) if any(step != 1 for step in form.steps) else ()
    return _Built("Slice", constants=(form.starts, form.ends, form.axes, *stepping))


def _put_in(
    built: Sequence[_Built], outputs: Sequence[ir.Value], source: ir.Value, place: ir.Node, context: Context
) -> None:
    """Put the nodes before `place`, and let the readers of `outputs` read them. Equal constants are stored once."""
    graph, constants = place.graph, dict[tuple[int, ...], ir.Value]()
    if not isinstance(graph, ir.Graph):
        raise TypeError("local passes do not run in functions")
    for one, output in zip(built, outputs, strict=True):
        if not one.op_type:
            replace(output, source)
            continue
        for numbers in one.constants:
            if numbers not in constants:
                constants[numbers] = add_constant(graph, compact(_int64(numbers)), context.names.fresh("moves"))
        node = ir.node(one.op_type, [source, *(constants[c] for c in one.constants)], attributes=one.attributes)
        node.outputs[0].name = context.names.fresh("moved")
        graph.insert_before(place, [node])
        replace(output, node.outputs[0])


def _int64(numbers: Sequence[int]) -> np.ndarray:
    return np.array(numbers, np.int64)
