"""Nodes with constant weights for which the target has an integer kernel, recognised one by one.

A kernel reads one activation (quantized in front of it), holds integer weights, and either needs a quantized output (`end`)
or dequantizes by itself (`end` is None). What is not recognised stays float, with the reason.

Roles, and what is taken:
 1. conv     Conv, any rank, groups and depthwise included; weights per out-channel (axis 0). `end` is its output, or the output of the Relu
             or Clip that alone reads it. ConvTranspose without groups, where the target has it (axis 1).
 2. gemm     Gemm with alpha = beta = 1 and no transA; per column (axis 0 when transB, else 1). The bias becomes int32,
             because the integer kernel with a float output takes no other.
 3. gemm     MatMul of a vector or matrix and the Add of a constant vector: onnxruntime makes a Gemm of the pair before it looks
             for integer kernels, so it must look like case 2.
 4. matmul   MatMul with a constant 2-D right operand, per column (axis 1). The bias of an Add behind it is given the shape [1,1,N]:
             a plain vector would be made a Gemm with a float bias, which has no integer kernel.
 5. table    Gather of rows of a large constant: the rows are gathered as int8 and scaled afterwards, row by row.
In cases 2 to 4 a Relu or Clip that alone reads the result hides the kernel from onnxruntime unless a Q follows: then its
output is `end`. The same holds for a MatMul of a vector or matrix and an Add of two activations, which would become a Gemm: then `end` is the
output of the MatMul.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array, constant, scalar
from onnxzip.model.edit import sole_consumer
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op
from onnxzip.quantize.qparams import UNBOUNDED
from onnxzip.quantize.row import TargetRow

Bounds = tuple[float, float]

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")
"""Operators that carry the work of a model: each is either planned or named with the reason."""

SCALED = "integer kernels take no transA, alpha or beta"


@dataclass(frozen=True)
class Kernel:
    """One node that will compute in integers.

    Attributes:
        node: the node that holds the weights.
        role: see the module's docstring.
        data: its activation (for a table: the row numbers, which stay as they are).
        weight, axis: the constant, and the axis along which its scales run.
        bias: the constant bias, or None.
        bias_add: the Add that holds the bias, or None when the node itself does.
        end: the value whose quantization closes the kernel, or None when the output stays float.
        bounds: of the activation function absorbed before `end`.
    """

    node: ir.Node
    role: str
    data: ir.Value
    weight: ir.Value
    axis: int
    bias: ir.Value | None = None
    bias_add: ir.Node | None = None
    end: ir.Value | None = None
    bounds: Bounds = UNBOUNDED


def recognise(node: ir.Node, shapes: Shapes, target: TargetRow, keep: Container[ir.Node]) -> Kernel | str | None:
    """The kernel of a node, or why it stays float, or None when the node is of no interest.

    Args:
        node: a node of the main graph or of a body.
        shapes: of its model.
        target: the row.
        keep: nodes that must not be touched.
    """
    if node.op_type in target.tables and is_op(node, node.op_type):
        return _table(node, target)
    if not is_op(node, *WEIGHTED):
        return None
    if node.op_type not in target.output_quantized | target.float_output:
        return f"target {target.name} has no integer kernel for {node.op_type}"
    data, weight = (*node.inputs, None, None)[:2]
    if data is None or weight is None:
        return "an input is missing"
    if constant(data) is not None:
        return "it reads no activation"
    problem = _weight_problem(weight)
    if problem is not None:
        return problem
    if node.op_type in ("Conv", "ConvTranspose"):
        return _conv(node, data, weight, target, keep)
    if node.op_type == "Gemm":
        return _gemm(node, data, weight, target, keep)
    return _matmul(node, data, weight, _rank_of(data, shapes), target, keep)


def absorbed(value: ir.Value, target: TargetRow, keep: Container[ir.Node]) -> tuple[ir.Value, Bounds]:
    """The value that is quantized in place of `value`: the output of the Relu or Clip that alone reads it, and its bounds."""
    node = sole_consumer(value)
    if node is None or node in keep or not is_op(node, *target.absorbed) or node.graph is not value.graph:
        return value, UNBOUNDED
    bounds = activation_bounds(node)
    return (node.outputs[0], bounds) if bounds is not None else (value, UNBOUNDED)


def activation_bounds(node: ir.Node) -> Bounds | None:
    """Bounds of a Relu or Clip, or None when they are not constant or exclude 0 (which every grid must hold)."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    found = []
    for index, (name, default) in enumerate((("min", -math.inf), ("max", math.inf)), start=1):
        value = node.inputs[index] if index < len(node.inputs) else None
        bound = node.attributes.get_float(name, default) if value is None else scalar(value)
        if bound is None:
            return None
        found.append(float(bound))
    low, high = max(found[0], -3e38), min(found[1], 3e38)  # the extremes of float32 mean no bound
    low, high = -math.inf if low <= -3e38 else low, math.inf if high >= 3e38 else high
    return (low, high) if low <= 0 < high else None


def scaled(gemm: ir.Node) -> bool:
    """Whether a Gemm does more than multiply and add a bias."""
    get = gemm.attributes
    return get.get_int("transA", 0) != 0 or get.get_float("alpha", 1.0) != 1.0 or get.get_float("beta", 1.0) != 1.0


def _weight_problem(weight: ir.Value) -> str | None:
    """Why a value cannot become int8 weights, or None."""
    tensor = constant(weight)
    if tensor is None:
        return "its weights are not constant"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weights are {tensor.dtype.name.lower()}, not float32"
    if weight.is_graph_output():
        return f"its weights {weight.name!r} are an output of the model"
    if tensor.size == 0:
        return "its weights are empty"
    if not np.isfinite(tensor.numpy()).all():
        return f"its weights {weight.name!r} hold NaN or Inf"
    return None


def _conv(node: ir.Node, data: ir.Value, weight: ir.Value, target: TargetRow, keep: Container[ir.Node]) -> Kernel | str:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and not _is_vector(bias):
        return "its bias is not constant"
    axis = 1 if node.op_type == "ConvTranspose" else 0
    if axis == 1 and node.attributes.get_int("group", 1) > 1:
        return "the weights of a grouped ConvTranspose have no axis of output channels"
    if node.op_type in target.float_output:
        return Kernel(node, "conv", data, weight, axis, bias)
    end, bounds = absorbed(node.outputs[0], target, keep)
    return Kernel(node, "conv", data, weight, axis, bias, None, end, bounds)


def _gemm(node: ir.Node, data: ir.Value, weight: ir.Value, target: TargetRow, keep: Container[ir.Node]) -> Kernel | str:
    if scaled(node):
        return SCALED
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    axis = 0 if node.attributes.get_int("transB", 0) else 1
    if bias is not None and not _is_row(bias, _size(weight, axis)):
        return "its bias is not a constant row"
    end, bounds = _hidden_end(node.outputs[0], target, keep)
    return Kernel(node, "gemm", data, weight, axis, bias, None, end, bounds)


def _matmul(
    node: ir.Node, data: ir.Value, weight: ir.Value, rank: int | None, target: TargetRow, keep: Container[ir.Node]
) -> Kernel | str:
    result = node.outputs[0]
    tensor = constant(weight)
    if tensor is None or len(tensor.shape) != 2:
        return "its weights are not a matrix"
    if not target.bias_behind_matmul:
        return Kernel(node, "matmul", data, weight, 1)
    add = sole_consumer(result)
    if add is None or rank is None or not is_op(add, "Add") or add in keep or add.graph is not node.graph:
        end, bounds = _hidden_end(result, target, keep)
        return Kernel(node, "matmul", data, weight, 1, None, None, end, bounds)
    bias = next((v for v in add.inputs if v is not None and v is not result), None)
    if bias is not None and _is_row(bias, _size(weight, 1)) and _rank(bias) <= rank:  # else the sum has more axes
        if rank > 2:
            return Kernel(node, "matmul", data, weight, 1, bias, add)
        end, bounds = _hidden_end(add.outputs[0], target, keep)
        return Kernel(node, "gemm", data, weight, 1, bias, add, end, bounds)
    return Kernel(node, "matmul", data, weight, 1, end=result if rank <= 2 else None)


def _table(node: ir.Node, target: TargetRow) -> Kernel | str | None:
    table, rows = node.inputs[0], node.inputs[1]
    tensor = constant(table)
    if table is None or rows is None or tensor is None or tensor.nbytes < target.table_bytes or len(tensor.shape) < 2:
        return None
    if tensor.dtype != ir.DataType.FLOAT:
        return None
    if node.attributes.get_int("axis", 0) != 0:
        return "only tables that are read by row are stored in integers"
    problem = _weight_problem(table)
    return problem if problem is not None else Kernel(node, "table", rows, table, 0)


def _hidden_end(value: ir.Value, target: TargetRow, keep: Container[ir.Node]) -> tuple[ir.Value | None, Bounds]:
    """Where a Relu or Clip alone reads `value`: what to quantize so that the kernel is found. Else nothing."""
    reader = sole_consumer(value)
    if reader is None or not is_op(reader, *target.absorbed) or reader.graph is not value.graph:
        return None, UNBOUNDED
    return absorbed(value, target, keep)


def _is_vector(value: ir.Value) -> bool:
    content = array(value)
    return (
        content is not None and content.dtype == np.float32 and content.ndim == 1 and bool(np.isfinite(content).all())
    )


def _is_row(value: ir.Value, size: int) -> bool:
    """Constant, finite, and one number a column: shape [N] or [1, ..., 1, N]."""
    content = array(value)
    return (
        content is not None
        and content.dtype == np.float32
        and content.shape[-1:] == (size,)
        and content.size == size
        and bool(np.isfinite(content).all())
    )


def _rank_of(value: ir.Value, shapes: Shapes) -> int | None:
    """The rank of an activation; of what a Loop carries, which inference does not know, as declared: onnxruntime believes that too."""
    rank = shapes.rank(value)
    return value.shape.rank() if rank is None and value.shape is not None else rank


def _rank(value: ir.Value) -> int:
    tensor = constant(value)
    return 0 if tensor is None else len(tensor.shape)


def _size(value: ir.Value, axis: int) -> int:
    tensor = constant(value)
    return 0 if tensor is None else int(tensor.shape.numpy()[axis])
