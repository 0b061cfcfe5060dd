"""Where Q and DQ go: which nodes run in integers, which values are quantized, and which share a scale. Pure structure, no numbers.

Kernels (`onnxzip.quantize.kernels`) are the reason to quantize anything. Between them:
 1. A value that an integer operator makes (the `end` of a kernel, of a join, of a pass-through) is *made*: all its readers read the DQ,
    because an integer kernel has no float output beside the quantized one. A value that a float operator makes and a kernel
    reads is quantized for the kernel only; its float readers keep the float value, which is more accurate and no slower.
 2. Joins (Add of two activations, Concat, GlobalAveragePool) and pass-through operators run in integers when all they read is made
    and an integer operator wants what they give; one operand of an Add may also be a value that is quantized for a kernel.
    Nobody wants it: they stay float and read the DQ.
 3. Pass-through operators have the same scale before and after, or they would not run in integers. The same is given to
    the inputs of a Concat that nobody else reads (nothing is rounded twice), where the absorbed activations agree.
 4. A pool runs well in integers only behind an integer Conv, through Add, Concat and other pools; and onnxruntime itself moves
    a Q up through MaxPool. So a kernel behind a MaxPool behind a float Conv stays float.
 5. Weights that a float node reads too stay float, with all their readers: stored twice, they would make the file larger.
    So do weights whose readers need scales along different axes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.model.shapes import Shapes
from onnxzip.model.walk import is_op
from onnxzip.quantize.kernels import Bounds, Kernel, absorbed, recognise
from onnxzip.quantize.qparams import UNBOUNDED
from onnxzip.quantize.selectors import name_of
from onnxzip.quantize.targets import TargetRow

NODE_BYTES, PAIR_BYTES = 60, 120
"""About what a DequantizeLinear of weights, and a pair of Q and DQ with its scale, add to a file."""


@dataclass(frozen=True)
class Maker:
    """A join or pass-through that could run in integers: its node, its inputs that count, its outputs, and the absorbed bounds."""

    node: ir.Node
    role: str
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True)
class Group:
    """Values that share one scale and zero point.

    Attributes:
        values: the values, in graph order.
        sources: the values whose statistics give the range.
        bounds: what the range must lie in.
    """

    values: tuple[ir.Value, ...]
    sources: tuple[ir.Value, ...]
    bounds: Bounds


@dataclass(frozen=True)
class Placement:
    """The result.

    Attributes:
        kernels, makers: nodes that run in integers, in graph order.
        groups: quantized values, in graph order.
        made: those of them that an integer operator makes.
        left: nodes that stay float, with the reason.
    """

    kernels: tuple[Kernel, ...]
    makers: tuple[Maker, ...]
    groups: tuple[Group, ...]
    made: frozenset[ir.Value]
    left: Mapping[ir.Node, str]


def place(model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]) -> Placement:
    """Decide where integers run in the main graph of a model.

    Args:
        model: the model; not changed.
        target: what the runtime can do.
        keep: nodes that stay float, with the reason.
    """
    kernels, left = _kernels(model, target, keep)
    while True:
        made = _made(model, kernels, target, keep)
        misfits = _behind_float_pools(kernels, made, target) | _torn_weights(kernels)
        if not misfits:
            break
        left.update(misfits)
        kernels = {n: k for n, k in kernels.items() if n not in misfits}
    makers = _wanted(model, kernels, made)
    return _grouped(model, kernels, makers, left)


def _kernels(
    model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]
) -> tuple[dict[ir.Node, Kernel], dict[ir.Node, str]]:
    shapes, kernels, left = Shapes(model), dict[ir.Node, Kernel](), dict[ir.Node, str]()
    for node in model.graph:
        found = recognise(node, shapes, target, keep)
        if isinstance(found, Kernel) and node not in keep:
            problem = _too_small(found)
            if problem is None:
                kernels[node] = found
            else:
                left[node] = problem
        elif found is not None:
            left[node] = keep.get(node) or str(found)
    return kernels, left


def _too_small(kernel: Kernel) -> str | None:
    """Why a kernel with a float output, which stands for itself, would make the file larger; None for others."""
    tensor = constant(kernel.weight)
    if tensor is None or kernel.role == "conv":
        return None
    channels = tensor.shape.numpy()[kernel.axis]
    vectors = 4 + (4 if kernel.bias is not None and kernel.role == "gemm" else 0) + (kernel.role == "gemm")
    cost = channels * vectors + 2 * NODE_BYTES + (PAIR_BYTES if kernel.role != "table" else 2 * NODE_BYTES)
    if 3 * tensor.size > cost:
        return None
    return f"int8 would save {3 * tensor.size} bytes and cost about {cost}"


def _made(
    model: ir.Model, kernels: Mapping[ir.Node, Kernel], target: TargetRow, keep: Mapping[ir.Node, str]
) -> dict[ir.Value, Kernel | Maker]:
    """Every value that an integer operator makes or could make, in graph order."""
    made: dict[ir.Value, Kernel | Maker] = {}
    behind_conv: set[ir.Value] = set()
    quantized = {k.data for k in kernels.values() if k.role != "table"}
    for node in model.graph:
        kernel = kernels.get(node)
        if kernel is not None:
            if kernel.end is not None:
                made[kernel.end] = kernel
                behind_conv |= {kernel.end} if kernel.role == "conv" else set()
            continue
        maker = None if node in keep else _maker(node, target, keep)
        if maker is None or not _in_integers(maker, made, quantized):
            continue
        after_conv = all(v in behind_conv for v in maker.inputs)
        if node.op_type in target.pools and not after_conv:
            continue
        made.update(dict.fromkeys(maker.outputs, maker))
        if after_conv and (maker.role == "join" or node.op_type in target.pools):
            behind_conv.update(maker.outputs)
    return made


def _in_integers(maker: Maker, made: Container[ir.Value], quantized: Container[ir.Value]) -> bool:
    """Case 2: all inputs are made, or (for an Add) one is made and the other is quantized for a kernel anyway."""
    if maker.node.op_type == "Add" and any(v in made for v in maker.inputs):
        return all(v in made or v in quantized for v in maker.inputs)
    return all(v in made for v in maker.inputs)


def _maker(node: ir.Node, target: TargetRow, keep: Mapping[ir.Node, str]) -> Maker | None:
    """What a join or pass-through reads and gives, or None for any other node."""
    if is_op(node, *target.joins):
        inputs = tuple(v for v in node.inputs if v is not None)
        if not inputs or len(inputs) != len(node.inputs) or (node.op_type == "Add" and len(inputs) != 2):
            return None
        end, bounds = absorbed(node.outputs[0], target, keep) if node.op_type == "Add" else (node.outputs[0], UNBOUNDED)
        return Maker(node, "join", inputs, (end,), bounds)
    if is_op(node, *target.pass_through) and node.inputs and node.inputs[0] is not None:
        if node.op_type == "MaxPool" and len(node.outputs) > 1:
            return None  # the second output holds indices
        return Maker(node, "pass", (node.inputs[0],), tuple(node.outputs))
    return None


def _behind_float_pools(
    kernels: Mapping[ir.Node, Kernel], made: Mapping[ir.Value, Kernel | Maker], target: TargetRow
) -> dict[ir.Node, str]:
    """Kernels whose Q onnxruntime would move up through a MaxPool that no integer Conv feeds."""
    found: dict[ir.Node, str] = {}
    for node, kernel in kernels.items():
        value = kernel.data
        while kernel.role != "table" and value not in made:
            producer = value.producer()
            if producer is None or not is_op(producer, *target.pass_through) or producer.inputs[0] is None:
                break
            if producer.op_type == "MaxPool":
                found[node] = (
                    f"it reads MaxPool {name_of(producer)!r} behind a float operator; integers would be slower there"
                )
                break
            value = producer.inputs[0]
    return found


def _torn_weights(kernels: Mapping[ir.Node, Kernel]) -> dict[ir.Node, str]:
    """Kernels whose weights cannot be stored as integers once and for all readers."""
    readers: dict[ir.Value, list[Kernel]] = defaultdict(list)
    for kernel in kernels.values():
        readers[kernel.weight].append(kernel)
    found: dict[ir.Node, str] = {}
    for weight, sharing in readers.items():
        reason = None
        strangers = [u.node for u in weight.uses() if u.node not in kernels or kernels[u.node].weight is not weight]
        if strangers:
            reason = (
                f"its weights {weight.name!r} are read in float by {strangers[0].op_type} {name_of(strangers[0])!r} too"
            )
        elif len({k.axis for k in sharing}) > 1:
            reason = f"its weights {weight.name!r} are shared with a node that needs scales along another axis"
        if reason is not None:
            found.update({k.node: reason for k in sharing})
    return found


def _wanted(
    model: ir.Model, kernels: Mapping[ir.Node, Kernel], made: Mapping[ir.Value, Kernel | Maker]
) -> tuple[Maker, ...]:
    """Of the joins and pass-throughs that could run in integers those whose result an integer operator reads."""
    makers = {m.node: m for m in made.values() if isinstance(m, Maker)}
    wanted = {k.data for k in kernels.values() if k.role != "table"}
    active: list[Maker] = []
    for node in reversed(model.graph):
        maker = makers.get(node)
        if maker is not None and wanted.intersection(maker.outputs):
            active.append(maker)
            wanted.update(maker.inputs)
    return tuple(reversed(active))


def _grouped(
    model: ir.Model, kernels: Mapping[ir.Node, Kernel], makers: tuple[Maker, ...], left: Mapping[ir.Node, str]
) -> Placement:
    """Collect the quantized values, and unite those that share a scale."""
    bounds = {k.end: k.bounds for k in kernels.values() if k.end is not None}
    bounds |= {o: m.bounds for m in makers for o in m.outputs}
    made = frozenset(bounds)
    sites = made | {k.data for k in kernels.values() if k.role != "table"}
    united = _United(sites)
    for maker in makers:
        if maker.role == "pass" or maker.node.op_type == "Concat":
            tied = maker.inputs if maker.role == "pass" else _alone(maker, bounds)
            for value in (*tied, *maker.outputs):
                united.unite(value, maker.outputs[0])
    sources = _Sources(makers)
    groups = tuple(
        Group(values, sources.of_all(values), _narrowest(bounds.get(v, UNBOUNDED) for v in values))
        for values in united.groups(_in_order(model, sites))
    )
    return Placement(tuple(kernels.values()), makers, groups, made, left)


def _alone(concat: Maker, bounds: Mapping[ir.Value, Bounds]) -> tuple[ir.Value, ...]:
    """Inputs of a Concat that nobody else reads, when their bounds agree."""
    alone = tuple(v for v in concat.inputs if len(v.uses()) == 1 and not v.is_graph_output())
    return alone if len({bounds[v] for v in alone}) == 1 else ()


def _narrowest(bounds: Iterable[Bounds]) -> Bounds:
    lows, highs = zip(*bounds, strict=True)
    return max(lows), min(highs)


def _in_order(model: ir.Model, sites: frozenset[ir.Value]) -> list[ir.Value]:
    graph = model.graph
    values: list[ir.Value] = [*graph.inputs, *graph.initializers.values()]
    values += [o for node in graph for o in node.outputs]
    return [v for v in dict.fromkeys(values) if v in sites]


class _United:
    """Union-find over values."""

    def __init__(self, values: Iterable[ir.Value]) -> None:
        self._parent = {v: v for v in values}

    def unite(self, a: ir.Value, b: ir.Value) -> None:
        self._parent[self._root(a)] = self._root(b)

    def _root(self, value: ir.Value) -> ir.Value:
        while self._parent[value] is not value:
            value = self._parent[value]
        return value

    def groups(self, ordered: Iterable[ir.Value]) -> list[tuple[ir.Value, ...]]:
        """The classes, each in the given order, by their first member."""
        found: dict[ir.Value, list[ir.Value]] = {}
        for value in ordered:
            found.setdefault(self._root(value), []).append(value)
        return [tuple(members) for members in found.values()]


class _Sources:
    """The values whose statistics say everything about another: not what merely passes through, nor what a Concat merges."""

    def __init__(self, makers: Iterable[Maker]) -> None:
        self._through = {
            o: m.inputs for m in makers if m.role == "pass" or m.node.op_type == "Concat" for o in m.outputs
        }

    def of_all(self, values: Iterable[ir.Value]) -> tuple[ir.Value, ...]:
        """Sources of several values, each once, in order."""
        found: dict[ir.Value, None] = {}
        todo = list(values)[::-1]
        while todo:
            value = todo.pop()
            inputs = self._through.get(value)
            if inputs is None:
                found[value] = None
            else:
                todo.extend(reversed(inputs))
        return tuple(found)
