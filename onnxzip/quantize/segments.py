"""A graph run a segment at a time over some batches, so that what a segment gives can be changed before the next one reads it.

The nodes of the main graph, in their order, are cut behind those that make the named values. A segment reads what earlier ones left and what
is fed; of all its values those are kept that later segments read. So one walk costs one run, and holds for each batch what is alive
at one cut, which is less than all activations of a batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.walk import bodies_of
from onnxzip.runtime import Batch, Session

Alive = dict[ir.Value, Any]
"""What later segments read, of one batch."""


def walk(
    model: ir.Model, cuts: Collection[str], feeds: Sequence[Batch], level: str = "all"
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Run a model up to the last of the cuts.

    Args:
        model: the model; not changed.
        cuts: names of tensors that nodes of the main graph make as their first output.
        feeds: batches of the model's inputs.
        level: of the runtime's optimizations in each segment.

    Yields:
        The name of a cut, in the order of the graph, and its value, float of any shape, in each batch. These arrays may be changed in
        place: what comes behind reads them.

    Raises:
        ModelError: a segment does not run, or something other than a tensor is alive at a cut.
    """
    nodes, last = list(model.graph), _last_reads(model)
    alive: list[Alive] = [{v: f[v.name] for v in model.graph.inputs if v.name and v.name in f} for f in feeds]
    first = 0
    for place, node in enumerate(nodes):
        target = node.outputs[0]
        if target.name not in cuts or not feeds:
            continue
        segment, first = nodes[first : place + 1], place + 1
        left = [o for n in segment for o in n.outputs if last.get(o, -1) > place]
        made = list(dict.fromkeys([target, *left]))
        read = {v for n in segment for v in reads(n)}
        _run(model, made, [v for v in alive[0] if v in read], alive, level)
        yield target.name or "", [batch[target] for batch in alive]
        for batch in alive:
            for value in [v for v in batch if last.get(v, -1) <= place]:
                del batch[value]


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads, its bodies included."""
    inner = [v for body in bodies_of(node) for n in body.all_nodes() for v in n.inputs]
    inner += [v for body in bodies_of(node) for v in body.outputs]
    return [v for v in (*node.inputs, *inner) if v is not None]


def _last_reads(model: ir.Model) -> Mapping[ir.Value, int]:
    """The place of the last node that reads a value."""
    return {v: place for place, node in enumerate(model.graph) for v in reads(node)}


def _run(
    model: ir.Model, made: Sequence[ir.Value], read: Sequence[ir.Value], alive: Sequence[Alive], level: str
) -> None:
    """Run the segment between two sets of values, and add what it makes to what is alive."""
    graph = ir.convenience.extract(model.graph, read, made)
    for own, value in zip(graph.inputs, read, strict=True):
        own.type, own.shape = _type_of(value, alive[0][value])
    session = Session(
        ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values())), level=level
    )
    names = [v.name or "" for v in made]
    for batch in alive:
        found = session.run({v.name or "": batch[v] for v in read}, names)
        batch.update(zip(made, found.values(), strict=True))


def _type_of(value: ir.Value, content: object) -> tuple[ir.TypeProtocol, ir.Shape | None]:
    """How a segment declares what it is fed: the runtime asks for types, and batches may differ in shape."""
    if not isinstance(content, np.ndarray):
        raise ModelError(f"value {value.name!r} is no tensor, so the graph cannot be run in parts")
    kind = ir.DataType.STRING if content.dtype.kind in "OUS" else ir.DataType.from_numpy(content.dtype)
    return ir.TensorType(kind), ir.Shape([None] * content.ndim)
