"""Does onnxruntime run a quantized model as planned? Its optimized graph is read back and compared with the plan.

Kinds of findings. At fault is a node that is better left float:
 1. float      planned in integers, it runs in float: its Q and DQ are pure cost, its weights are dequantized at every run.
 2. weights    it has an integer kernel, or is a table, but its integers are dequantized, or were never stored.
 3. pool       onnxruntime moved its Q up through a MaxPool, which then runs in 8 bits in the plain layout: slower than float.
Notes, which nothing is done about:
 4. stray      a Q or DQ that is pure cost (`onnxzip.quantize.strays`).
 5. unplanned  a node between DQ and Q that the plan leaves float has an integer kernel and gets it.
 6. stored     weights that are stored in integers alone are dequantized at every run: smaller, not faster.
 7. unread     nothing is known: the model is too large for the optimized graph to be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.errors import UsageError
from onnxzip.model.walk import all_nodes, is_op, label
from onnxzip.quantize.causes import cause
from onnxzip.quantize.deployed import (
    Deployed,
    UnreadableError,
    deploy,
    holds_codes,
    is_constant,
    is_integer_kernel,
    is_move,
)
from onnxzip.quantize.schema import PlannedNode, QuantPlan
from onnxzip.quantize.strays import strays

FAULTS = frozenset({"float", "weights", "pool"})

KERNELS = frozenset({"conv", "gemm", "matmul", "token"})
"""Roles that hold weights and compute in integers."""

_CLIMB = 6
"""How far above the value of a planned name its node may stand: behind Q, DQ and a scale at most."""


_BETWEEN = ("QuantizeLinear", "DequantizeLinear", "Relu", "Clip")
"""What may stand between a pool and the kernel whose Q was moved."""


@dataclass(frozen=True)
class Finding:
    """Something that does not run as planned.

    Attributes:
        node: first output of the planned node, as the plan has it; of a stray far from all planned nodes, the tensor.
        op: its operator.
        kind: see the module's docstring.
        reason: what was seen, and why where that is known. One sentence without the node's name.
    """

    node: str
    op: str
    kind: str
    reason: str

    @property
    def at_fault(self) -> bool:
        """Whether the node is better left float."""
        return self.kind in FAULTS


def audit(model: ir.Model, plan: QuantPlan) -> tuple[Finding, ...]:
    """Everything that onnxruntime does not run as planned, in the order of the plan, faults before notes.

    Args:
        model: what `onnxzip.quantize.insert` made of the plan; not changed.
        plan: the plan.

    Raises:
        UsageError: the model is not of this plan; the node is named.
        ModelError: onnxruntime does not load the model.
    """
    if not plan.nodes:
        return ()
    nodes = _find(model, plan)
    try:
        run = deploy(model)
    except UnreadableError as error:
        return (Finding("", "", "unread", f"whether it runs as planned was not looked at: {error}"),)
    looked = [found for entry in plan.nodes if (found := _look(entry, nodes.get(entry), run, plan)) is not None]
    faults = [f for f in looked if f.at_fault]
    faults += _pools(run, nodes, {f.node for f in faults})
    notes = [f for f in looked if not f.at_fault] + list(_unplanned(run, nodes.values()))
    planned = {node: entry for entry, node in nodes.items()}
    told = {f.node for f in (*faults, *notes)}
    for stray in strays(run, planned, frozenset(n for n, e in planned.items() if e.output in told)):
        entry = planned.get(stray.node) if stray.node is not None else None
        notes.append(Finding(entry.output if entry else stray.tensor, entry.op if entry else "", "stray", stray.reason))
    return tuple(dict.fromkeys((*faults, *notes)))


def _find(model: ir.Model, plan: QuantPlan) -> dict[PlannedNode, ir.Node]:
    """The planned nodes in the quantized model. Tables that became four nodes are not there any more."""
    makers = {o.name: n for n in all_nodes(model) for o in n.outputs if o.name}
    found: dict[PlannedNode, ir.Node] = {}
    for entry in plan.nodes:
        node = makers.get(entry.output)
        for _ in range(_CLIMB):
            if node is None or node.op_type == entry.op:
                break
            node = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
        if node is not None and node.op_type == entry.op:
            found[entry] = node
        elif entry.role != "table":
            raise UsageError(
                f"the model is not of this plan: {entry.op} {entry.node!r} with output {entry.output!r} is planned and not in it. "
                "Audit what insert made of this very plan."
            )
    return found


def _look(entry: PlannedNode, node: ir.Node | None, run: Deployed, plan: QuantPlan) -> Finding | None:
    """What is wrong with a planned node, by its role."""
    if node is None:
        return None
    runs = run.runs.get(node, ())
    if entry.role == "stored" or (entry.role in KERNELS and not plan.sites):
        return _stored(entry, node, runs)
    if entry.role in KERNELS:
        return _kernel(entry, node, runs, run)
    if entry.role == "table":
        return _table(entry, node, run)
    return _maker(entry, node, runs) if entry.role in ("join", "pass") else None


def _kernel(entry: PlannedNode, node: ir.Node, runs: tuple[ir.Node, ...], run: Deployed) -> Finding | None:
    """Cases 1 and 2 of a node with weights."""
    reason, stored = cause(node), not is_constant(node.inputs[1])
    if any(map(is_integer_kernel, runs)):  # onnxruntime quantizes float weights itself, when it loads them
        return None if stored else Finding(entry.output, entry.op, "weights", reason)
    if not runs and stored and not _dequantized(node.inputs[1], run):
        return None  # folded, or merged with a node that does the same
    seen = _seen(node, runs, entry)
    weights = _constants_dequantized(runs)
    if weights:
        seen += f", {weights[0]!r} is dequantized at every run"
    return Finding(entry.output, entry.op, "float", f"{seen}: {reason}" if reason else seen)


def _seen(node: ir.Node, runs: tuple[ir.Node, ...], entry: PlannedNode) -> str:
    if not runs:
        return f"{entry.op} without an integer kernel"
    if runs[0].op_type == "MatMulNBits":
        return "MatMulNBits with float activations"
    if is_op(node, "MatMul") and is_op(runs[0], "Gemm"):
        return "Gemm in float, made of it and the Add behind it"
    return f"{runs[0].op_type} in float"


def _dequantized(value: ir.Value | None, run: Deployed) -> bool:
    """Whether the integers of a weight are still dequantized in the optimized graph."""
    producer = value.producer() if value is not None else None
    return producer is not None and any(is_op(n, "DequantizeLinear") for n in run.runs.get(producer, ()))


def _constants_dequantized(runs: Iterable[ir.Node]) -> list[str]:
    """Constants that are dequantized for these nodes at every run; weights first."""
    found: list[str] = []
    for value in (v for n in runs for v in n.inputs[1:]):
        producer = value.producer() if value is not None else None
        if producer is not None and is_op(producer, "DequantizeLinear") and is_constant(producer.inputs[0]):
            found.append(producer.inputs[0].name or "" if producer.inputs[0] is not None else "")
    return found


def _stored(entry: PlannedNode, node: ir.Node, runs: tuple[ir.Node, ...]) -> Finding | None:
    """Case 6."""
    weights = _constants_dequantized(runs)
    if not weights:
        return None
    reader = "" if runs[0].op_type == node.op_type else f", for {runs[0].op_type}"
    return Finding(entry.output, entry.op, "stored", f"its weights {weights[0]!r} are dequantized at every run{reader}")


def _table(entry: PlannedNode, node: ir.Node, run: Deployed) -> Finding | None:
    """Case 2 of a table: it is still gathered in float."""
    for gather in run.runs.get(node, ()):
        producer = gather.inputs[0].producer() if gather.inputs[0] is not None else None
        if is_op(producer, "DequantizeLinear"):
            return Finding(
                entry.output,
                entry.op,
                "weights",
                "the whole table is dequantized at every run, before its rows are read",
            )
        if is_constant(gather.inputs[0]) and not holds_codes(gather.inputs[0]):
            return Finding(entry.output, entry.op, "weights", "its table is stored in float")
    return None


def _maker(entry: PlannedNode, node: ir.Node, runs: tuple[ir.Node, ...]) -> Finding | None:
    """Case 1 of a join or pass-through."""
    for found in runs:
        if is_integer_kernel(found) or not found.inputs or holds_codes(found.inputs[0]):
            continue
        reason = cause(node)
        seen = f"{found.op_type} in float"
        return Finding(entry.output, entry.op, "float", f"{seen}: {reason}" if reason else seen)
    return None


def _pools(run: Deployed, nodes: Mapping[PlannedNode, ir.Node], known: set[str]) -> Iterator[Finding]:
    """Case 3."""
    planned = {node: entry for entry, node in nodes.items() if entry.role in KERNELS}
    for pool in all_nodes(run.model):
        if not is_op(pool, "MaxPool") or not holds_codes(pool.inputs[0]) or pool not in run.origins:
            continue
        for reader in _kernels_near(run.origins[pool], planned):
            entry = planned[reader]
            if entry.output not in known:
                name = label(run.origins[pool])
                reason = f"its Q was moved up through {name}, which runs in 8 bits in the plain layout"
                yield Finding(entry.output, entry.op, "pool", reason)


def _kernels_near(node: ir.Node, planned: Mapping[ir.Node, PlannedNode]) -> tuple[ir.Node, ...]:
    """The planned kernels that read, through Q, DQ and moves, what a node gives; none: those that give what it reads."""
    return _reach(node, planned, _readers) or _reach(node, planned, _producers)


def _reach(
    node: ir.Node, planned: Mapping[ir.Node, PlannedNode], step: Callable[[ir.Node], list[ir.Node]]
) -> tuple[ir.Node, ...]:
    found, seen, todo = dict[ir.Node, None](), {node}, [node]
    while todo:
        for near in step(todo.pop()):
            if near in planned:
                found[near] = None
            elif near not in seen and (is_move(near) or is_op(near, *_BETWEEN)):
                todo.append(near)
            seen.add(near)
    return tuple(found)


def _readers(node: ir.Node) -> list[ir.Node]:
    return [u.node for o in node.outputs for u in o.uses()]


def _producers(node: ir.Node) -> list[ir.Node]:
    return [p for v in node.inputs[:1] if v is not None and (p := v.producer()) is not None]


def _unplanned(run: Deployed, planned: Iterable[ir.Node]) -> Iterator[Finding]:
    """Case 5."""
    known = set(planned)
    for node, origin in run.origins.items():
        if node.op_type.startswith("QLinear") and origin not in known:
            name = next((o.name for o in origin.outputs if o.name), "")
            yield Finding(name, origin.op_type, "unplanned", f"it runs in integers, as {node.op_type}")
