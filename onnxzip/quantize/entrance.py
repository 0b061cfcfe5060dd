"""Where a network begins, and which of its layers are small."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.walk import is_op

NARROW = 4
"""Convs of so few channels in a group are slow in integers."""


def first_of(model: ir.Model, outputs: Collection[str]) -> list[ir.Node]:
    """Those of the nodes of the main graph with these outputs that depend on none of the others."""
    behind: set[ir.Value] = set()
    found = []
    for node in model.graph:
        known = any(v in behind for v in node.inputs if v is not None)
        is_one = any(o.name in outputs for o in node.outputs)
        if is_one and not known:
            found.append(node)
        if is_one or known:
            behind.update(node.outputs)
    return found


def weight_bytes(node: ir.Node) -> int:
    """Of the weights of a node, as they are."""
    weight = constant(node.inputs[1])
    return 0 if weight is None else weight.nbytes


def is_narrow(node: ir.Node) -> bool:
    """Whether a layer is a Conv that sums up over few channels: the first one of an image network, or a depthwise one."""
    weight = constant(node.inputs[1])
    return is_op(node, "Conv") and weight is not None and int(weight.shape.numpy()[1]) <= NARROW
