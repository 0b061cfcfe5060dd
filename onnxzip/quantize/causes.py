"""Why onnxruntime did not make an integer kernel of a node, as far as it can be seen in the quantized model.

Looked for, in this order (facts of onnxruntime 1.32, CPU provider; s are scales, z zero points):
 1. input    the activation, or the weights, come from no DequantizeLinear.
 2. bias     it is int32 but its scales are not s_x s_w; or it is float in a Gemm whose output is not quantized.
 3. fan-out  others read the output beside the Q: an integer kernel has no float output beside the quantized one.
 4. range    a Relu or Clip stands before the Q, and the Q reaches beyond its bounds: it is absorbed only when saturation does
             what it does, so Relu needs z = 0 for uint8, Clip(0, 6) needs (255 - z) s <= 6.
 5. output   nothing quantizes the output of a Conv, Add or Concat, which have no kernel without; or one of several outputs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.model.constants import array
from onnxzip.model.edit import sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.quantize.kernels import activation_bounds

_TOLERANCE = 1e-5
"""Of a bound, relative: a scale is the bound over 255, rounded to float32."""

_NEED_OUTPUT = ("Conv", "Add", "Concat", "GlobalAveragePool")


def cause(node: ir.Node) -> str:
    """Why a node of a quantized model may have no integer kernel, or nothing.

    Args:
        node: a node of the model as it was inserted, not of what onnxruntime made of it.
    """
    weighted = is_op(node, "Conv", "Gemm", "MatMul")
    return _inputs(node, weighted=weighted) or (_bias(node) if weighted else "") or _output(node)


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that gives a value."""
    producer = value.producer() if value is not None else None
    return producer if is_op(producer, "DequantizeLinear") else None


def _inputs(node: ir.Node, *, weighted: bool) -> str:
    """Case 1."""
    if weighted and dequantizer(node.inputs[1]) is None:
        return f"its weights {_name(node.inputs[1])} are stored in float"
    looked = node.inputs[:1] if weighted else node.inputs
    plain = next((v for v in looked if dequantizer(v) is None), None)
    return f"its input {_name(plain)} is not quantized" if plain is not None else ""


def _bias(node: ir.Node) -> str:
    """Case 2."""
    bias = node.inputs[2] if len(node.inputs) > 2 else _bias_behind(node)
    data, weight, stored = dequantizer(node.inputs[0]), dequantizer(node.inputs[1]), dequantizer(bias)
    if bias is None or data is None or weight is None:
        return ""
    if stored is None:
        float_output = is_op(node, "Gemm") and _quantizer(node.outputs[0])[0] is None
        return f"its bias {_name(bias)} is float, and no Q follows" if float_output else ""
    scales = [array(n.inputs[1]) for n in (data, weight, stored)]
    if any(s is None for s in scales) or _is_product(*scales):  # type: ignore[arg-type]
        return ""
    return f"the scale of its bias {_name(stored.inputs[0])} is not the product of those of its input and its weights"


def _bias_behind(node: ir.Node) -> ir.Value | None:
    """The dequantized bias of the Add that alone reads a MatMul."""
    add = sole_consumer(node.outputs[0])
    if not is_op(node, "MatMul") or add is None or not is_op(add, "Add"):
        return None
    return next((v for v in add.inputs if (d := dequantizer(v)) is not None and array(d.inputs[0]) is not None), None)


def _is_product(data: NDArray[np.float32], weight: NDArray[np.float32], bias: NDArray[np.float32]) -> bool:
    product = data.reshape(-1) * weight.reshape(-1)
    return np.broadcast_shapes(product.shape, bias.reshape(-1).shape) == bias.reshape(-1).shape and np.allclose(
        product, bias.reshape(-1), rtol=_TOLERANCE, atol=0
    )


def _output(node: ir.Node) -> str:
    """Cases 3 to 5."""
    if len(node.outputs) > 1:
        bare = next((o for o in node.outputs if _quantizer(o)[0] is None), None)
        return f"no Q follows its output {_name(bare)}" if bare is not None else ""
    quantize, last = _quantizer(node.outputs[0])
    if quantize is None:
        others = [u.node for u in last.uses()]
        if any(is_op(n, "QuantizeLinear") for n in others):
            return f"its output is read beside the Q, by {_reader(last)}"
        return "no Q follows" if is_op(node, *_NEED_OUTPUT) else ""
    if last is node.outputs[0]:
        return ""
    activation, reach = last.producer(), _reach(quantize)
    bounds = activation_bounds(activation) if activation is not None else None
    if activation is None or bounds is None or reach is None:
        return ""
    slack = _TOLERANCE * (reach[1] - reach[0])
    if reach[0] < bounds[0] - slack or reach[1] > bounds[1] + slack:
        return f"{label(activation)} is not absorbed: the Q behind it reaches from {reach[0]:.6g} to {reach[1]:.6g}"
    return ""


def _quantizer(value: ir.Value) -> tuple[ir.Node | None, ir.Value]:
    """The Q that alone reads a value, perhaps behind a Relu or Clip, and the value that it reads; or where the search ended."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None, value
    reader = next(iter(uses)).node
    if is_op(reader, "QuantizeLinear"):
        return reader, value
    return _quantizer(reader.outputs[0]) if is_op(reader, "Relu", "Clip") else (None, value)


def _reader(value: ir.Value) -> str:
    if value.is_graph_output():
        return "the caller"
    return label(next(u.node for u in value.uses() if not is_op(u.node, "QuantizeLinear")))


def _reach(quantize: ir.Node) -> tuple[float, float] | None:
    """The smallest and the largest number that a Q represents."""
    scale = array(quantize.inputs[1])
    zero = array(quantize.inputs[2]) if len(quantize.inputs) > 2 else np.zeros((), np.uint8)
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    grid = np.iinfo(zero.dtype)
    step, offset = float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])
    return (grid.min - offset) * step, (grid.max - offset) * step


def _name(value: ir.Value | None) -> str:
    return repr(value.name or "") if value is not None else "(none)"
