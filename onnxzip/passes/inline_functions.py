"""Calls of the model's own functions are replaced by what the functions do; functions that nobody calls any more go.

Exact. Legal cases:
1. The function imports the operator sets that the model imports, or others that do not contradict them.
2. It imports another version of a set, but every operator it uses is the same in both versions.
Left, with a note: functions that call themselves, that use operators which differ between both versions, or that
are called with a graph as attribute. What they call, and what surrounds them, is still cleaned.
The inlining itself is that of `onnx_ir`; this pass brings functions and calls into the form it expects, and gives
values in bodies names of their own afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onnxzip.model.edit import Names, new_node
from onnxzip.model.walk import ONNX_DOMAINS, all_nodes, bodies_of
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.scope import scopes

_INVENTED = re.compile(r"node(_\d+)?")
"""Names that `onnx_ir` gives to nameless nodes when it inlines them."""


def inline_functions(model: ir.Model, context: Context) -> Outcome:
    """Inline every function that can be inlined, in the main graph, in bodies and in other functions."""
    if not model.functions:
        return Outcome()
    refused = _refused(model)
    calls = sum(1 for n in all_nodes(model) if n.op_identifier() in model.functions.keys() - refused)
    notes = tuple(f"function {_name(f)} stays: {why}" for f, why in refused.items())
    if not calls:
        return Outcome(0, notes)
    for function in model.functions.values():
        if function.identifier() not in refused:
            _separate_outputs(function)
    _complete_calls(model)
    named = {n.name for n in all_nodes(model)}
    InlinePass(criteria=lambda function: function.identifier() not in refused)(model)
    for node in all_nodes(model):
        if node.name and node.name not in named and _INVENTED.fullmatch(node.name):
            node.name = ""  # it had none; names cost bytes
    _name_apart(model)
    return Outcome(calls, notes)


def _refused(model: ir.Model) -> dict[ir.OperatorIdentifier, str]:
    """The functions that cannot be inlined, and why. Those that can are brought to the model's operator sets."""
    recursive = _recursive(model)
    if recursive:
        return dict.fromkeys(model.functions, f"{_name(recursive[0])} calls itself")
    refused: dict[ir.OperatorIdentifier, str] = {}
    imports = dict(model.graph.opset_imports)
    for node in all_nodes(model):
        if node.op_identifier() in model.functions and bodies_of(node):
            refused[node.op_identifier()] = "it is called with a graph as attribute"
    for identifier, function in model.functions.items():
        clash = next((n for n in function.all_nodes() if not _means_the_same(n, function, imports, model)), None)
        if clash is not None:
            refused[identifier] = (
                f"its {clash.op_type} is of version {function.opset_imports.get(clash.domain)} of the operator set, "
                f"the model's of version {imports.get(clash.domain)}"
            )
        if identifier not in refused:
            for domain in tuple(function.opset_imports):
                function.opset_imports[domain] = imports.setdefault(domain, function.opset_imports[domain])
    return refused


def _means_the_same(node: ir.Node, function: ir.Function, imports: dict[str, int], model: ir.Model) -> bool:
    domain = node.domain
    here, there = function.opset_imports.get(domain), imports.get(domain)
    if node.op_identifier() in model.functions or there is None or here == there:
        return True
    if domain not in ONNX_DOMAINS or here is None:
        return False
    try:
        versions = [onnx.defs.get_schema(node.op_type, v).since_version for v in (here, there)]
    except onnx.defs.SchemaError:
        return False
    return versions[0] == versions[1]


def _recursive(model: ir.Model) -> list[ir.OperatorIdentifier]:
    """Functions that reach themselves by calls (the specification forbids it)."""
    calls = {
        identifier: {n.op_identifier() for n in function.all_nodes()} & model.functions.keys()
        for identifier, function in model.functions.items()
    }
    changed = True
    while changed:  # take away, again and again, those that call nothing
        ready = {f for f, called in calls.items() if not called}
        calls = {f: called - ready for f, called in calls.items() if f not in ready}
        changed = bool(ready)
    return sorted(calls)


def _separate_outputs(function: ir.Function) -> None:
    """Every output of a function gets a node of its own, also where it is an input or another output.

    Inlining gives each output the name of the value that the call wrote: one value cannot take two.
    """
    taken: set[ir.Value] = set(function.inputs)
    for index, output in enumerate(function.outputs):
        if output in taken or output.producer() is None:
            copy = new_node("Identity", [output], f"{output.name}_out_{index}")
            function.append(copy)
            function.outputs[index] = copy.outputs[0]
            function.opset_imports.setdefault("", 1)
        taken.add(function.outputs[index])


def _complete_calls(model: ir.Model) -> None:
    """A call may leave out outputs; the inliner wants them all, under names of their own."""
    names = Names(model)
    for node in all_nodes(model):
        function = model.functions.get(node.op_identifier())
        if function is None:
            continue
        node.resize_outputs(len(function.outputs))
        for output in node.outputs:
            if not output.name:
                output.name = names.fresh(f"{node.op_type}_unused")


def _name_apart(model: ir.Model) -> None:
    """Give every value in a body a name that no other value has. The inliner copies bodies with the names they had."""
    names, seen = Names(model), set()
    for graph in scopes(model):
        for value in tuple(_values(graph)):
            if value.name in seen and graph is not model.graph:
                if value.is_initializer():
                    graph.initializers.pop(value.name or "")
                    value.name = names.fresh(value.name or "value")
                    graph.register_initializer(value)
                else:
                    value.name = names.fresh(value.name or "value")
            seen.add(value.name)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from (v for v in graph.initializers.values() if not v.is_graph_input())
    yield from (o for n in graph for o in n.outputs if o.name)


def _name(identifier: ir.OperatorIdentifier) -> str:
    domain, name, overload = identifier
    return f"{domain}::{name}" + (f":{overload}" if overload else "")
