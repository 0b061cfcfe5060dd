"""float16: weights and arithmetic in half the bytes, inputs and outputs as they are, by the converter that onnxruntime ships.

Its result is not trusted: it is sorted, cleaned of the types that it noted, checked in structure, and loaded. Beside what it keeps in
float32 by itself (operators without float16) stay

 1. the nodes that the user names (`keep_float`),
 2. nodes that read a constant beyond 65504, which would be cut off there, or one that is all below 2^-14, which would lose its digits
    (masks, small epsilons),
 3. nodes that onnxruntime names when it does not load the result: at most `RETRIES` times, then the model stays float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import onnx
import onnx_ir as ir

from onnxzip.config import Config
from onnxzip.errors import ModelError, UsageError
from onnxzip.model.check import problems
from onnxzip.model.constants import array
from onnxzip.model.save import INTERFACE, model_bytes, to_proto
from onnxzip.model.signature import signature
from onnxzip.model.walk import all_nodes, graphs_of, label
from onnxzip.quantize.already import already_quantized
from onnxzip.quantize.choice import Choice
from onnxzip.quantize.selectors import select
from onnxzip.runtime import Session, to_float16

RETRIES = 8
LARGEST, SMALLEST = 65504.0, 2.0**-14
"""The range in which float16 has all of its 11 digits."""

_NAMED = re.compile(r"[Nn]ode[: ]*\(([^()]+)\)|node with name '([^']+)'|Node: ?'([^']+)'|[Nn]ode:? ?\[([^\]]+)\]")
"""How messages of onnxruntime name a node."""


def to_half(model: ir.Model, config: Config) -> Choice:
    """The model in float16, or why it stays as it is. The choice has no plan.

    Args:
        model: the model; not changed.
        config: keep_float is read.

    Raises:
        UsageError: a pattern matches nothing, or a plan is given.
    """
    if config.plan is not None:
        raise UsageError("preset fp16 replays no plan: name what stays float with keep_float, or use another preset")
    work = model.clone()
    given = _name_all(work)
    kept = {node.name or "": reason for node, reason in (_out_of_range(work) | select(work, config.keep_float)).items()}
    if (problem := _unfit(model)) is not None:
        return Choice(None, None, problem)
    for _ in range(RETRIES):
        try:
            result = _converted(work, kept)
            Session(result)
        except ModelError as error:
            named = _culprit(str(error), work)
            if named is None or named in kept:
                return Choice(None, None, f"not converted: {error}", _notes(work, kept))
            kept[named] = "onnxruntime does not load it in float16"
            continue
        return _judged(model, work, result, kept, given)
    return Choice(
        None, None, f"not converted: after {RETRIES} attempts onnxruntime still does not load it", _notes(work, kept)
    )


def _unfit(model: ir.Model) -> str | None:
    """Why there is nothing to convert, or None."""
    types = {v.dtype for graph in graphs_of(model) for v in _values(graph)}
    if ir.DataType.FLOAT16 in types or ir.DataType.BFLOAT16 in types:
        return "not converted: the model is in half precision already"
    if (reason := already_quantized(model)) is not None:
        return f"not converted: {reason}"
    return None if ir.DataType.FLOAT in types else "not converted: the model holds no float32"


def _values(graph: ir.Graph | ir.Function) -> Iterator[ir.Value]:
    yield from graph.inputs
    if isinstance(graph, ir.Graph):
        yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _name_all(model: ir.Model) -> set[str]:
    """Give every node a name of its own, for the converter knows nodes by name. Returns the names that were there and stay."""
    taken: set[str] = set()
    for number, node in enumerate(list(all_nodes(model))):
        if not node.name or node.name in taken:
            node.name = f"onnxzip_node_{number}"
        else:
            taken.add(node.name)
    return taken


def _out_of_range(model: ir.Model) -> dict[ir.Node, str]:
    """Case 2."""
    found: dict[ir.Node, str] = {}
    for node in all_nodes(model):
        for value in node.inputs:
            content = array(value)
            if value is None or content is None or content.dtype != np.float32 or not content.size:
                continue
            largest = float(np.abs(content[np.isfinite(content)]).max(initial=0.0))
            if largest > LARGEST or 0 < largest < SMALLEST:
                found[node] = f"its constant {value.name!r} ({largest:.3g}) does not fit into float16"
    return found


def _converted(model: ir.Model, kept: dict[str, str]) -> ir.Model:
    """What the converter makes of it, in order and checked.

    Raises:
        ModelError: the converter fails, or its result is no sound model with the same interface.
    """
    proto = to_float16(to_proto(model), kept)
    _forget_types(proto.graph)
    try:
        result = ir.from_proto(proto)
        result.graph.sort()
    except Exception as error:  # duplicate names, cycles: onnx_ir has no type of its own for them
        raise ModelError(f"the converted model is broken: {error}") from error
    result.graph.meta[INTERFACE] = model.graph.meta.get(INTERFACE)
    if found := problems(result, signature(model)):
        raise ModelError(f"the converted model is broken: {found[0]}")
    return result


def _forget_types(graph: onnx.GraphProto) -> None:
    """Drop the types of inner values: some contradict what the nodes give now."""
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _forget_types(attribute.g)
            for body in attribute.graphs:
                _forget_types(body)


def _culprit(message: str, model: ir.Model) -> str | None:
    """The node of the model that a message of onnxruntime names."""
    names = {n.name for n in all_nodes(model)}
    for match in _NAMED.finditer(message):
        name = next(g for g in match.groups() if g)
        if name in names:
            return name
    return None


def _judged(model: ir.Model, work: ir.Model, result: ir.Model, kept: dict[str, str], given: set[str]) -> Choice:
    notes = _notes(work, kept)
    for node in all_nodes(result):
        if node.name not in given:
            node.name = None
    before, after = model_bytes(model), model_bytes(result)
    if after > before:
        return Choice(None, None, f"not converted: the file would grow from {before} to {after} bytes", notes)
    return Choice(result, None, f"weights and arithmetic are in float16, {len(kept)} nodes stay float by name", notes)


def _notes(model: ir.Model, kept: dict[str, str]) -> tuple[str, ...]:
    return tuple(f"{label(n)} stays float: {kept[n.name or '']}" for n in all_nodes(model) if n.name in kept)
