"""What all passes share: the graphs they work on, and which operators may be moved, merged or computed early."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

import onnx_ir as ir

from onnxzip.model.constants import scalar
from onnxzip.model.walk import is_op

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def scopes(model: ir.Model) -> Iterator[ir.Graph]:
    """The main graph, then the bodies of If, Loop and Scan, outer ones first.

    Local functions that could not be inlined are left out: their operators may be of another opset.
    """
    yield model.graph
    yield from model.graph.subgraphs()


def is_deterministic(node: ir.Node) -> bool:
    """Whether two runs on equal inputs give equal outputs (failures.md 3)."""
    if is_op(node, *_RANDOM):
        return False
    return not is_op(node, "Dropout") or is_inference_dropout(node)


def is_inference_dropout(node: ir.Node) -> bool:
    """Whether a Dropout passes its input through: from opset 12 its third input says so, and is false when absent."""
    return len(node.inputs) < 3 or node.inputs[2] is None or scalar(node.inputs[2]) in (False, 0)


def dying(removed: Iterable[ir.Node], keep: Container[ir.Value] = ()) -> list[ir.Node]:
    """These nodes, and what they read that nobody else reads; not what gives `keep`, which others will read."""
    gone = dict.fromkeys(removed)
    pending = list(gone)
    while pending:
        for value in pending.pop().inputs:
            producer = value.producer() if value is not None and value not in keep else None
            if value is None or producer is None or producer in gone or value.is_graph_output():
                continue
            if len(producer.outputs) == 1 and all(use.node in gone for use in value.uses()):
                gone[producer] = None
                pending.append(producer)
    return list(gone)
