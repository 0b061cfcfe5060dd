"""Where Q and DQ go: which nodes run in integers, and which values are quantized. Pure structure, no numbers.

A target names its style: "inputs" (`onnxzip.quantize.at_inputs`), "everywhere" (`onnxzip.quantize.everywhere`), or "kernels", which is
onnxruntime's on CPUs and the subject of this file.

Kernels (`onnxzip.quantize.kernels`) are the reason to quantize anything. Between them:
 1. A value that an integer operator makes (the `end` of a kernel, of a join, of a pass-through) is *made*: all its readers read the DQ,
    because an integer kernel has no float output beside the quantized one. A value that a float operator makes and a kernel
    reads is quantized for the kernel only; its float readers keep the float value, which is more accurate and no slower.
 2. Joins (Add of two activations, Concat, GlobalAveragePool) and pass-through operators run in integers when all they read is made
    and an integer operator wants what they give; one operand of an Add may also be a value that is quantized for a kernel.
    Nobody wants it: they stay float and read the DQ.
 3. A pool runs well in integers only behind an integer Conv, through Add, Concat and other pools; and onnxruntime itself moves
    a Q up through MaxPool. So a kernel behind a MaxPool behind a float Conv stays float.
 4. Which weights stay float: `onnxzip.quantize.candidates`.
 5. Each body of If, Loop and Scan is placed by itself. What it reads from outside is a float activation to it, quantized inside, where the
    kernels are; its outputs are float. Weights and scales may be those of outer graphs.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

import onnx_ir as ir

from onnxzip.model.walk import is_op
from onnxzip.quantize.at_inputs import at_inputs
from onnxzip.quantize.candidates import Placement, kernels_of, torn_weights
from onnxzip.quantize.everywhere import everywhere
from onnxzip.quantize.groups import Maker, group
from onnxzip.quantize.kernels import Kernel, absorbed
from onnxzip.quantize.qparams import UNBOUNDED
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.selectors import name_of


def place(model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]) -> Placement:
    """Decide where integers run in a model, in the style of the target.

    Args:
        model: the model; not changed.
        target: what the runtime can do.
        keep: nodes that stay float, with the reason.
    """
    return _STYLES[target.placement](model, target, keep)


def around_kernels(model: ir.Model, target: TargetRow, keep: Mapping[ir.Node, str]) -> Placement:
    """The style of this file. Arguments as for `place`."""
    kernels, left = kernels_of(model, target, keep)
    graphs = (model.graph, *model.graph.subgraphs())
    while True:
        made = dict[ir.Value, Kernel | Maker]()
        for graph in graphs:
            made |= _made(graph, kernels, target, keep)
        misfits = _behind_float_pools(kernels, made, target) | torn_weights(kernels)
        if not misfits:
            break
        left.update(misfits)
        kernels = {n: k for n, k in kernels.items() if n not in misfits}
    makers = tuple(m for graph in graphs for m in _wanted(graph, kernels, made))
    groups, made_values = group(model, tuple(kernels.values()), makers)
    return Placement(tuple(kernels.values()), makers, groups, made_values, left)


def _made(
    graph: ir.Graph, kernels: Mapping[ir.Node, Kernel], target: TargetRow, keep: Mapping[ir.Node, str]
) -> dict[ir.Value, Kernel | Maker]:
    """Every value of a graph that an integer operator makes or could make, in graph order."""
    made: dict[ir.Value, Kernel | Maker] = {}
    behind_conv: set[ir.Value] = set()
    quantized = {k.data for k in kernels.values() if k.role != "table" and k.node.graph is graph}
    for node in graph:
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
        return Maker(node, "pass", (node.inputs[0],), tuple(o for o in node.outputs if o.name))
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
            if producer.graph is not node.graph:
                break  # a Q in a body stays there
            if producer.op_type == "MaxPool":
                found[node] = (
                    f"it reads MaxPool {name_of(producer)!r} behind a float operator; integers would be slower there"
                )
                break
            value = producer.inputs[0]
    return found


def _wanted(
    graph: ir.Graph, kernels: Mapping[ir.Node, Kernel], made: Mapping[ir.Value, Kernel | Maker]
) -> tuple[Maker, ...]:
    """Of the joins and pass-throughs of a graph that could run in integers those whose result an integer operator of it reads."""
    makers = {m.node: m for m in made.values() if isinstance(m, Maker)}
    wanted = {k.data for k in kernels.values() if k.role != "table" and k.node.graph is graph}
    active: list[Maker] = []
    for node in reversed(graph):
        maker = makers.get(node)
        if maker is not None and wanted.intersection(maker.outputs):
            active.append(maker)
            wanted.update(maker.inputs)
    return tuple(reversed(active))


_STYLES: Mapping[str, Callable[[ir.Model, TargetRow, Mapping[ir.Node, str]], Placement]] = {
    "kernels": around_kernels,
    "inputs": at_inputs,
    "everywhere": everywhere,
}
