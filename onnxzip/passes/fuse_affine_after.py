"""Affine maps per channel after Conv, ConvTranspose, Gemm and MatMul go into weight and bias.

    s * (W x + b) + t  =  (s W) x + (s b + t)

with s and t per out-channel, computed in float64 and rounded once to the type of the weight. Not bit exact: the order of
rounding differs (relative error about the precision of the type). Legal cases:
1. Conv, ConvTranspose (any groups), Gemm (any alpha, beta, transB): a whole chain of BatchNormalization, Mul, Add, Sub,
   Div, Neg goes.
2. MatMul with a constant [K, N]: scales go into the weight, all shifts into one Add behind it.
Left alone: a MatMul with nothing but an Add; a value in between that others read or that is an output; weights that are
computed, quantized or overridable. Refused with a note: results that the type cannot hold, fusions that add bytes
(a shared weight would have to be copied).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.edit import add_constant, can_replace, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.passes.affine import IDENTITY, Affine, affine_of
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_added, put_constant
from onnxzip.passes.linear import LINEAR, Linear, linear_of
from onnxzip.passes.local import local
from onnxzip.passes.scope import drop_unused


@local(*LINEAR)
def fuse_affine_after(node: ir.Node, context: Context) -> bool:
    """Fold what follows a linear operator into it."""
    linear = linear_of(node, context)
    if linear is None:
        return False
    chain, affine = _chain(linear, context)
    separate = is_op(linear.node, "MatMul") and affine.shifts()
    if len(chain) <= separate:
        return False
    last = chain[-1].outputs[0]
    if not can_replace(last, linear.node.outputs[0]):
        return False
    where = f"{label(chain[0])} after {label(linear.node)}"
    weight = linear.stored(linear.scaled_out(affine.scale)) if affine.is_finite() else None
    bias = _bias(linear, affine) if weight is not None else None
    if weight is None or bias is None:
        return context.refuse(f"{where} stays: the fused weights do not fit into {linear.weight.dtype}")
    needs_bias = affine.shifts() or linear.bias is not None
    added = bytes_added(linear, chain, weight=affine.scales(), bias=needs_bias)
    if not context.affords(added):
        return context.refuse(f"{where} stays: the file would grow by {added} bytes, because a weight is shared")
    _apply(linear, chain, weight if affine.scales() else None, bias if needs_bias else None, context)
    return True


def _chain(linear: Linear, context: Context) -> tuple[list[ir.Node], Affine]:
    """The affine nodes behind `linear`, each the only reader of the one before, and their composition."""
    chain: list[ir.Node] = []
    affine, value = IDENTITY, linear.node.outputs[0]
    while True:
        consumer = sole_consumer(value)
        if consumer is None or consumer.graph is not linear.node.graph:
            return chain, affine
        step = affine_of(consumer, value, linear.out_layout, context.opset)
        if step is None:
            return chain, affine
        chain.append(consumer)
        affine, value = affine.then(step), consumer.outputs[0]


def _bias(linear: Linear, affine: Affine) -> np.ndarray | None:
    """The new bias of shape (channels,), or None where the type cannot hold it."""
    old = np.zeros(()) if linear.bias is None else linear.bias.astype(np.float64)
    beta = linear.node.attributes.get_float("beta", 1.0)
    with np.errstate(all="ignore"):
        bias = np.broadcast_to((beta * old * affine.scale + affine.shift).reshape(-1), (linear.out_layout.channels,))
        rounded = bias.astype(linear.weight.dtype)
    return rounded if np.isfinite(rounded).all() else None


def _apply(
    linear: Linear, chain: list[ir.Node], weight: np.ndarray | None, bias: np.ndarray | None, context: Context
) -> None:
    node, last = linear.node, chain[-1].outputs[0]
    read = [v for link in chain for v in link.inputs]
    if weight is not None:
        put_constant(node, 1, weight, context.names, "weight")
    if bias is not None and is_op(node, "MatMul"):
        _add_behind(node, last, bias, context)
    else:
        if bias is not None:
            put_constant(node, 2, bias, context.names, f"{node.outputs[0].name}_bias")
            node.attributes.pop("beta", None)
        replace(last, node.outputs[0])
    for link in reversed(chain):
        remove(link)
    drop_unused(dict.fromkeys(read))


def _add_behind(node: ir.Node, last: ir.Value, bias: np.ndarray, context: Context) -> None:
    if node.graph is None:
        raise ValueError(f"{label(node)} is not in a graph")
    stem = node.outputs[0].name or "matmul"
    shift = add_constant(node.graph, bias, context.names.fresh(f"{stem}_bias"))
    # `last` may be a graph output, whose name the new node takes over
    add = new_node("Add", [], context.names.fresh(f"{stem}_biased"))
    add.resize_inputs(2)
    add.outputs[0].type, add.outputs[0].shape = last.type, last.shape
    node.graph.insert_after(node, [add])
    add.replace_input_with(0, node.outputs[0])
    add.replace_input_with(1, shift)
    replace(last, add.outputs[0])
