"""A Scan as the Loop that it stands for: bodies of Loop may carry sequences, those of Scan may not.

    Scan(states, xs)    =    Loop(T, states), T the length of xs, whose body reads x = Gather(xs, i); backwards: Gather(xs, T − 1 − i)

Exact. Outputs that are stacked backwards are turned round behind the Loop; outputs that are stacked along another axis than the
first are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.edit import Names, add_constant, new_node
from onnxzip.model.walk import bodies_of, label

UNSTACKED = "{} stacks an output along another axis than the first"


def to_loop(node: ir.Node, names: Names) -> ir.Node:
    """Put a Loop in the place of a Scan of opset 9 or newer, in its graph.

    Raises:
        ModelError: an output is stacked along another axis than the first.
    """
    attributes = node.attributes
    if any(_ints(node, "scan_output_axes", 0, len(node.outputs))):
        raise ModelError(f"{UNSTACKED.format(label(node))}: it cannot be written as a Loop")
    (body,), scanned = bodies_of(node), attributes.get_int("num_scan_inputs", 1)
    count = len(node.inputs) - scanned
    backwards = _ints(node, "scan_output_directions", 0, len(node.outputs) - count)
    length = _length(node, count, names)
    _read_slices(node, body, count, length, names)
    _with_condition(body, names)
    loop = renewed(
        node, [length, None, *node.inputs[:count]], list(range(len(node.outputs))), op_type="Loop", body=body
    )
    for output, turned in zip(tuple(loop.outputs)[count:], backwards, strict=True):
        if turned and output.name:
            _turn_round(loop, output, names)
    return loop


def renewed(
    node: ir.Node,
    inputs: Sequence[ir.Value | None],
    outputs: Sequence[int | None],
    *,
    op_type: str = "",
    body: ir.Graph | None = None,
) -> ir.Node:
    """Put a node with the same bodies and attributes in the place of another.

    Args:
        node: the node; it goes.
        inputs: of the new one.
        outputs: for each output of the new one which output of the old one it stands for; None: a new one, without a name.
        op_type: the new operator, which then has no other attribute than `body`.
        body: see there.
    """
    graph = node.graph
    assert graph is not None  # noqa: S101 # for mypy: it was found in one
    held = list(node.attributes.values()) if body is None else [ir.AttrGraph("body", body)]
    new = ir.Node(node.domain, op_type or node.op_type, inputs, held, num_outputs=len(outputs), name=node.name or "")
    graph.insert_before(node, new)
    for place, output in zip(outputs, new.outputs, strict=True):
        if place is None:
            continue
        old = node.outputs[place]
        output.name, output.type, output.shape = old.name, old.type, old.shape
        for index, each in enumerate(graph.outputs):
            if each is old:
                graph.outputs[index] = output
        for reader, position in tuple(old.uses()):
            reader.replace_input_with(position, output)
    node.attributes.clear()  # its bodies are those of the new node now
    graph.remove(node, safe=True)
    return new


def _ints(node: ir.Node, name: str, default: int, count: int) -> list[int]:
    attribute = node.attributes.get(name)
    return [default] * count if attribute is None else list(attribute.as_ints())


def _constant(node: ir.Node, content: np.ndarray, names: Names) -> ir.Value:
    """A new constant of the graph of a node."""
    graph = node.graph
    assert isinstance(graph, ir.Graph)  # noqa: S101 # for mypy: functions are not looked into
    return add_constant(graph, content, names.fresh("number"))


def _length(node: ir.Node, count: int, names: Names) -> ir.Value:
    """How many slices there are, computed before a Scan."""
    axis = _ints(node, "scan_input_axes", 0, len(node.inputs) - count)[0]
    shape = new_node("Shape", [node.inputs[count]], names.fresh("sizes"))
    size = new_node("Gather", [shape.outputs[0], _constant(node, np.asarray(axis), names)], names.fresh("length"))
    assert node.graph is not None  # noqa: S101 # for mypy
    node.graph.insert_before(node, [shape, size])
    return size.outputs[0]


def _read_slices(node: ir.Node, body: ir.Graph, count: int, length: ir.Value, names: Names) -> None:
    """Let a body gather its slices, by the number of the iteration, which becomes its first input."""
    number = ir.Value(name=names.fresh("i"), type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([]))
    inputs, scanned = list(body.inputs), list(node.inputs[count:])
    body.inputs.clear()
    body.inputs.extend([number, *inputs[:count]])
    last = new_node("Sub", [length, _constant(node, np.asarray(1), names)], names.fresh("last"))
    back = new_node("Sub", [last.outputs[0], number], names.fresh("back"))
    nodes = [last, back]
    axes = _ints(node, "scan_input_axes", 0, len(scanned))
    directions = _ints(node, "scan_input_directions", 0, len(scanned))
    for value, source, axis, backwards in zip(inputs[count:], scanned, axes, directions, strict=True):
        index = back.outputs[0] if backwards else number
        gather = new_node("Gather", [source, index], value.name or "", axis=axis)
        gather.outputs[0].type, gather.outputs[0].shape = value.type, value.shape
        for reader, position in tuple(value.uses()):
            reader.replace_input_with(position, gather.outputs[0])
        for place, each in enumerate(body.outputs):
            if each is value:
                body.outputs[place] = gather.outputs[0]
        nodes.append(gather)
    body.insert_before(next(iter(body)), nodes)


def _with_condition(body: ir.Graph, names: Names) -> None:
    """The condition of a Loop, which is never looked at: in as the second input, out as the first output."""
    kind = ir.TensorType(ir.DataType.BOOL)
    value = ir.Value(name=names.fresh("go"), type=kind, shape=ir.Shape([]))
    body.inputs.insert(1, value)
    node = new_node("Identity", [value], names.fresh("go"))
    node.outputs[0].type, node.outputs[0].shape = kind, ir.Shape([])
    body.append(node)
    body.outputs.insert(0, node.outputs[0])


def _turn_round(loop: ir.Node, output: ir.Value, names: Names) -> None:
    """Reverse an output along its first axis; the reversed one has its name and its readers."""
    numbers = [np.array([n], np.int64) for n in (-1, np.iinfo(np.int64).min, 0, -1)]
    name, output.name = output.name or "", names.fresh("stacked")
    uses, graph = tuple(output.uses()), loop.graph
    assert graph is not None  # noqa: S101 # for mypy
    node = new_node("Slice", [output, *(_constant(loop, n, names) for n in numbers)], name)
    node.outputs[0].type, node.outputs[0].shape = output.type, output.shape
    graph.insert_after(loop, node)
    for reader, position in uses:
        reader.replace_input_with(position, node.outputs[0])
    for index, each in enumerate(graph.outputs):
        if each is output:
            graph.outputs[index] = node.outputs[0]
