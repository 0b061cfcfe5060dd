"""Affine maps per channel in a row, with no linear operator to take them, become as few nodes as can be.

    t2 + s2 * (t1 + s1 * x)  =  (s2 t1 + t2) + (s2 s1) * x

computed in float64 and rounded once: not bit exact. Legal cases, for a value of known rank and channels (axis 1):
1. With a BatchNormalization among them: all go into its scale and bias (failures.md 12), as
   gamma = s * sqrt(variance + epsilon), beta = t + s * mean.
2. Without: one Mul, one Add, or a Mul and an Add, when that is fewer nodes.
Left alone: values in between that others read or that are outputs; a chain that is as short as it can be. Refused with
a note: results that the type cannot hold.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.edit import add_constant, can_replace, discard, new_node, remove, replace, sole_consumer
from onnxzip.model.walk import is_op, label
from onnxzip.passes.affine import FLOATS, IDENTITY, Affine, Layout, affine_of, deviation
from onnxzip.passes.context import Context
from onnxzip.passes.fusion import bytes_freed, is_own, put_constant
from onnxzip.passes.local import local
from onnxzip.passes.size import tensor_bytes

_AFFINE = ("Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization")


@local(*_AFFINE)
def merge_affines(node: ir.Node, context: Context) -> bool:
    """Compose chains of affine nodes."""
    found = _chain(node, context)
    if found is None:
        return False
    source, layout, chain, affine = found
    norm = next((n for n in chain if is_op(n, "BatchNormalization")), None)
    left = 1 if norm is not None else affine.scales() + affine.shifts()
    if len(chain) <= left or not can_replace(chain[-1].outputs[0], chain[0].outputs[0]):
        return False
    dtype = _dtype(source, context)
    if dtype is None:
        return False
    scale, shift = _parameters(affine, norm)
    rounded = tuple(_rounded(v, dtype) for v in (scale, shift))
    if rounded[0] is None or rounded[1] is None:
        return context.refuse(f"{label(node)} and what follows stay as they are: merged, they do not fit into {dtype}")
    if not context.affords(_bytes_added(chain, norm, layout, _wanted(affine, (rounded[0], rounded[1])))):
        return False  # constants that others read too would have to stay
    if norm is not None:
        _into_norm(norm, source, chain, rounded[0], rounded[1], context)
    elif not _into_new(source, layout, chain, affine, (rounded[0], rounded[1]), context):
        return False
    return True


def _chain(node: ir.Node, context: Context) -> tuple[ir.Value, Layout, list[ir.Node], Affine] | None:
    for source in node.inputs:
        shape = context.shapes.of(source)
        if source is None or shape is None or len(shape) < 2 or not isinstance(shape[1], int):
            continue
        layout = Layout(1, shape[1], len(shape))
        chain: list[ir.Node] = []
        affine, value, consumer = IDENTITY, source, node
        while (step := affine_of(consumer, value, layout, context.opset)) is not None:
            chain.append(consumer)
            affine, value = affine.then(step), consumer.outputs[0]
            following = sole_consumer(value)
            if following is None or following.graph is not node.graph:
                break
            consumer = following
        if len(chain) > 1:
            return source, layout, chain, affine
    return None


def _dtype(source: ir.Value, context: Context) -> np.dtype | None:
    """The type of all values in the chain, and so of its constants."""
    dtype = context.shapes.dtype(source)
    known = dtype.numpy() if dtype is not None and dtype != ir.DataType.UNDEFINED else None
    return known if known in FLOATS else None


def _parameters(affine: Affine, norm: ir.Node | None) -> tuple[np.ndarray, np.ndarray]:
    if norm is None:
        return affine.scale, affine.shift
    spread, mean = deviation(norm), array(norm.inputs[3])
    if spread is None or mean is None:
        raise ValueError(f"{label(norm)} is not constant")
    return affine.scale * spread, affine.shift + affine.scale * mean.astype(np.float64)


def _rounded(exact: np.ndarray, dtype: np.dtype) -> np.ndarray | None:
    with np.errstate(all="ignore"):
        rounded = np.asarray(exact.astype(dtype))
        close = np.abs(rounded.astype(np.float64) - exact) <= 4 * np.finfo(dtype).eps * np.abs(exact) + 1e-30
    return rounded if np.isfinite(rounded).all() and bool(np.all(close)) else None


def _bytes_added(
    chain: list[ir.Node], norm: ir.Node | None, layout: Layout, wanted: list[tuple[str, np.ndarray]]
) -> int:
    """How much the file grows, at most."""
    added = -bytes_freed([n for n in chain if n is not norm])
    stem = chain[-1].outputs[0].name or ""
    if norm is not None:
        copied = sum(not is_own(v) for v in norm.inputs[1:3])
        return added + copied * tensor_bytes(ir.DataType.DOUBLE, (layout.channels,), stem)
    for _, constant in wanted:
        shape = constant.shape + (1,) * ((layout.rank or 2) - 2) if constant.ndim else ()
        added += tensor_bytes(ir.DataType.from_numpy(constant.dtype), shape, stem) + 4 * len(stem) + 40
    return added


def _wanted(affine: Affine, parts: tuple[np.ndarray, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """The nodes that are left of a chain without a BatchNormalization, each with its constant."""
    return [("Mul", parts[0])] * affine.scales() + [("Add", parts[1])] * affine.shifts()


def _into_norm(
    norm: ir.Node, source: ir.Value, chain: list[ir.Node], gamma: np.ndarray, beta: np.ndarray, context: Context
) -> None:
    """Case 1."""
    last, others = chain[-1].outputs[0], [n for n in chain if n is not norm]
    read = [v for n in others for v in n.inputs]
    if last is not norm.outputs[0]:
        replace(last, norm.outputs[0])
    norm.replace_input_with(0, source)
    put_constant(norm, 1, gamma, context.names, "gamma")
    put_constant(norm, 2, beta, context.names, "beta")
    for other in reversed(others):
        remove(other)
    discard(read)


def _into_new(
    source: ir.Value,
    layout: Layout,
    chain: list[ir.Node],
    affine: Affine,
    parts: tuple[np.ndarray, np.ndarray],
    context: Context,
) -> bool:
    """Case 2. Returns False when the chain does nothing and its input cannot take over the name of its output."""
    last, graph = chain[-1].outputs[0], chain[-1].graph
    if graph is None:
        raise ValueError(f"{label(chain[-1])} is not in a graph")
    wanted = _wanted(affine, parts)
    if not wanted and not can_replace(last, source):
        return False
    value = source
    for op_type, constant in wanted:
        shape = constant.shape + (1,) * ((layout.rank or 2) - 2) if constant.ndim else ()
        operand = add_constant(graph, constant.reshape(shape), context.names.fresh(f"{last.name}_{op_type.lower()}"))
        new = new_node(op_type, [value, operand], context.names.fresh(f"{last.name}_{op_type.lower()}ed"))
        graph.insert_before(chain[-1], [new])
        value = new.outputs[0]
    read = [v for n in chain for v in n.inputs]
    replace(last, value)
    for node in reversed(chain):
        remove(node)
    discard(read)
    return True
