"""Bodies of If, Loop and Scan: moving what they hold into the graph around them."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.model.edit import Names, can_replace, new_node, remove, replace
from onnxzip.model.walk import bodies_of


def can_stand_in(node: ir.Node, opset: int) -> bool:
    """Whether other values can take the place of the outputs of `node`, whatever they are (see `stand_in`)."""
    plain = all(o.type is None or isinstance(o.type, ir.TensorType) for o in node.outputs if o.is_graph_output())
    return plain or opset >= 16  # an output may need an Identity, which knew tensors only


def move_out(body: ir.Graph, node: ir.Node, names: Names) -> list[ir.Value]:
    """Put all that a body holds before `node`, which holds it; what were the outputs of the body.

    Names that other graphs use too become new ones: a value of the outer graph must not be named as one of an inner.
    """
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    outputs = list(body.outputs)
    body.outputs.clear()
    for name, value in tuple(body.initializers.items()):
        del body.initializers[name]
        _name_apart(value, names)
        graph.register_initializer(value)
    nodes = list(body)
    body.remove(nodes)
    for value in (o for n in nodes for o in n.outputs if o.name):
        _name_apart(value, names)
    graph.insert_before(node, nodes)
    return outputs


def let_go(body: ir.Graph) -> None:
    """Let a body that goes read nothing any more, so that what it read outside is seen to be unused."""
    for node in body:
        for inner in bodies_of(node):
            let_go(inner)
        for index in range(len(node.inputs)):
            node.replace_input_with(index, None)


def stand_in(node: ir.Node, given: Sequence[ir.Value], names: Names) -> None:
    """Let readers of the outputs of `node` read these values, of its graph or outer ones; it goes, and so do its bodies."""
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    for output, value in zip(node.outputs, given, strict=True):
        if not can_replace(output, value):
            copy = new_node("Identity", [value], names.fresh(value.name or "value"))
            graph.insert_before(node, copy)
            replace(output, copy.outputs[0])
        else:
            replace(output, value)
    remove(node)
    for body in bodies_of(node):
        let_go(body)


def _name_apart(value: ir.Value, names: Names) -> None:
    if value.name and not names.is_unique(value.name):
        value.name = names.fresh(value.name)
