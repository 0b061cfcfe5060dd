"""Walking a model: every graph, every node, bodies and functions included, and names for messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

ONNX_DOMAINS = frozenset({"", "ai.onnx"})

PURE_DOMAINS = ONNX_DOMAINS | {"ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training"}
"""Domains whose operators have no effect but their outputs."""


def graphs_of(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, then every If, Loop and Scan body below it, then those of the local functions."""
    yield model.graph
    yield from model.graph.subgraphs()
    for function in model.functions.values():
        yield function.graph
        yield from function.subgraphs()


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of every graph of `graphs_of`, each once."""
    yield from model.graph.all_nodes()
    for function in model.functions.values():
        yield from function.all_nodes()


def count_nodes(model: ir.Model) -> int:
    """How many nodes there are, bodies and functions included."""
    return sum(1 for _ in all_nodes(model))


def bodies_of(node: ir.Node) -> tuple[ir.Graph, ...]:
    """The graphs that a node holds as attributes (If branches, Loop and Scan bodies)."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return tuple(found)


def is_op(node: ir.Node | None, *op_types: str) -> bool:
    """Whether `node` is one of these operators of the standard domain."""
    return node is not None and node.op_type in op_types and node.domain in ONNX_DOMAINS


def label(node: ir.Node) -> str:
    """How a message names a node: operator and name, or the first output where the node has no name.

    >>> label(ir.node("Relu", [ir.val("x")], name="act"))
    "Relu 'act'"
    """
    name = node.name or next((o.name for o in node.outputs if o.name), "")
    return f"{node.op_type} {name!r}"


def operators(model: ir.Model) -> dict[str, int]:
    """How many nodes of each operator, bodies and functions included, most frequent first."""
    counts = Counter(f"{n.domain}.{n.op_type}".lstrip(".") for n in all_nodes(model))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
