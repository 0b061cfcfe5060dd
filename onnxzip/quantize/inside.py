"""Bodies of If, Loop and Scan, and functions: what of their insides cannot be quantized, and how much of the model that is.

Shut is, with the reason:
1. every body, where the target is not known to run integers there;
2. a body with a name in it that another value has too: a plan goes by names;
3. where activations must be observed, a body that they cannot be carried out of (`onnxzip.calibrate.surface`).
Functions that could not be inlined are left alone: their operators may be of another opset, and each call has its own values.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import onnx_ir as ir

from onnxzip.calibrate.surface import out_of_reach, shared_names
from onnxzip.model.constants import constant
from onnxzip.model.walk import ONNX_DOMAINS
from onnxzip.quantize.kernels import WEIGHTED
from onnxzip.quantize.row import TargetRow


def closed(model: ir.Model, target: TargetRow, *, data: bool) -> Mapping[ir.Graph, str]:
    """The shut bodies, each with the reason; `data`: whether activations must be observed."""
    bodies = tuple(model.graph.subgraphs())
    if not any(node.op_type in WEIGHTED or node.op_type in target.tables for body in bodies for node in body):
        return {}  # nobody asks
    if not target.bodies:
        reason = f"it lies in a body, where target {target.name} is not known to run integers"
        return dict.fromkeys(bodies, reason)
    return out_of_reach(model) if data else shared_names(model)


def left_inside(model: ir.Model, planned: Collection[ir.Node]) -> tuple[str, ...]:
    """A note on the nodes with weights in bodies and functions that stay float, and on their share of the weights; or none.

    Weights are float constants of two axes and more; they count as inside when one of these nodes reads them, or a call of a function.
    """
    bodies = [n for g in model.graph.subgraphs() for n in g]
    functions = [n for f in model.functions.values() for n in f.all_nodes()]
    left = [n for n in (*bodies, *functions) if n.op_type in WEIGHTED and n.domain in ONNX_DOMAINS and n not in planned]
    if not left:
        return ()
    readers = {*left, *(n for n in model.graph.all_nodes() if n.op_identifier() in model.functions)}
    sizes = _weights(model)
    inside = sum(size for value, size in sizes.items() if any(u.node in readers for u in value.uses()))
    words = ", ".join(f"{count} {op}" for op, count in sorted(Counter(n.op_type for n in left).items()))
    where = " and ".join(
        ["If, Loop and Scan bodies"] * any(n in bodies for n in left)
        + ["functions"] * any(n in functions for n in left)
    )
    return (f"{inside / max(1, sum(sizes.values())):.0%} of the weights stay float inside {where}: {words}",)


def _weights(model: ir.Model) -> dict[ir.Value, int]:
    """Bytes of every float constant of two axes and more, functions included."""
    graphs = (model.graph, *model.graph.subgraphs(), *(f.graph for f in model.functions.values()))
    values = [v for g in graphs for v in (*g.initializers.values(), *(o for n in g for o in n.outputs))]
    held = {v: t for v in values if (t := constant(v)) is not None}
    return {v: t.nbytes for v, t in held.items() if t.dtype == ir.DataType.FLOAT and len(t.shape) > 1}
