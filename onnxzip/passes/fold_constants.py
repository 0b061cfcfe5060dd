"""The constant part of the graph is computed once, by the runtime that would compute it at every load or run.

All constant nodes, those in bodies included, go into one small model that runs in one session with optimisations off;
only what the rest of the graph reads becomes an initializer, and only when the file does not grow by it.

Exact: the numbers are those that onnxruntime gives for the same nodes. Large constants are fed, not serialized.
Legal cases: see `constant_part`. Left alone: what the size rule refuses (`fold_budget`), and what onnxruntime cannot run
(named in a note).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.constants import constant
from onnxzip.model.edit import Names, add_constant, discard
from onnxzip.model.walk import label
from onnxzip.passes.constant_part import FOLDABLE, ConstantPart, constant_part
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.fold_budget import affordable, least_bytes
from onnxzip.passes.size import compact, initializer_bytes
from onnxzip.runtime import Session

_FED_BYTES = 1024
"""Larger constants are fed as inputs. Smaller ones are initializers: some kernels want shapes and axes as constants."""

_FAILURES = 8
"""After so many nodes that the runtime does not run, the rest of a failing batch is left too."""


def fold_constants(model: ir.Model, context: Context) -> Outcome:
    """Replace constant nodes by their results, where that does not add bytes."""
    part = constant_part(model, context)
    sizes = {v: least_bytes(v, part.values[v] or 0, context.shapes.dtype(v)) for v in part.frontier() if v.name}
    if not sizes:
        return Outcome()
    notes: list[str] = []
    results = _compute(_affordable(part, sizes, context), part, model, notes)
    tensors = {v: compact(r) for v, r in results.items()}
    folded = _affordable(part, {v: initializer_bytes(t, v.name or "") for v, t in tensors.items()}, context)
    removed = _put_in(folded, tensors, part, context.names)
    return Outcome(removed, tuple(notes))


def _affordable(part: ConstantPart, sizes: Mapping[ir.Value, int], context: Context) -> list[ir.Value]:
    return list(sizes) if context.allowed.prefer == "nodes" else affordable(part, sizes)


def _compute(
    wanted: Sequence[ir.Value], part: ConstantPart, model: ir.Model, notes: list[str]
) -> dict[ir.Value, np.ndarray]:
    """Run what `wanted` needs, in one session; where that fails, halve until the culprits are alone."""
    results = {v: part.known[v] for v in wanted if v in part.known}
    rest = [v for v in wanted if v not in part.known]
    if not rest:
        return results
    try:
        return results | _run(rest, part, model)
    except ModelError as error:
        node = rest[0].producer()
        if len(rest) == 1 and node is not None:
            notes.append(f"{label(node)} is constant, but stays: {error}")
            return results
    half = len(rest) // 2
    for some in (rest[:half], rest[half:]):
        if len(notes) < _FAILURES:
            results |= _compute(some, part, model, notes)
    return results


def _run(wanted: Sequence[ir.Value], part: ConstantPart, model: ir.Model) -> dict[ir.Value, np.ndarray]:
    extracted = _Extracted(part)
    outputs = [extracted.value(v) for v in wanted]
    graph = ir.Graph(
        extracted.inputs,
        outputs,
        nodes=extracted.nodes,
        initializers=extracted.initializers,
        opset_imports=dict(model.graph.opset_imports),
        name="constants",
    )
    session = Session(ir.Model(graph, ir_version=max(model.ir_version or 0, 4)), level="none", threads=1)
    given = session.run(extracted.feed)
    arrays = {v: given[o.name or ""] for v, o in zip(wanted, outputs, strict=True)}
    return {v: a for v, a in arrays.items() if isinstance(a, np.ndarray) and a.dtype.kind in "fiub"}


class _Extracted:
    """Copies of the nodes that some values need, with names of their own (bodies beside each other may share names)."""

    def __init__(self, part: ConstantPart) -> None:
        self.nodes: list[ir.Node] = []
        self.inputs: list[ir.Value] = []
        self.initializers: list[ir.Value] = []
        self.feed: dict[str, np.ndarray] = {}
        self._part = part
        self._copies: dict[ir.Value, ir.Value] = {}

    def value(self, original: ir.Value) -> ir.Value:
        """The copy of a value; what it is computed from is copied first (no recursion: chains may be long)."""
        pending = [original]
        while pending:
            current = pending[-1]
            missing = [] if current in self._copies else self._missing_inputs(current)
            if missing:
                pending += missing
                continue
            pending.pop()
            if current not in self._copies:
                self._copy(current)
        return self._copies[original]

    def _missing_inputs(self, value: ir.Value) -> list[ir.Value]:
        if value in self._part.known or value not in self._part.values:
            return []
        node = value.producer()
        return [v for v in (node.inputs if node else ()) if v is not None and v not in self._copies]

    def _copy(self, value: ir.Value) -> None:
        node = value.producer()
        if value in self._part.known:
            self._copies[value] = self._constant(ir.tensor(self._part.known[value]))
        elif value not in self._part.values or node is None:
            tensor = constant(value)
            if tensor is None:
                raise ValueError(f"{value.name!r} is not constant")
            self._copies[value] = self._constant(tensor)
        else:
            self._copy_node(node)

    def _copy_node(self, node: ir.Node) -> None:
        inputs = [None if v is None else self._copies[v] for v in node.inputs]
        copy = ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=len(node.outputs), name=""
        )
        for original, output in zip(node.outputs, copy.outputs, strict=True):
            output.name = f"c{len(self._copies)}" if original.name else ""
            self._copies[original] = output
        self.nodes.append(copy)

    def _constant(self, tensor: ir.TensorProtocol) -> ir.Value:
        value = ir.Value(
            name=f"c{len(self._copies)}", type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape.numpy())
        )
        if tensor.dtype in FOLDABLE and tensor.nbytes > _FED_BYTES:
            self.feed[value.name or ""] = tensor.numpy()
            self.inputs.append(value)
            return value
        # a tensor of its own where that is cheap: serializing renames the tensor it is given
        value.const_value = ir.tensor(tensor.numpy()) if tensor.dtype in FOLDABLE else tensor
        self.initializers.append(value)
        return value


def _put_in(
    folded: Sequence[ir.Value], tensors: dict[ir.Value, ir.TensorProtocol], part: ConstantPart, names: Names
) -> int:
    """Let readers read new initializers, remove the nodes that nobody needs any more, and return how many went."""
    homes = []
    for value in folded:
        node = value.producer()
        if node is None or node.graph is None:
            raise ValueError(f"{value.name!r} has no home")
        stand_in = ir.Value(name=None)
        for user, index in tuple(value.uses()):
            user.replace_input_with(index, stand_in)
        homes.append((value, stand_in, node, node.graph))
    for node in reversed(part.nodes):
        if node.graph is not None and not any(o.uses() for o in node.outputs):
            read = node.inputs
            node.graph.remove(node, safe=True)
            discard(read)
    for value, stand_in, node, graph in homes:
        name = value.name or "constant"
        free = names.fresh(name) if node.graph is not None else name
        fresh = add_constant(graph, tensors[value], free)
        for user, index in tuple(stand_in.uses()):
            user.replace_input_with(index, fresh)
    return sum(node.graph is None for node in part.nodes)
