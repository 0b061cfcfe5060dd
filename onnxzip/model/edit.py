"""Safe edits of a graph: fresh names, new constants, redirecting uses while the interface keeps its names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from onnxzip.model.walk import PURE_DOMAINS, bodies_of, graphs_of


class Names:
    """Names that no value of the model has yet, bodies and functions included."""

    def __init__(self, model: ir.Model) -> None:
        self._used: Counter[str] = Counter()
        self._counts: dict[str, int] = {}  # where to go on: a hint may be asked for many thousand times
        for graph in graphs_of(model):
            values = {*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs)}
            self._used.update(v.name for v in values if v.name)

    def fresh(self, hint: str) -> str:
        """`hint`, or `hint` with a number where it is taken. The same graph gives the same names."""
        name, count = hint, self._counts.get(hint, 1)
        while name in self._used:
            name, count = f"{hint}_{count}", count + 1
        self._counts[hint] = count
        self._used[name] += 1
        return name

    def is_unique(self, name: str) -> bool:
        """Whether at most one value of the model has this name. Bodies beside each other may use the same ones."""
        return self._used[name] < 2


def add_constant(graph: ir.Graph, content: np.ndarray | ir.TensorProtocol, name: str) -> ir.Value:
    """Register a new initializer. `name` must be fresh (see `Names`). Arrays are not copied."""
    tensor = ir.Tensor(content, name=name) if isinstance(content, np.ndarray) else content
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy()), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def new_node(
    op_type: str,
    inputs: Iterable[ir.Value | None],
    output: str,
    *,
    domain: str = "",
    name: str = "",
    **attributes: ir.Attr | int | float | str | list[int],
) -> ir.Node:
    """A node with one output of the given (fresh) name, not yet in a graph."""
    node = ir.node(op_type, list(inputs), attributes=attributes, domain=domain, name=name)
    node.outputs[0].name = output
    return node


def can_replace(old: ir.Value, new: ir.Value) -> bool:
    """Whether `replace` would succeed: False where `old` is a graph output and `new` cannot take over its name."""
    if not old.is_graph_output():
        return True
    if new.producer() is None or new.is_graph_output() or new.graph is not old.graph:
        return False  # inputs, constants, outer values and other outputs keep their own name
    return sum(o is old for o in _graph(old).outputs) == 1


def replace(old: ir.Value, new: ir.Value) -> None:
    """Let every reader of `old` read `new`, in bodies too; where `old` is a graph output, `new` takes its place and name.

    Raises:
        ValueError: see `can_replace`.
    """
    if not can_replace(old, new):
        raise ValueError(f"{old.name!r} is a graph output that {new.name!r} cannot stand in for")
    if old.is_graph_output():
        name, outputs = old.name, _graph(old).outputs
        index = next(i for i, o in enumerate(outputs) if o is old)
        outputs[index] = new
        old.name, new.name = new.name, name
        new.type, new.shape = old.type, old.shape
    for node, index in tuple(old.uses()):
        node.replace_input_with(index, new)


def remove(node: ir.Node) -> None:
    """Take a node out of its graph. Nothing may read its outputs any more."""
    if node.graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    node.graph.remove(node, safe=True)


def discard(values: Iterable[ir.Value | None]) -> None:
    """Remove what gives these values, as far as nobody reads it: constants, nodes without effects, what they alone had read.

    Inputs, outputs, nodes with bodies and nodes of unknown domains stay (`remove_dead` knows about bodies).
    """
    pending = list(values)
    while pending:
        value = pending.pop()
        if value is None or value.uses() or value.is_graph_output() or value.is_graph_input() or value.graph is None:
            continue
        node = value.producer()
        if node is None:
            value.graph.initializers.pop(value.name or "", None)
        elif node.domain in PURE_DOMAINS and not bodies_of(node) and not any(is_read(o) for o in node.outputs):
            pending.extend(node.inputs)
            value.graph.remove(node, safe=True)


def is_read(value: ir.Value) -> bool:
    """Whether a node or the caller reads it."""
    return bool(value.uses()) or value.is_graph_output()


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """The one node that reads this value, once; None when there are others or when it is a graph output."""
    uses = value.uses()
    return next(iter(uses)).node if len(uses) == 1 and not value.is_graph_output() else None


def _graph(value: ir.Value) -> ir.Graph:
    if value.graph is None:
        raise ValueError(f"{value.name!r} is not in a graph")
    return value.graph
