"""Which layer holds how many bytes of constants, and which layer of one model is which of another.

A constant belongs to the first node that reads it together with something that is computed from the inputs; nodes that read constants
alone (DequantizeLinear of weights, Transpose, Cast) pass theirs on. So the integers, scales and zero points of quantized weights
belong to the layer that multiplies by them, as the float weights did.

A layer of the second model is a layer of the first one, by the first of these that holds:
 1. it has its name, or its output;
 2. it has its operator and its readers, and nothing else of the second model is it;
 3. it stands next behind it on a path without branches (what was one node became several).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import onnx_ir as ir

from onnxzip.model.walk import all_nodes, graphs_of, is_op
from onnxzip.records import Held

_STEPS = 6
"""How far behind a node its name of old is looked for."""


def by_layer(before: ir.Model, after: ir.Model) -> tuple[Held, ...]:
    """Bytes of constants by layer, those that held most in the first model first."""
    known, lost = _known(before), _lost(before, after)
    names = {node: _name(node) for node in all_nodes(before)}
    operators = {names[n]: n.op_type for n in names}
    bytes_before, bytes_after = defaultdict[str, int](int), defaultdict[str, int](int)
    for node, size in _holders(before):
        bytes_before[names[node]] += size
    for node, size in _holders(after):
        name = _counterpart(node, known, lost)
        operators.setdefault(name, node.op_type)
        bytes_after[name] += size
    return _sorted(bytes_before, bytes_after, operators)


def by_operator(before: ir.Model, after: ir.Model) -> tuple[Held, ...]:
    """Bytes of constants by operator, those that held most in the first model first."""
    first, second = defaultdict[str, int](int), defaultdict[str, int](int)
    for total, model in ((first, before), (second, after)):
        for node, size in _holders(model):
            total[node.op_type] += size
    return _sorted(first, second, {name: name for name in (*first, *second)})


def _sorted(before: dict[str, int], after: dict[str, int], operators: dict[str, str]) -> tuple[Held, ...]:
    rows = (
        Held(name=n, operator=operators[n], before=before.get(n, 0), after=after.get(n, 0))
        for n in dict.fromkeys((*before, *after))
    )
    return tuple(sorted(rows, key=lambda r: (-r.before, -r.after, r.name)))


def _holders(model: ir.Model) -> Iterator[tuple[ir.Node, int]]:
    """The node that a constant belongs to, and the bytes of it. What nobody reads is left out."""
    for graph in graphs_of(model):
        for value in graph.initializers.values():
            if value.const_value is not None and (node := _reader(value)) is not None:
                yield node, value.const_value.nbytes
        for node in graph:
            tensor = _held(node)
            if tensor is not None and (reader := _reader(node.outputs[0])) is not None:
                yield reader, tensor.nbytes


def _held(node: ir.Node) -> ir.TensorProtocol | None:
    attribute = node.attributes.get("value") if is_op(node, "Constant") else None
    return None if attribute is None or attribute.is_ref() else attribute.as_tensor()


def _reader(value: ir.Value) -> ir.Node | None:
    """The first node behind a constant that reads something else too; the last one where none does."""
    node = next((u.node for u in value.uses()), None)
    while node is not None and all(v is None or _is_fixed(v) for v in node.inputs):
        further = next((u.node for o in node.outputs for u in o.uses()), None)
        if further is None:
            break
        node = further
    return node


def _is_fixed(value: ir.Value) -> bool:
    """Whether a value is a constant, or computed from a constant by one or two nodes."""
    for _ in range(3):
        node = value.producer()
        if node is None:
            return value.const_value is not None and not value.is_graph_input()
        if is_op(node, "Constant"):
            return True
        sources = [v for v in node.inputs if v is not None]
        if not sources or any(v.producer() is None and v.const_value is None for v in sources):
            return False
        value = sources[0]
    return False


def _name(node: ir.Node) -> str:
    return node.name or next((o.name for o in node.outputs if o.name), "") or node.op_type


def _known(model: ir.Model) -> dict[str, str]:
    """Names of layers by what identifies them: their own names, and those of their outputs."""
    found: dict[str, str] = {}
    for node in all_nodes(model):
        found |= {f"value {o.name}": _name(node) for o in node.outputs if o.name}
    return found | {f"node {n.name}": n.name for n in all_nodes(model) if n.name}


def _lost(before: ir.Model, after: ir.Model) -> dict[tuple[str, str], str]:
    """Layers of the first model whose names are gone from the second, by operator and reader."""
    kept = _known(after)
    return {
        (node.op_type, _name(use.node)): _name(node)
        for node in all_nodes(before)
        if f"node {node.name}" not in kept and not any(f"value {o.name}" in kept for o in node.outputs)
        for output in node.outputs
        for use in output.uses()
    }


def _counterpart(node: ir.Node, known: dict[str, str], lost: dict[tuple[str, str], str]) -> str:
    here: ir.Node | None = node
    for _ in range(_STEPS):
        if here is None:
            break
        for key in (f"node {here.name}", *(f"value {o.name}" for o in here.outputs)):
            if key in known:
                found = known[key]
                return found if here is node else lost.get((node.op_type, found), found)
        readers = {u.node for o in here.outputs for u in o.uses()}
        here = readers.pop() if len(readers) == 1 else None
    return _name(node)
