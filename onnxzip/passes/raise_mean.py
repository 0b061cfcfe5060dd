"""A sum divided by how many there are becomes ReduceMean: ReduceSum(x) / n = ReduceMean(x).

Rounds, by one unit in the last place. Legal case: floats, axes and their sizes constant, n a constant, in Mul or Div.
Left alone: a sum that others read too.

Latency against the two nodes (onnxruntime 1.32, all optimizations on): .74-.98.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.passes.affine import FLOATS
from onnxzip.passes.context import Context
from onnxzip.passes.local import local
from onnxzip.passes.moments import axes_of, mean
from onnxzip.passes.pattern import between, product, raise_to

_MEAN_TAKES_AXES_SINCE = 18


@local("Mul", "Div")
def raise_mean(node: ir.Node, context: Context) -> bool:
    """Put ReduceMean in the place of a sum and a division."""
    output = node.outputs[0]
    found = mean(output, context)
    dtype = context.shapes.dtype(output)
    if found is None or dtype is None or dtype not in [ir.DataType.from_numpy(d) for d in FLOATS]:
        return False
    source = found[0]
    summed = product(output).over[0]
    reduction = summed.producer()
    nodes = between(output, [source])
    if reduction is None or nodes is None or context.shapes.rank(output) != context.shapes.rank(summed):
        return False
    keepdims = reduction.attributes.get_int("keepdims", 1)
    if context.opset >= _MEAN_TAKES_AXES_SINCE:
        return raise_to("ReduceMean", output, nodes, [source, *reduction.inputs[1:]], context, keepdims=keepdims)
    axes = list(axes_of(reduction, context) or ())
    return raise_to("ReduceMean", output, nodes, [source], context, axes=axes, keepdims=keepdims)
