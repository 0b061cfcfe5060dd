"""Structural verification: is this still a graph that a runtime can load, with the interface it had?"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.signature import Signature, differences, signature
from onnxzip.model.walk import bodies_of, label


def problems(model: ir.Model, expected: Signature) -> tuple[str, ...]:
    """What is wrong with the structure of `model`, one sentence each; empty when nothing is.

    Checked: the signature is `expected`; every value is defined before it is read; names are unique; every
    initializer holds a tensor; no node calls what does not exist.
    """
    found = list(differences(expected, signature(model)))
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        found += _graph_problems(graph, set(), set())
    return tuple(found)


def _graph_problems(graph: ir.Graph, known: set[ir.Value], names: set[str]) -> list[str]:
    """Problems of a graph and its bodies. `known` and `names` hold what outer scopes define; they are left as they were."""
    found: list[str] = []
    own_values: list[ir.Value] = []
    own_names: list[str] = []

    def define(value: ir.Value) -> None:
        known.add(value)
        own_values.append(value)
        if value.name and value.name not in names:
            names.add(value.name)
            own_names.append(value.name)

    for value in (*graph.inputs, *graph.initializers.values()):
        if value.is_initializer() and value.const_value is None:
            found.append(f"initializer {value.name!r} holds no tensor")
        define(value)
    for node in graph:
        found += [
            f"{label(node)} reads {v.name!r}, which is not defined before it"
            for v in node.inputs
            if v is not None and v not in known
        ]
        for body in bodies_of(node):
            found += _graph_problems(body, known, names)
        for output in node.outputs:
            if output.name and output.name in names:
                found.append(f"{label(node)} writes {output.name!r}, a name that is taken")
            define(output)
    found += [f"output {v.name!r} is not produced by anything" for v in graph.outputs if v not in known]
    known.difference_update(own_values)  # bodies beside each other may use the same names
    names.difference_update(own_names)
    return found
