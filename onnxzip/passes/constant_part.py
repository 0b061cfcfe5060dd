"""The constant part of a model: the nodes whose results do not depend on any input.

A node belongs to it when
1. all it reads is constant: initializers that are not inputs, Constant nodes, results of such nodes; or they are
   small integers that are known without (such as the Shape of a value whose shape is known, see `model.symbols`);
2. it is deterministic, of the standard domain, and holds no body;
3. it is not a DequantizeLinear: int8 weights must not become float again (failures.md 10);
4. it is not a graph output (an output must be produced by a node);
5. its results are of types that numpy holds exactly (not bfloat16, float8, int4, strings);
6. its results are known to be of a size that is sane to compute. Sizes that depend on data which is itself still to be
   computed become known in the next round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.elements import numbers
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import bodies_of, is_op
from onnxzip.passes.context import Context
from onnxzip.passes.scope import is_deterministic, scopes

_T = ir.DataType
FOLDABLE = frozenset(
    {_T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.BOOL, _T.INT8, _T.INT16, _T.INT32, _T.INT64}
    | {_T.UINT8, _T.UINT16, _T.UINT32, _T.UINT64}
)
_SANE_BYTES = 16 * 2**20
"""A result may be this large, or twice what it is computed from."""

_SIZED_BY_DATA = frozenset({"NonZero", "Compress", "Unique", "NonMaxSuppression"})
"""The size of their result is never known beforehand, but never far above that of their inputs."""


@dataclass
class ConstantPart:
    """Nodes in an order in which they can run, what they give, and results that are known without running."""

    nodes: dict[ir.Node, None] = field(default_factory=dict)
    values: dict[ir.Value, int | None] = field(default_factory=dict)
    """Results, each with its size in bytes (without name and type), or None where only running will tell."""
    known: dict[ir.Value, np.ndarray] = field(default_factory=dict)

    def frontier(self) -> list[ir.Value]:
        """Results that something outside of the constant part reads."""
        return [v for v in self.values if any(use.node not in self.nodes for use in v.uses())]


def constant_part(model: ir.Model, context: Context) -> ConstantPart:
    """Find it, in the main graph and in all bodies. Takes time in proportion to the graph."""
    part = ConstantPart()
    for graph in scopes(model):
        for node in graph:
            if not _is_candidate(node):
                continue
            if _reads_constants_only(node, part):
                _add_computed(node, part, context.shapes)
            else:
                _add_known(node, part, context)
    return part


def _is_candidate(node: ir.Node) -> bool:
    return (
        is_op(node, node.op_type)
        and node.op_type not in ("Constant", "DequantizeLinear")
        and is_deterministic(node)
        and not bodies_of(node)
        and not any(o.is_graph_output() for o in node.outputs)
    )


def _add_known(node: ir.Node, part: ConstantPart, context: Context) -> bool:
    """Case 1, second half."""
    outputs = [o for o in node.outputs if o.name]
    results = {o: numbers(context.symbols.content(o)) for o in outputs}
    if not results or any(r is None for r in results.values()):
        return False
    part.nodes[node] = None
    for output, result in results.items():
        dtype = context.shapes.dtype(output)
        if result is not None and dtype is not None:
            part.known[output] = result.astype(dtype.numpy())
            part.values[output] = part.known[output].nbytes
    return True


def _reads_constants_only(node: ir.Node, part: ConstantPart) -> bool:
    given = [v for v in node.inputs if v is not None]
    return bool(given) and all(v in part.values or constant(v) is not None for v in given)


def _add_computed(node: ir.Node, part: ConstantPart, shapes: Shapes) -> None:
    sizes = {o: _bytes_of(o, shapes) for o in node.outputs}
    given = sum(_input_bytes(v, part) for v in node.inputs if v is not None)
    for output, size in sizes.items():
        dtype = shapes.dtype(output)
        if dtype is not None and dtype not in FOLDABLE:
            return
        if size is None and not is_op(node, *_SIZED_BY_DATA):
            return
        if size is not None and size > max(_SANE_BYTES, 2 * given):
            return
    part.nodes[node] = None
    part.values.update(sizes)


def _bytes_of(value: ir.Value, shapes: Shapes) -> int | None:
    shape, dtype = shapes.static(value), shapes.dtype(value)
    if not value.name:
        return 0  # an output that is left out
    return None if shape is None or dtype is None else math.ceil(math.prod(shape) * dtype.itemsize)


def _input_bytes(value: ir.Value, part: ConstantPart) -> int:
    tensor = constant(value)
    return part.values.get(value) or 0 if tensor is None else tensor.nbytes
