"""Values inside bodies of If, Loop and Scan, carried out to where they can be fetched.

Each value is given a sequence. It starts empty in the main graph, goes into the body and out of it again, and whenever the value is
computed it is put in:

1. If      the branch without the value gives the sequence as it was;
2. Loop    the sequence is one more carried state;
3. Scan    carries no sequences, so it becomes the Loop that it stands for (`onnxzip.calibrate.unscan`).

So what is fetched is a list of arrays, one each time that the value was computed, in that order: none when its branch was not taken or there
was no iteration, and of different shapes where iterations differ. Bodies may lie in each other. Nothing is rounded or changed.

Left behind, with the reason (`out_of_reach`): bodies of other operators and of functions, and bodies that use the name of another value
(`shared_names`), which statistics could not tell apart.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.unscan import UNSTACKED, renewed, to_loop
from onnxzip.errors import ModelError
from onnxzip.model.edit import Names, new_node
from onnxzip.model.opset import opset_of, raise_opset
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import bodies_of, is_op, label

OPSET = 14
"""The first in which If, Loop and Identity take sequences."""

States = Mapping[str, ir.Value]
"""The sequence of each value, by the name of the value."""


def surface(model: ir.Model, names: Collection[str]) -> tuple[ir.Model, dict[str, str]]:
    """A copy that computes the named values and nothing else; its opset is 14 or more where values lie in bodies.

    Args:
        model: the model; not changed.
        names: of values that nodes of the main graph compute, or of any values inside bodies.

    Returns:
        The copy, and the name of its output for each name. Outputs for values inside bodies are sequences.

    Raises:
        ModelError: a value is not there, or out of reach; it is named, with the reason.
    """
    computed = {o.name for node in model.graph for o in node.outputs if o.name}
    inner = [n for n in names if n not in computed]
    copy = raise_opset(model, OPSET).clone() if inner else model.clone()
    if inner:
        _check(model, copy, inner)
    for node in [n for n in copy.graph.all_nodes() if is_op(n, "Scan") and inner]:
        if _holds(bodies_of(node), inner):
            to_loop(node, Names(copy))
    values = {o.name or "": o for node in copy.graph for o in node.outputs}
    states = _Carrier(copy).run(inner)
    outputs = [states[n] if n in states else values[n] for n in names]
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(outputs)
    return copy, {n: o.name or "" for n, o in zip(names, outputs, strict=True)}


def one_array(arrays: Sequence[np.ndarray]) -> np.ndarray | None:
    """Arrays of one value as one, so that rows (images, tokens) of all of them are side by side; None when there is none.

    Matrices and more are joined along their first axis, vectors become the rows of a matrix. Where shapes differ elsewhere, those
    count that fit to the first that holds anything: a sample.
    """
    rows = [a if a.ndim > 1 else a.reshape(1, -1) for a in arrays if a.size]
    fitting = [a for a in rows if a.shape[1:] == rows[0].shape[1:]]
    return np.concatenate(fitting) if fitting else None


def out_of_reach(model: ir.Model) -> dict[ir.Graph, str]:
    """The bodies, at any depth, whose values cannot be carried out, each with the reason. Bodies of functions are not among them."""
    found = shared_names(model)
    whole = ""
    if opset_of(model) < OPSET and any(True for _ in model.graph.subgraphs()):
        try:
            raise_opset(model, OPSET)
        except ModelError as error:
            whole = str(error)
    for node in model.graph.all_nodes():
        outer = found.get(node.graph) if isinstance(node.graph, ir.Graph) else None
        for body in bodies_of(node):
            if reason := outer or whole or _refused(node):
                found[body] = reason
    return found


def shared_names(model: ir.Model) -> dict[ir.Graph, str]:
    """The bodies, at any depth, in which a value has the name of another, each with the reason."""
    names, found = Names(model), dict[ir.Graph, str]()
    for node in model.graph.all_nodes():
        for body in bodies_of(node):
            own = (v.name for v in _values(body) if v.name)
            shared = next((n for n in own if not names.is_unique(n)), None)
            if shared is not None:
                found[body] = f"the name {shared!r} inside {label(node)} is that of another value too"
    return found


def _refused(node: ir.Node) -> str:
    """Why nothing comes out of the bodies of a node, or nothing."""
    if is_op(node, "If", "Loop"):
        return ""
    if not is_op(node, "Scan"):
        return f"it lies inside {label(node)}, from which no value can be carried out"
    axes = node.attributes.get("scan_output_axes")
    return UNSTACKED.format(label(node)) if axes is not None and any(axes.as_ints()) else ""


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    return (*graph.inputs, *graph.initializers.values(), *(o for n in graph for o in n.outputs))


def _check(model: ir.Model, copy: ir.Model, names: Sequence[str]) -> None:
    """All names are there, tensors, and within reach."""
    reasons, shapes = out_of_reach(model), Shapes(copy)
    bodies = {v.name: (body, v) for body in model.graph.subgraphs() for v in _values(body)}
    raised = {v.name: v for body in copy.graph.subgraphs() for v in _values(body)}
    for name in names:
        if name not in bodies or name not in raised:
            raise ModelError(f"tensor {name!r} is not in the model")
        if reason := reasons.get(bodies[name][0]):
            raise ModelError(f"tensor {name!r} cannot be fetched: {reason}. Leave what is inside in float.")
        if shapes.dtype(raised[name]) is None:
            raise ModelError(f"tensor {name!r} cannot be fetched: its type is not known. Leave its readers in float.")


def _holds(bodies: Iterable[ir.Graph], names: Collection[str]) -> bool:
    """Whether one of the bodies, or one inside them, has one of these values."""
    return bool(_held(bodies, names))


def _held(bodies: Iterable[ir.Graph], names: Collection[str]) -> list[str]:
    """Those of the names that belong to values in the bodies and those inside them, in their order."""
    graphs = [g for body in bodies for g in (body, *body.subgraphs())]
    present = {v.name for g in graphs for v in _values(g)}
    return [n for n in names if n in present]


class _Carrier:
    """Takes sequences through the bodies of a model that is changed in place."""

    def __init__(self, model: ir.Model) -> None:
        self._graph, self._names, self._shapes = model.graph, Names(model), Shapes(model)

    def run(self, names: Sequence[str]) -> States:
        """The full sequences of these values, as values of the main graph."""
        if not names:
            return {}
        inside = {v.name: v for body in self._graph.subgraphs() for v in _values(body)}
        states: dict[str, ir.Value] = {}
        for name in names:
            dtype = self._shapes.dtype(inside[name])
            assert dtype is not None  # noqa: S101 # for mypy: `_check` has looked
            node = new_node("SequenceEmpty", [], self._fresh(), dtype=int(dtype))
            node.outputs[0].type = ir.SequenceType(ir.TensorType(dtype))
            self._graph.insert_before(next(iter(self._graph)), node)
            states[name] = node.outputs[0]
        return self._through(self._graph, states)

    def _fresh(self) -> str:
        return self._names.fresh("seen")

    def _through(self, graph: ir.Graph, states: States) -> dict[str, ir.Value]:
        """The sequences as they are at the end of a graph, from how they are at its begin."""
        result = dict(states)
        for node in tuple(graph):
            inner = _held(bodies_of(node), tuple(states))
            if inner:
                take = self._if if is_op(node, "If") else self._loop
                result |= take(node, {n: result[n] for n in inner})
        for value in tuple(_values(graph)):
            if graph is not self._graph and value.name is not None and value.name in states:
                result[value.name] = self._put(graph, result[value.name], value)
        return result

    def _put(self, graph: ir.Graph, state: ir.Value, value: ir.Value) -> ir.Value:
        """The sequence with one more array."""
        node = self._node("SequenceInsert", [state, value], state)
        producer = value.producer()
        if producer is None:
            graph.insert_before(next(iter(graph)), node)
        else:
            graph.insert_after(producer, node)
        return node.outputs[0]

    def _node(self, op_type: str, inputs: list[ir.Value], like: ir.Value) -> ir.Node:
        node = new_node(op_type, inputs, self._fresh())
        node.outputs[0].type = like.type
        return node

    def _if(self, node: ir.Node, states: States) -> dict[str, ir.Value]:
        """Case 1."""
        for body in bodies_of(node):
            after = self._through(body, {n: states[n] for n in _held([body], tuple(states))})
            for name, state in states.items():
                if name not in after:
                    same = self._node("Identity", [state], state)
                    body.append(same)
                    after[name] = same.outputs[0]
                body.outputs.append(after[name])
        new = renewed(node, node.inputs, [*range(len(node.outputs)), *[None] * len(states)])
        return self._named(new.outputs[-len(states) :], states)

    def _loop(self, node: ir.Node, states: States) -> dict[str, ir.Value]:
        """Case 2."""
        (body,) = bodies_of(node)
        inner = {n: ir.Value(name=self._fresh(), type=s.type) for n, s in states.items()}
        body.inputs.extend(inner.values())
        carried = len(node.inputs) - 2
        after = self._through(body, inner)
        outputs = list(body.outputs)
        body.outputs.clear()
        body.outputs.extend([*outputs[: carried + 1], *(after[n] for n in states), *outputs[carried + 1 :]])
        places = [*range(carried), *[None] * len(states), *range(carried, len(node.outputs))]
        new = renewed(node, [*node.inputs, *states.values()], places)
        return self._named(new.outputs[carried : carried + len(states)], states)

    def _named(self, outputs: Sequence[ir.Value], states: States) -> dict[str, ir.Value]:
        """New outputs of a node, which are the sequences behind it."""
        for output, state in zip(outputs, states.values(), strict=True):
            output.name, output.type = self._fresh(), state.type
        return dict(zip(states, outputs, strict=True))
