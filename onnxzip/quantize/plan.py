"""From a model and its statistics to a plan. Pure: the model is not changed, nothing is run.

    tensors = observe(model, "cpu")                      what must be calibrated
    plan = make_plan(model, statistics, "cpu", method="mse")
    model = insert(model, plan)                           (`onnxzip.quantize.insert`)

A node whose ranges make no sense (NaN, Inf, never reached) stays float with that reason, and placement is done again
without it, so that what depends on it is right.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from types import MappingProxyType

import onnx_ir as ir

from onnxzip.errors import UsageError
from onnxzip.model.constants import array, constant
from onnxzip.model.walk import is_op, label
from onnxzip.quantize.already import already_quantized
from onnxzip.quantize.candidates import Placement, storable
from onnxzip.quantize.everywhere import overflowing
from onnxzip.quantize.groups import Group
from onnxzip.quantize.inside import left_inside
from onnxzip.quantize.kernels import Kernel
from onnxzip.quantize.known import Known
from onnxzip.quantize.placement import place
from onnxzip.quantize.qparams import QParams, activation_qparams
from onnxzip.quantize.ranges import Held, TensorStatistics, check_method, clip_range
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import LeftNode, PlannedNode, QuantPlan, Site, Weight
from onnxzip.quantize.selectors import name_of, select
from onnxzip.quantize.targets import target_row

WEIGHTS_ONLY = "weights"
"""The method of a plan without activations: no ranges are chosen."""


def observe(model: ir.Model, target: str, keep_float: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of the tensors whose statistics `make_plan` will ask for, in graph order; none when there is nothing to quantize.

    Raises:
        UsageError: the target is unknown, or a pattern matches nothing.
    """
    row, keep = target_row(target), select(model, keep_float)
    if already_quantized(model):
        return ()
    sources = {s: None for g in place(model, row, keep).groups for s in g.sources}
    return tuple(s.name for s in sources if s.name and constant(s) is None)


def make_plan(
    model: ir.Model,
    statistics: Mapping[str, TensorStatistics],
    target: str = "cpu",
    *,
    method: str = "mse",
    methods: Mapping[str, str] = MappingProxyType({}),
    keep_float: tuple[str, ...] = (),
    keep: Mapping[ir.Node, str] = MappingProxyType({}),
    known: Known | None = None,
) -> QuantPlan:
    """Decide what is quantized and how.

    Args:
        model: a float model, best after exact rewriting (BatchNormalization folded).
        statistics: of at least the tensors that `observe` names.
        target: name of the target row.
        method: how ranges are chosen (`onnxzip.quantize.ranges`).
        methods: tensors whose ranges are chosen in another way; of those that share a scale the first one counts.
        keep_float: patterns of nodes that stay float (`onnxzip.quantize.selectors`).
        keep: further nodes that do, each with the reason.
        known: what plans of the same model, target and statistics came to before; what is new is added.

    Returns:
        The plan. It has no nodes, and says why, when there is nothing to quantize.

    Raises:
        UsageError: target, method or a pattern is wrong, or statistics of a tensor are missing.
    """
    row, kept = target_row(target), select(model, keep_float) | dict(keep)
    check_method(method)
    known = Known(model, row) if known is None else known
    if reason := already_quantized(model):
        return QuantPlan(target=target, method=method, notes=(f"nothing to quantize: {reason}",))
    while True:
        placement = known.placed(kept)
        qparams, bad = _qparams(placement.groups, statistics, method, methods, known, partial=bool(kept))
        narrowed, _ = _qparams(
            placement.narrowed, statistics, method, methods, known, partial=bool(kept)
        )  # bad where the above are
        misfits = _touching(placement, bad) | overflowing(placement, qparams, row)
        if not misfits:
            break
        kept |= {node: reason for node, reason in misfits.items() if node not in kept}
    return _plan(model, row, method, placement, qparams, narrowed)


def make_weights_plan(model: ir.Model, target: str = "cpu", *, keep_float: tuple[str, ...] = ()) -> QuantPlan:
    """A plan that stores weights as int8 and leaves all activations float. It needs no statistics.

    Every planned node reads its weights through a DequantizeLinear: the file becomes about four times smaller, the
    numbers differ by the rounding of the weights only. Arguments and errors are those of `make_plan`.
    """
    row, keep = target_row(target), select(model, keep_float)
    if reason := already_quantized(model):
        return QuantPlan(target=target, method=WEIGHTS_ONLY, notes=(f"nothing to quantize: {reason}",))
    kernels, left = storable(model, row, keep, data=False)
    alone = tuple(dataclasses.replace(k, bias=None, bias_add=None, end=None) for k in kernels)
    placement = Placement(alone, (), (), frozenset(), left)
    return _plan(model, dataclasses.replace(row, stored_zero_point=frozenset()), WEIGHTS_ONLY, placement, {}, {})


def quantizable(model: ir.Model, target: str = "cpu") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Labels of the nodes that would compute in integers, and of those that would not, each with the reason. Needs no data."""
    if reason := already_quantized(model):
        return (), (reason,)
    placement = place(model, target_row(target), {})
    left = tuple(f"{label(node)}: {reason}" for node, reason in placement.left.items())
    kernels = [k.node for k in placement.kernels]
    return tuple(map(label, kernels)), (*left, *left_inside(model, kernels))


def _qparams(
    groups: tuple[Group, ...],
    statistics: Mapping[str, TensorStatistics],
    method: str,
    methods: Mapping[str, str],
    known: Known,
    *,
    partial: bool,
) -> tuple[dict[ir.Value, QParams], dict[ir.Value, str]]:
    """Scale and zero point of every quantized value, or why it has none.

    `partial`: nodes stay float that the model was looked at without, so that others may read what nobody looked at.
    """
    row = known.row
    found: dict[ir.Value, QParams] = {}
    bad: dict[ir.Value, str] = {}
    for group in groups:
        grid = group.grid or row.activation
        if group.fixed is not None:
            found.update(dict.fromkeys(group.values, group.fixed))
            continue
        sources = _looked_at(group.sources, statistics, row)
        constants = {s.name or "": Held(content) for s in sources if (content := array(s)) is not None}
        seen = {**statistics, **constants}
        names = [s.name or "" for s in sources]
        missing = next((n for n in names if n not in seen), None)
        if missing is not None and partial:
            bad.update(dict.fromkeys(group.values, f"tensor {missing!r} cannot be quantized: it was not looked at"))
            continue
        if missing is not None:
            raise UsageError(
                f"there are no statistics of tensor {missing!r}: collect them for all tensors that observe() names"
            )
        whole = constants or group.reach < math.inf  # an error that is squared cares for masks alone
        try:
            chosen = "minmax" if whole else methods.get(group.values[0].name or "", method)
            key = (*names, chosen, grid)
            if key not in known.clips or whole:
                known.clips[key] = clip_range([seen[n] for n in names], chosen, grid)
            low, high = known.clips[key]
        except ValueError as error:
            bad.update(dict.fromkeys(group.values, f"tensor {names[0]!r} cannot be quantized: {error}"))
            continue
        if group.reach < math.inf:
            high = max(high, 0.0)
            low = max(low, high - group.reach)
        found.update(dict.fromkeys(group.values, activation_qparams(low, high, group.bounds, grid)))
    return found, bad


def _looked_at(sources: Iterable[ir.Value], statistics: Container[str], row: TargetRow) -> tuple[ir.Value, ...]:
    """The sources; those without statistics (after nodes were kept float) by where they come from, if they only pass through."""
    found: dict[ir.Value, None] = {}
    todo = list(sources)[::-1]
    while todo:
        value = todo.pop()
        node = value.producer()
        known = value.name in statistics or constant(value) is not None or node is None
        if known or node is None or not is_op(node, "Concat", *row.pass_through):
            found[value] = None
        else:
            behind = node.inputs if is_op(node, "Concat") else node.inputs[:1]
            todo.extend(v for v in reversed(behind) if v is not None)
    return tuple(found)


def _touching(placement: Placement, bad: Mapping[ir.Value, str]) -> dict[ir.Node, str]:
    """Nodes that would read or make a value that has no range."""
    found: dict[ir.Node, str] = {}
    touched: list[tuple[ir.Node, tuple[ir.Value | None, ...]]]
    touched = [(k.node, (k.end, None if k.role == "table" else k.data)) for k in placement.kernels]
    touched += [(m.node, (*m.inputs, *m.outputs)) for m in placement.makers]
    for node, values in touched:
        reason = next((bad[v] for v in values if v is not None and v in bad), None)
        if reason is not None:
            found[node] = reason
    return found


def _plan(
    model: ir.Model,
    row: TargetRow,
    method: str,
    placement: Placement,
    qparams: Mapping[ir.Value, QParams],
    narrowed: Mapping[ir.Value, QParams],
) -> QuantPlan:
    sites = tuple(_site(v, q, "all" if v in placement.made else "quantized") for v, q in qparams.items())
    sites += tuple(_site(v, q, "factor") for v, q in narrowed.items())
    order = {node: i for i, node in enumerate(model.graph.all_nodes())}
    planned = [entry for kernel in placement.kernels for entry in _kernel_nodes(kernel)]
    planned += [(m.node, m.role, "") for m in placement.makers]
    nodes = tuple(
        PlannedNode(node=name_of(n), op=n.op_type, output=_output(n), role=role, weight=weight)
        for n, role, weight in sorted(planned, key=lambda entry: order[entry[0]])
    )
    left = tuple(
        LeftNode(node=name_of(n), op=n.op_type, output=_output(n), reason=reason)
        for n, reason in sorted(placement.left.items(), key=lambda item: order[item[0]])
    )
    notes = left_inside(model, {k.node for k in placement.kernels})
    if not nodes:
        notes = (f"nothing to quantize: {_why_nothing(left, notes)}", *notes)
    else:
        notes += _symbolic(model, row)
    return QuantPlan(
        target=row.name,
        method=method,
        sites=sites,
        weights=_weights(placement.kernels, row),
        nodes=nodes,
        left=left,
        notes=notes,
    )


def _site(value: ir.Value, q: QParams, readers: str) -> Site:
    return Site(tensor=value.name or "", dtype=q.dtype, scale=q.scale, zero_point=q.zero_point, readers=readers)


def _kernel_nodes(kernel: Kernel) -> list[tuple[ir.Node, str, str]]:
    """The node with the weights, and the Add that holds its bias."""
    entries = [(kernel.node, kernel.role, kernel.weight.name or "")]
    if kernel.bias_add is not None:
        entries.append((kernel.bias_add, "row_bias" if kernel.role == "matmul" else "int32_bias", ""))
    return entries


def _weights(kernels: tuple[Kernel, ...], row: TargetRow) -> tuple[Weight, ...]:
    asked = {k.weight.name for k in kernels if k.role in row.stored_zero_point}
    found = {
        k.weight.name or "": Weight(
            initializer=k.weight.name or "",
            dtype=row.weight,
            axis=k.axis,
            zero_points=k.weight.name in asked,
            pairs=row.pairs and k.role != "table",
        )
        for k in kernels
    }
    return tuple(found.values())


def _symbolic(model: ir.Model, row: TargetRow) -> tuple[str, ...]:
    """A note where the target runs fixed shapes only and the model has others."""
    names = [repr(v.name) for v in model.graph.inputs if v.shape is None or not v.shape.is_static()]
    if not row.fixed_shapes or not names:
        return ()
    return (
        f"target {row.name} runs fixed shapes only: fix the symbolic axes of input {', '.join(names)} before you deploy",
    )


def _why_nothing(left: tuple[LeftNode, ...], notes: tuple[str, ...]) -> str:
    if left:
        reason, count = Counter(n.reason for n in left).most_common(1)[0]
        return f"{count} of {len(left)} nodes with weights stay float because {reason}"
    return (
        "its work is in functions"
        if notes
        else "the model has no Conv, Gemm, MatMul or large table with constant weights"
    )


def _output(node: ir.Node) -> str:
    return next((o.name for o in node.outputs if o.name), "")
