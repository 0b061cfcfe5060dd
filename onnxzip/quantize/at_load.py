"""Integer weights that the runtime turns into float once, when it loads the model: Cast and Mul instead of DequantizeLinear.

    w = Cast(codes, float) · scale        the same float32 numbers as DequantizeLinear gives

onnxruntime folds constant nodes when it loads a model, but never a DequantizeLinear. A Conv whose weights come from one has no kernel
of its own: it dequantizes them at every run, and stays out of the blocked layout of float Convs. Behind Cast and Mul it is the Conv of the float model, in time and
in memory; the file is as small. (UltraFace, weights alone: .27 of the file and, of the original's time, .96 with DequantizeLinear, .34 without, as the exact float model.)
MatMul and Gemm keep DequantizeLinear, for onnxruntime makes MatMulNBits of it; so do targets that are compilers, which look for it.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import Names, new_node
from onnxzip.quantize.constants import Constants
from onnxzip.quantize.graphs import graph_of
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import QuantPlan
from onnxzip.quantize.weights import IntegerWeight


def at_load(plan: QuantPlan, row: TargetRow) -> frozenset[str]:
    """The weights of a plan that are stored so: int8, read by Convs alone that compute in float, for onnxruntime's own CPU kernels."""
    if row.placement != "kernels":
        return frozenset()
    ready: dict[str, bool] = {w.initializer: not w.block for w in plan.weights}
    for p in plan.nodes:
        if p.weight:
            ready[p.weight] = ready.get(p.weight, False) and p.role == "stored" and p.op == "Conv"
    return frozenset(name for name, is_ready in ready.items() if is_ready)


def made_at_load(before: ir.Node, weight: IntegerWeight, constants: Constants, names: Names) -> ir.Value:
    """The nodes that make float weights of integers, placed before a node; what they give.

    Args:
        before: the Conv.
        weight: int8 codes.
        constants: of the model.
        names: for what the nodes give.
    """
    graph, rank = graph_of(before), weight.codes.ndim
    codes = constants.integers(graph, "weight", weight.codes, weight.entry)
    along = weight.scales.reshape([-1 if i == weight.entry.axis else 1 for i in range(rank)])
    scales = constants.scales(before, along, weight.entry)
    cast = new_node("Cast", [codes], names.fresh("weight"), to=int(ir.DataType.FLOAT))
    nodes = [cast, new_node("Mul", [cast.outputs[0], scales], names.fresh("weight"))]
    graph.insert_before(before, nodes)
    return nodes[1].outputs[0]
