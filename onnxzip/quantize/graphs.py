"""Edits of a graph, or of a body in it, that insertion is made of."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import Names, new_node
from onnxzip.model.walk import is_op
from onnxzip.quantize.tokens import Store


def owner(value: ir.Value) -> ir.Graph:
    """The graph that a planned value belongs to, which is no function."""
    assert isinstance(value.graph, ir.Graph)  # noqa: S101 # for mypy: plans name no values of functions
    return value.graph


def place(value: ir.Value, nodes: list[ir.Node], graph: ir.Graph) -> None:
    """Put nodes that read a value into a graph, behind what gives it, or first where that stands outside."""
    producer = value.producer()
    if producer is not None and producer.graph is graph:
        graph.insert_after(producer, nodes)
    else:
        graph.insert_before(next(iter(graph)), nodes)


def dequantize_again(
    outer: ir.Value, uses: Sequence[tuple[ir.Node, int]], graph: ir.Graph, store: Store, names: Names
) -> None:
    """Let nodes of a body read, instead of what a DQ outside gives, a DQ of their own of the same integers."""
    producer = outer.producer()
    assert producer is not None  # noqa: S101 # for mypy: it is the DQ
    codes, scale, zero = producer.inputs
    assert codes is not None  # noqa: S101 # for mypy
    inputs = [store(hint, c) for hint, v in (("scale", scale), ("zero", zero)) if (c := array(v)) is not None]
    node = new_node("DequantizeLinear", [codes, *inputs], names.fresh("dq"))
    place(codes, [node], graph)
    for reader, index in uses:
        reader.replace_input_with(index, node.outputs[0])


def sweep(graph: ir.Graph) -> None:
    """Drop the constants that nobody reads any more."""
    for node in reversed(graph):
        if is_op(node, "Constant") and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            graph.remove(node, safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph of a planned node, which is none of a function."""
    assert isinstance(node.graph, ir.Graph)  # noqa: S101 # for mypy: plans name no nodes of functions
    return node.graph


def replace_output(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let `new` be the graph output that `old` was, under its name. `old` keeps its readers, under a new name."""
    name, spare = old.name, new.name
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = new
    old.name, new.name = spare, name
    new.type, new.shape = old.type, old.shape


def set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    """Let a node read a value at this place, which may lie behind its last input."""
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
