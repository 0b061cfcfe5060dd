"""What nobody reads goes: nodes, initializers, optional outputs, local functions, operator set imports.

Exact. Legal cases:
1. A node of a known domain none of whose outputs is read; in bodies too, and what only it had read.
2. An initializer that no node reads and that is neither input nor output; in bodies too.
3. A function that no node calls.
4. The import of a domain that no node or function uses (the standard domain's import always stays).
5. Trailing inputs that are left out anyway, and trailing optional outputs that nobody reads (a MaxPool without its
   indices is faster); not of BatchNormalization, whose number of outputs said "training" before opset 14, nor of
   Dropout, where runtimes treat the mask specially.
Left alone: graph inputs, and nodes of domains that are not known: they may have effects of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
import onnx_ir as ir

from onnxzip.model.edit import is_read
from onnxzip.model.walk import ONNX_DOMAINS, PURE_DOMAINS, all_nodes, bodies_of, label
from onnxzip.passes.bodies import let_go
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import scopes

_ARITY_MATTERS = frozenset({"BatchNormalization", "Dropout"})


def remove_dead(model: ir.Model, context: Context) -> Outcome:
    """Remove what does not reach an output."""
    notes: list[str] = []
    changes = _dead_nodes(model.graph, model, notes)
    changes += sum(_trim(node, context.opset) for graph in scopes(model) for node in graph)
    changes += sum(_dead_initializers(graph) for graph in scopes(model))
    changes += _dead_functions(model)
    changes += _dead_imports(model)
    return Outcome(changes, tuple(notes))


def _dead_nodes(graph: ir.Graph, model: ir.Model, notes: list[str]) -> int:
    removed = 0
    for node in reversed(graph):
        if any(is_read(o) for o in node.outputs):
            removed += sum(_dead_nodes(body, model, notes) for body in bodies_of(node))
        elif node.domain in PURE_DOMAINS or node.op_identifier() in model.functions:
            for body in bodies_of(node):
                let_go(body)
            graph.remove(node, safe=True)
            removed += 1
        else:
            notes.append(f"{label(node)} is not read, but stays: operators of domain {node.domain!r} may have effects")
    return removed


def _trim(node: ir.Node, opset: int) -> int:
    """Cut off trailing inputs that are left out, and optional outputs that nobody reads; how many went."""
    if node.domain not in ONNX_DOMAINS:
        return 0
    given = max(len(_without_trailing(node.inputs)), _least_inputs(node.op_type, opset))
    cut = max(0, len(node.inputs) - given)
    if cut:
        node.resize_inputs(given)
    if len(node.outputs) < 2 or node.op_type in _ARITY_MATTERS:
        return cut
    optional = _optional_outputs(node.op_type, opset)
    count = len(node.outputs)
    while count > 1 and count - 1 in optional and not is_read(node.outputs[count - 1]):
        count -= 1
    trimmed = len(node.outputs) - count
    node.resize_outputs(count)
    return cut + trimmed


def _without_trailing(inputs: Sequence[ir.Value | None]) -> Sequence[ir.Value | None]:
    count = len(inputs)
    while count and inputs[count - 1] is None:
        count -= 1
    return inputs[:count]


def _schema(op_type: str, opset: int) -> onnx.defs.OpSchema | None:
    if not onnx.defs.has(op_type) or opset < 1:
        return None
    try:
        return onnx.defs.get_schema(op_type, opset)
    except onnx.defs.SchemaError:
        return None


def _least_inputs(op_type: str, opset: int) -> int:
    """How many inputs must be there, if only as empty names."""
    schema = _schema(op_type, opset)
    return 0 if schema is None else int(schema.min_input)


def _optional_outputs(op_type: str, opset: int) -> frozenset[int]:
    schema = _schema(op_type, opset)
    if schema is None:
        return frozenset()
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return frozenset(i for i, o in enumerate(schema.outputs) if o.option == optional)


def _dead_initializers(graph: ir.Graph) -> int:
    dead = [
        name
        for name, value in graph.initializers.items()
        if not value.uses() and not value.is_graph_input() and not value.is_graph_output()
    ]
    for name in dead:
        del graph.initializers[name]
    return len(dead)


def _dead_functions(model: ir.Model) -> int:
    called, pending = set(), list(_calls(model.graph.all_nodes(), model))
    while pending:
        function = pending.pop()
        if function not in called:
            called.add(function)
            pending.extend(_calls(model.functions[function].all_nodes(), model))
    dead = [function for function in model.functions if function not in called]
    for function in dead:
        del model.functions[function]
    return len(dead)


def _calls(nodes: Iterator[ir.Node], model: ir.Model) -> Iterator[ir.OperatorIdentifier]:
    return (node.op_identifier() for node in nodes if node.op_identifier() in model.functions)


def _dead_imports(model: ir.Model) -> int:
    used = {node.domain for node in all_nodes(model)} | {f.domain for f in model.functions.values()}
    used |= {domain for f in model.functions.values() for domain in f.opset_imports}
    dead = [d for d in model.graph.opset_imports if d not in used and d not in ONNX_DOMAINS]
    for domain in dead:
        del model.graph.opset_imports[domain]
    return len(dead)
