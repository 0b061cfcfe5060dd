"""What onnxruntime makes of a quantized model, node by node: its optimized graph, read back, and where each node of it comes from.

Values and weights are renamed, transposed and repacked on the way; names of nodes survive, with endings added (`X_token_4`,
`X/MatMulAddFusion`, `X/duplicated`). So the nodes of a copy are named by number, onnxruntime loads the copy, and the numbers
in its optimized graph are looked up. Operators do not depend on names, so it is the graph that the model itself will run as.
One exception: the blocked float layout (NCHWc) names a node by its output y, that of the activation where one was fused, as `y_nchwc`.
"""

from __future__ import annotations

import re
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxzip.errors import ModelError
from onnxzip.model.save import model_bytes
from onnxzip.model.walk import all_nodes, is_op
from onnxzip.runtime import Session

LARGEST = 2**31 - 2**26
"""Bytes of a model whose optimized graph fits into one protobuf (2 GiB), with room for what onnxruntime folds."""

_TAG = "onnxzip#{}#"
_TAGGED = re.compile(r"onnxzip#(\d+)#")

_BLOCKED = "_nchwc"

_EIGHT_BITS = frozenset({ir.DataType.INT8, ir.DataType.UINT8})

_MOVES = frozenset(
    {
        "MaxPool",
        "NhwcMaxPool",
        "Transpose",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Split",
        "Slice",
        "Identity",
        "Concat",
        "Gather",
        "Expand",
        "Tile",
        "Resize",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
    }
)
"""Operators whose output has the dtype of their first input."""

_INTEGER = frozenset({"QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger", "ConvInteger"})

_QGEMM_OUTPUT_SCALE = 7
"""The input of QGemm that makes its output integers."""


class UnreadableError(Exception):
    """The optimized graph cannot be had, although the model may run; the message says why."""


@dataclass(frozen=True)
class Deployed:
    """The graph that onnxruntime runs.

    Attributes:
        model: the optimized graph.
        origins: its nodes, each with the node of the quantized model that it comes from; those without are onnxruntime's own.
        runs: the other way round: what became of a node of the quantized model.
    """

    model: ir.Model
    origins: Mapping[ir.Node, ir.Node]
    runs: Mapping[ir.Node, tuple[ir.Node, ...]]


def deploy(model: ir.Model) -> Deployed:
    """Load a model in onnxruntime, all optimizations on, and read back what it runs.

    Args:
        model: the model; not changed.

    Raises:
        ModelError: onnxruntime does not load it.
        UnreadableError: it is too large for its optimized graph to be written.
    """
    if (size := model_bytes(model)) > LARGEST:
        raise UnreadableError(f"the model has {size} bytes: onnxruntime cannot write its optimized graph above 2 GiB")
    copy = model.clone()
    for index, node in enumerate(all_nodes(copy)):
        node.name = _TAG.format(index)
    optimized = _optimized(copy)
    nodes, origins = list(all_nodes(model)), dict[ir.Node, ir.Node]()
    blocked = {f"{o.name}{_BLOCKED}": n for n in nodes for o in n.outputs if o.name}
    runs: dict[ir.Node, list[ir.Node]] = defaultdict(list)
    for node in all_nodes(optimized):
        name = node.name or ""
        for origin in [nodes[int(i)] for i in dict.fromkeys(_TAGGED.findall(name))] or filter(
            None, [blocked.get(name)]
        ):
            origins.setdefault(node, origin)
            runs[origin].append(node)
    return Deployed(optimized, origins, {n: tuple(found) for n, found in runs.items()})


def _optimized(model: ir.Model) -> ir.Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        try:
            Session(model, threads=1, optimized_to=path)
        except ModelError as error:
            Session(model, threads=1)  # raises what is wrong with the model; else only the writing failed
            raise UnreadableError(f"its optimized graph cannot be written: {error}") from error
        return ir.from_proto(onnx.load(str(path)))


def is_integer_kernel(node: ir.Node) -> bool:
    """Whether a node of an optimized graph computes in integers."""
    return node.op_type in _INTEGER or node.op_type.startswith("QLinear")


def holds_codes(value: ir.Value | None) -> bool:
    """Whether a value of an optimized graph, which does not say its dtypes, is made of 8-bit integers."""
    while value is not None:
        producer = value.producer()
        if producer is None:
            return value.dtype in _EIGHT_BITS
        if producer.op_type not in _MOVES:
            return _makes_codes(producer)
        value = producer.inputs[0]
    return False


def _makes_codes(node: ir.Node) -> bool:
    if node.op_type == "QGemm":
        return len(node.inputs) > _QGEMM_OUTPUT_SCALE
    return is_op(node, "QuantizeLinear") or node.op_type.startswith("QLinear")


def is_move(node: ir.Node) -> bool:
    """Whether a node only moves, repeats or picks elements, in whatever dtype it finds."""
    return node.op_type in _MOVES


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a weight of the graph."""
    return value is not None and value.producer() is None and value.const_value is not None
