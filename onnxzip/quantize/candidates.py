"""Nodes whose weights can become integers, before anyone asks where Q and DQ go.

Weights that a float node reads too stay float, with all their readers: stored twice, they would make the file larger.
So do weights whose readers need scales along different axes, and those that integers would not make smaller; and what lies in bodies
that cannot be looked into (`onnxzip.quantize.inside`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.shapes import Shapes
from onnxzip.quantize.groups import Group, Maker
from onnxzip.quantize.inside import closed
from onnxzip.quantize.kernels import Kernel, recognise
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.selectors import name_of

NODE_BYTES, PAIR_BYTES = 60, 120
"""About what a DequantizeLinear of weights, and a pair of Q and DQ with its scale, add to a file."""

COPIES = 3
"""Graphs that may hold the same weights in 8 bits: more copies would be larger than the one in float."""


@dataclass(frozen=True)
class Placement:
    """The result.

    Attributes:
        kernels, makers: nodes that run in integers, in graph order.
        groups: quantized values, in graph order.
        made: those of them that an integer operator makes.
        left: nodes that stay float, with the reason.
        narrowed: values that some operators read through a second Q and DQ, of another dtype.
    """

    kernels: tuple[Kernel, ...]
    makers: tuple[Maker, ...]
    groups: tuple[Group, ...]
    made: frozenset[ir.Value]
    left: Mapping[ir.Node, str]
    narrowed: tuple[Group, ...] = ()


def kernels_of(
    model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str], *, data: bool = True
) -> tuple[dict[ir.Node, Kernel], dict[ir.Node, str]]:
    """The kernels of a model and its bodies, and the nodes that hold weights and stay float, with the reason.

    `data`: whether their activations must be observed.
    """
    shapes, kernels, left = Shapes(model), dict[ir.Node, Kernel](), dict[ir.Node, str]()
    shut = closed(model, target, data=data)
    for node in model.graph.all_nodes():
        found = recognise(node, shapes, target, keep)
        if isinstance(found, Kernel) and node not in keep:
            problem = (shut.get(node.graph) if isinstance(node.graph, ir.Graph) else None) or _too_small(found)
            if problem is None:
                kernels[node] = found
            else:
                left[node] = problem
        elif found is not None:
            left[node] = keep.get(node) or str(found)
    return kernels, left


def storable(
    model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str], *, data: bool = True
) -> tuple[tuple[Kernel, ...], dict[ir.Node, str]]:
    """Nodes whose weights can be stored as integers while they compute in float, and those whose cannot, with the reason."""
    kernels, left = kernels_of(model, target, keep, data=data)
    while torn := torn_weights(kernels):
        left.update(torn)
        kernels = {n: k for n, k in kernels.items() if n not in torn}
    return tuple(kernels.values()), left


def _too_small(kernel: Kernel) -> str | None:
    """Why a kernel with a float output, which stands for itself, would make the file larger; None for others."""
    tensor = constant(kernel.weight)
    if tensor is None or kernel.role == "conv":
        return None
    channels = tensor.shape.numpy()[kernel.axis]
    vectors = 4 + (4 if kernel.bias is not None and kernel.role == "gemm" else 0) + (kernel.role == "gemm")
    cost = channels * vectors + 2 * NODE_BYTES + (PAIR_BYTES if kernel.role != "table" else 2 * NODE_BYTES)
    if 3 * tensor.size > cost:
        return None
    return f"int8 would save {3 * tensor.size} bytes and cost about {cost}"


def torn_weights(kernels: Mapping[ir.Node, Kernel]) -> dict[ir.Node, str]:
    """Kernels whose weights cannot be stored as integers once and for all readers."""
    readers: dict[ir.Value, list[Kernel]] = defaultdict(list)
    for kernel in kernels.values():
        readers[kernel.weight].append(kernel)
    found: dict[ir.Node, str] = {}
    for weight, sharing in readers.items():
        reason = None
        strangers = [u.node for u in weight.uses() if u.node not in kernels or kernels[u.node].weight is not weight]
        if strangers:
            reason = (
                f"its weights {weight.name!r} are read in float by {strangers[0].op_type} {name_of(strangers[0])!r} too"
            )
        elif len({k.axis for k in sharing}) > 1:
            reason = f"its weights {weight.name!r} are shared with a node that needs scales along another axis"
        elif len({k.node.graph for k in sharing}) > COPIES:
            reason = (
                f"its weights {weight.name!r} are read in more than {COPIES} bodies, each of which would hold a copy"
            )
        if reason is not None:
            found.update({k.node: reason for k in sharing})
    return found
