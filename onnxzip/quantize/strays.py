"""Q and DQ that are pure cost in the graph that onnxruntime runs.

A Q has its place between a float value and an integer operator, a DQ between an integer operator and a float one or the
caller. Stray is
 1. a Q behind a DQ: integers are scaled anew. (onnxruntime merges most of these when it loads a model.)
 2. a Q that only DQ read: a float value is rounded, and computed with in float.
 3. a Q or DQ of a constant: the same work at every run. (Not told again where the node is known to do that.)
 4. a DQ whose value is only moved and quantized again: the integers could have been moved.
 5. a second DQ of the same integers with the same scale: onnxruntime gives each float reader its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.walk import all_nodes, is_op, label
from onnxzip.quantize.deployed import Deployed, is_constant, is_move


@dataclass(frozen=True)
class Stray:
    """One of them: the planned node of the quantized model that it belongs to (None: none is near), a tensor, and the case."""

    node: ir.Node | None
    tensor: str
    reason: str


def strays(run: Deployed, planned: Collection[ir.Node], told: Collection[ir.Node]) -> Iterator[Stray]:
    """Every stray Q and DQ, each with the planned node that is nearest to it.

    Args:
        run: what onnxruntime made of the quantized model.
        planned: nodes of the quantized model that the plan names.
        told: those of them of which something is known already: the Q and DQ around them belong to it.
    """
    first: dict[tuple[str, ...], ir.Node] = {}
    for node in all_nodes(run.model):
        if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
            continue
        reason = _of_q(node) if node.op_type == "QuantizeLinear" else _of_dq(node, first, run)
        if not reason:
            continue
        around = [run.origins.get(n) for n in _around(node)]
        if not any(n in told for n in around):
            yield Stray(next((n for n in around if n in planned), None), _tensor(node, run), reason)


def _of_q(node: ir.Node) -> str:
    """Cases 1 to 3."""
    value = node.inputs[0]
    if is_constant(value):
        return "a constant is quantized at every run"
    if value is not None and is_op(value.producer(), "DequantizeLinear"):
        return "integers are dequantized and quantized again"
    readers = [u.node for u in node.outputs[0].uses()]
    if not readers or not all(is_op(n, "DequantizeLinear") for n in readers):
        return ""
    behind = [u.node for n in readers for u in n.outputs[0].uses() if not is_op(u.node, "QuantizeLinear")]
    if not behind and not any(n.outputs[0].is_graph_output() for n in readers):
        return ""  # case 1 at the next Q
    return f"a float value is rounded and read in float, by {_named(behind)}"


def _of_dq(node: ir.Node, first: dict[tuple[str, ...], ir.Node], run: Deployed) -> str:
    """Cases 3 to 5."""
    if is_constant(node.inputs[0]):
        return f"the constant {node.inputs[0].name!r} is dequantized at every run"  # type: ignore[union-attr]
    key = tuple(v.name or "" if v is not None else "" for v in node.inputs)
    twin = first.setdefault(key, node)
    if twin is not node:
        return f"the same integers are dequantized once more, for {_named([u.node for u in node.outputs[0].uses()])}"
    readers = [u.node for u in node.outputs[0].uses()]
    if readers and all(_only_moved(n) for n in readers):
        return f"a value is dequantized to be moved by {label(run.origins.get(readers[0], readers[0]))} and quantized again"
    return ""


def _only_moved(node: ir.Node) -> bool:
    """Whether a node moves nothing but dequantized values, for nothing but Q."""
    joined = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    from_integers = all(v is not None and is_op(v.producer(), "DequantizeLinear") for v in joined)
    readers = [u.node for o in node.outputs for u in o.uses()]
    kept = any(o.is_graph_output() for o in node.outputs)
    return (
        is_move(node)
        and from_integers
        and not kept
        and bool(readers)
        and all(is_op(n, "QuantizeLinear") for n in readers)
    )


def _named(readers: list[ir.Node]) -> str:
    return readers[0].op_type if readers else "the caller"


def _around(node: ir.Node) -> list[ir.Node]:
    """The nodes next to a Q or DQ, those that read it first, seen through other Q and DQ and through moves."""
    found, seen, todo = list[ir.Node](), {node}, [node]
    while todo:
        here = todo.pop(0)
        readers = [u.node for o in here.outputs for u in o.uses()]
        producers = [p for v in here.inputs[:1] if v is not None and (p := v.producer()) is not None]
        for near in (*readers, *producers):
            if near in seen:
                continue
            seen.add(near)
            found.append(near)
            if is_op(near, "QuantizeLinear", "DequantizeLinear") or is_move(near):
                todo.append(near)
    return found


def _tensor(node: ir.Node, run: Deployed) -> str:
    """The float value that a Q or DQ stands for, by the name it has in the quantized model where it is known there."""
    origin = run.origins.get(node, node)
    if origin.op_type == "DequantizeLinear":
        producer = origin.inputs[0].producer() if origin.inputs[0] is not None else None
        origin = producer if is_op(producer, "QuantizeLinear") and producer is not None else origin
    value = origin.inputs[0]
    return (value.name or "") if value is not None else ""
