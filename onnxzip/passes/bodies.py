"""Bodies of If, Loop and Scan: moving what they hold into the graph around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableSequence, Sequence

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
    for value in tuple(body.initializers.values()):
        _move_constant(value, body, graph, names)
    move_nodes(list(body), body, node, names)
    return outputs


def move_nodes(nodes: Sequence[ir.Node], body: ir.Graph, node: ir.Node, names: Names) -> None:
    """Put some nodes of a body before `node`, which holds it, and constants of the body that they read.

    They must read no other values of the body but those of each other, and give no output of it.
    """
    if node.graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    for value in {v: None for n in nodes for v in n.inputs if v is not None and v.is_initializer() and v.graph is body}:
        _move_constant(value, body, node.graph, names)
    body.remove(nodes)
    for value in (o for n in nodes for o in n.outputs if o.name):
        _name_apart(value, names)
    node.graph.insert_before(node, nodes)


def keep(values: MutableSequence[ir.Value], kept: Sequence[int]) -> None:
    """Let a list of inputs or outputs be those at these positions."""
    chosen = [values[index] for index in kept]
    values.clear()
    values.extend(chosen)


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


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The values that a node reads, those that its bodies read included."""
    yield from (v for v in node.inputs if v is not None)
    for body in bodies_of(node):
        for inner in body:
            yield from reads(inner)
        yield from body.outputs


def needed(outputs: Iterable[ir.Value]) -> set[ir.Value]:
    """These values of a body, and all that they are computed from, values of outer graphs included."""
    found: set[ir.Value] = set()
    pending = list(outputs)
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            node = value.producer()
            pending += reads(node) if node is not None else ()
    return found


def rebuild(
    node: ir.Node, inputs: Sequence[ir.Value | None], outputs: Sequence[int], attributes: Mapping[str, list[int]]
) -> None:
    """Let `node` have these inputs, the outputs of these positions, and these changes of attributes; its bodies are kept."""
    graph = node.graph
    if graph is None:
        raise ValueError(f"{node.op_type} {node.name!r} is not in a graph")
    held = {name: attribute for name, attribute in node.attributes.items() if name not in attributes}
    held.update({name: ir.AttrInt64s(name, ints) for name, ints in attributes.items() if ints})
    new = ir.Node(
        node.domain, node.op_type, inputs, list(held.values()), num_outputs=len(outputs), name=node.name or ""
    )
    graph.insert_before(node, new)
    for index, output in zip(outputs, new.outputs, strict=True):
        old = node.outputs[index]
        output.name, output.type, output.shape = old.name, old.type, old.shape
        old.name = None
        for graph_index, each in enumerate(graph.outputs):
            if each is old:
                graph.outputs[graph_index] = output
        for reader, position in tuple(old.uses()):
            reader.replace_input_with(position, output)
    node.attributes.clear()  # the bodies are those of the new node now
    remove(node)


def _move_constant(value: ir.Value, body: ir.Graph, graph: ir.Graph, names: Names) -> None:
    del body.initializers[value.name or ""]
    _name_apart(value, names)
    graph.register_initializer(value)


def _name_apart(value: ir.Value, names: Names) -> None:
    if value.name and not names.is_unique(value.name):
        value.name = names.fresh(value.name)
