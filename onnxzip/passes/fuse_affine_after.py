"""Affine maps per channel after Conv, ConvTranspose, Gemm and MatMul go into weight and bias.

    s * (W x + b) + t  =  (s W) x + (s b + t)

with s and t per out-channel, computed in float64 and rounded once to the type of the weight. Not bit exact: the order of
rounding differs (relative error about the precision of the type). Legal cases:
1. Conv, ConvTranspose (any groups), Gemm (any alpha, beta, transB): a whole chain of BatchNormalization, Mul, Add, Sub,
   Div, Neg goes.
2. MatMul with a constant [K, N]: scales go into the weight, all shifts into one Add behind it.
3. The weight has other readers, and all of them are such nodes, each followed by the same scale: all are fused at once,
   and the weight stays one.
4. Between the linear operator and such nodes, elements are only moved (see `movement`), each by the only reader: the
   same numbers are scaled and shifted before they move.
Left alone: a MatMul with nothing but an Add; a value in between that others read or that is an output; weights that are
computed, quantized or overridable. Refused with a note: results that the type cannot hold, fusions that add bytes
(a shared weight would have to be copied).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.edit import add_constant, can_replace, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.passes.affine import IDENTITY, Affine, affine_of
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_added, is_own, put_constant
from onnxzip.passes.linear import LINEAR, Linear, linear_of
from onnxzip.passes.local import local
from onnxzip.passes.movement import carried


@local(*LINEAR)
def fuse_affine_after(node: ir.Node, context: Context) -> bool:
    """Fold what follows a linear operator into it."""
    fusion = _fusion(node, context)
    if fusion is None:
        return False
    where, linear = f"{label(fusion.chain[0])} after {label(node)}", fusion.linear
    weight = linear.stored(linear.scaled_out(fusion.affine.scale)) if fusion.affine.is_finite() else None
    if weight is None or fusion.bias is None:
        return context.refuse(f"{where} stays: the fused weights do not fit into {linear.weight.dtype}")
    scales = fusion.affine.scales()
    all_readers = (_tied(fusion, context) if scales else None) or [fusion]
    added = sum(
        bytes_added(f.linear, f.chain, weight=scales and len(all_readers) == 1, bias=f.changes_bias)
        for f in all_readers
    )
    if not context.affords(added):
        return context.refuse(f"{where} stays: the file would grow by {added} bytes, because a weight is shared")
    if scales:
        old = node.inputs[1]
        put_constant(node, 1, weight, context.names, "weight")
        for other in all_readers:
            other.linear.node.replace_input_with(1, node.inputs[1])
        discard([old])
    for each in all_readers:
        _apply(each, context)
    return True


@dataclass(frozen=True)
class _Fusion:
    """A linear operator, the chain that goes into it, and the bias that comes out (None: the type cannot hold it)."""

    linear: Linear
    chain: list[ir.Node]
    affine: Affine
    bias: np.ndarray | None

    @property
    def changes_bias(self) -> bool:
        """Whether there must be another bias than there is: one of zeros, or none, may stay."""
        if self.bias is None or self.linear.bias is None:
            return self.affine.shifts()
        same = np.array_equal(self.bias, np.broadcast_to(self.linear.bias.reshape(-1), self.bias.shape))
        return not same or self.linear.node.attributes.get_float("beta", 1.0) != 1.0


def _fusion(node: ir.Node, context: Context) -> _Fusion | None:
    """What can be folded into this node; None when that is nothing."""
    linear = linear_of(node, context)
    if linear is None:
        return None
    chain, affine = _chain(linear, context)
    separate = is_op(node, "MatMul") and affine.shifts()
    if len(chain) <= separate or not can_replace(chain[-1].outputs[0], _data(chain[-1])):
        return None
    return _Fusion(linear, chain, affine, _bias(linear, affine) if affine.is_finite() else None)


def _tied(first: _Fusion, context: Context) -> list[_Fusion] | None:
    """Case 3: the fusions of all nodes that read the weight, when each reads it in the same way and scales it alike."""
    node, weight, found = first.linear.node, first.linear.node.inputs[1], [first]
    if weight is None or is_own(weight) or weight.is_graph_output() or not weight.is_initializer():
        return None
    for other, index in weight.uses():
        if other is node:
            continue
        alike = index == 1 and other.graph is node.graph and _like(other, node)
        fusion = _fusion(other, context) if alike else None
        if fusion is None or fusion.bias is None or not np.array_equal(fusion.affine.scale, first.affine.scale):
            return None
        found.append(fusion)
    return found


def _like(other: ir.Node, node: ir.Node) -> bool:
    """Whether both read the weight with the same meaning of its axes."""
    return is_op(other, node.op_type) and all(
        other.attributes.get_int(key, default) == node.attributes.get_int(key, default)
        for key, default in (("group", 1), ("transB", 0))
    )


def _chain(linear: Linear, context: Context) -> tuple[list[ir.Node], Affine]:
    """The affine nodes behind `linear`, and their composition. Between them there may be nodes that move elements only.

    All of them, moving ones too, are the only reader of what they read.
    """
    chain: list[ir.Node] = []
    affine, value, layout = IDENTITY, linear.node.outputs[0], linear.out_layout
    while (consumer := sole_consumer(value)) is not None and consumer.graph is linear.node.graph:
        step = affine_of(consumer, value, layout, context.opset)
        moved = carried(consumer, layout, context) if step is None and consumer.inputs[0] is value else None
        if step is not None:
            chain.append(consumer)
            affine = affine.then(step)
        elif moved is not None:
            layout = moved
        else:
            break
        value = consumer.outputs[0]
    return chain, affine


def _bias(linear: Linear, affine: Affine) -> np.ndarray | None:
    """The new bias of shape (channels,), or None where the type cannot hold it."""
    old = np.zeros(()) if linear.bias is None else linear.bias.astype(np.float64)
    beta = linear.node.attributes.get_float("beta", 1.0)
    with np.errstate(all="ignore"):
        bias = np.broadcast_to((beta * old * affine.scale + affine.shift).reshape(-1), (linear.out_layout.channels,))
        rounded = bias.astype(linear.weight.dtype)
    return rounded if np.isfinite(rounded).all() else None


def _data(link: ir.Node) -> ir.Value:
    """What an affine node maps: its one operand that is not constant."""
    return next(v for v in link.inputs if v is not None and constant(v) is None)


def _apply(fusion: _Fusion, context: Context) -> None:
    node = fusion.linear.node
    read = [v for link in fusion.chain for v in link.inputs]
    bias = fusion.bias if fusion.changes_bias else None
    behind = bias if is_op(node, "MatMul") else None
    if bias is not None and behind is None:
        put_constant(node, 2, bias, context.names, f"{node.outputs[0].name}_bias")
        node.attributes.pop("beta", None)
    for link in fusion.chain:
        replace(link.outputs[0], _data(link))
        remove(link)
    if behind is not None:
        _add_behind(node, behind, context)
    discard(read)


def _add_behind(node: ir.Node, bias: np.ndarray, context: Context) -> None:
    if node.graph is None:
        raise ValueError(f"{label(node)} is not in a graph")
    product = node.outputs[0]
    stem = product.name or "matmul"
    shift = add_constant(node.graph, bias, context.names.fresh(f"{stem}_bias"))
    # the product may be a graph output now, whose name the new node takes over
    add = new_node("Add", [], context.names.fresh(f"{stem}_biased"))
    add.resize_inputs(2)
    node.graph.insert_after(node, [add])
    replace(product, add.outputs[0])
    add.replace_input_with(0, product)
    add.replace_input_with(1, shift)
