"""Figures that only a report needs: where the bytes and the time are, what each layer costs, what ranges clip.

They are gathered when asked for (`Config.details`), on some samples of the data that gave the verdict. Ranges and sensitivity are those of the
plan, also where its model was taken back: that is when one wants to know why.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.calibrate.data import Data
from onnxzip.errors import ModelError
from onnxzip.ledger import Ledger
from onnxzip.model.constants import array
from onnxzip.model.holders import by_layer, by_operator
from onnxzip.model.save import model_digest
from onnxzip.model.walk import is_op
from onnxzip.quantize.alone import layers_alone
from onnxzip.quantize.insert import insert
from onnxzip.quantize.qparams import CODES, QParams
from onnxzip.quantize.schema import QuantPlan
from onnxzip.records import Details, Latency, Range
from onnxzip.runtime import Batch, Session
from onnxzip.validate.layers import look
from onnxzip.validate.profile import latency_by_operator
from onnxzip.validate.reference import samples_in

SAMPLES = 16
"""Samples that are looked at, if there are so many."""

AT_ONCE = 32
"""Tensors that one run gives beside each other."""

_KERNELS = {
    "QGemm": "Gemm",
    "FusedGemm": "Gemm",
    "ConvInteger": "Conv",
    "NhwcMaxPool": "MaxPool",
    "MatMulInteger": "MatMul",
    "MatMulIntegerToFloat": "MatMul",
    "DynamicQuantizeMatMul": "MatMul",
    "MatMulNBits": "MatMul",
    "FusedMatMul": "MatMul",
    "BiasGelu": "Gelu",
    "FastGelu": "Gelu",
    "QuickGelu": "Gelu",
    "SkipLayerNormalization": "LayerNormalization",
    "QAttention": "Attention",
}
"""Operators that onnxruntime makes of standard ones when it loads a model, beside those that it names by a prefix."""


def gather(ledger: Ledger, result: ir.Model, tuning: Data | None, held_out: Data | None) -> Details:
    """The details of a run that is over.

    Args:
        ledger: its books.
        result: the model that is returned, its provenance included.
        tuning: the data that tuned, or None.
        held_out: the data that gave the verdict, or None.

    Raises:
        ModelError: a model does not run on the samples.
    """
    batches = ledger.some(SAMPLES)
    found = Details(
        samples=sum(map(samples_in, batches)),
        source=ledger.source,
        digests=dict(_digests(result, tuning, held_out)),
        by_operator=by_operator(ledger.original, result),
        by_layer=by_layer(ledger.original, result),
        latency=_latency(ledger, batches) if ledger.here and batches else (),
    )
    return _losses(ledger, found, batches) if batches else found


def _losses(ledger: Ledger, details: Details, batches: Sequence[Batch]) -> Details:
    """The details, and what the lossy steps cost."""
    plan = ledger.plan
    if plan is None or not plan.nodes:
        done = any(s.kept and s.name in ("quantize", "weights") for s in ledger.stages)  # fp16 has no plan
        return _with_depth(ledger, details, ledger.best, batches) if done else details
    candidate = insert(ledger.planned, plan)
    level = ledger.levels[1]
    sensitivity, untried = layers_alone(ledger.planned, plan, batches, ledger.observer, level=level)
    details = dataclasses.replace(
        details,
        method=plan.method,
        ranges=ranges_of(candidate, plan, batches),
        per_token=sum(s.per_token for s in plan.sites),
        sensitivity=sensitivity,
        untried=untried,
    )
    return _with_depth(ledger, details, candidate, batches)


def _with_depth(ledger: Ledger, details: Details, candidate: ir.Model, batches: Sequence[Batch]) -> Details:
    """The details, and the error through the depth, against the float model: what was done to it before is exact, or changed its widths.

    Not every model runs with its inner values as outputs; then the details say so.
    """
    try:
        depth = look(ledger.planned, candidate, batches, ledger.observer)
    except ModelError as error:
        return dataclasses.replace(details, unseen=str(error))
    return dataclasses.replace(details, layers=depth.layers)


def _digests(result: ir.Model, tuning: Data | None, held_out: Data | None) -> Iterator[tuple[str, str]]:
    yield "result, in memory", f"SHA-256 {model_digest(result)}"
    for what, data in (("data that tuned", tuning), ("data that judged", held_out)):
        if data is not None and data.digest is not None:
            yield f"{what}: {data.name}", data.digest


def _latency(ledger: Ledger, batches: Sequence[Batch]) -> tuple[Latency, ...]:
    """Time by operator of the original and of the result, longest in the original first."""
    with ledger.observer.step("profile", 2) as done:
        before = latency_by_operator(ledger.original, batches[:1], level=ledger.levels[0])
        done()
        after = latency_by_operator(ledger.best, batches[:1], level=ledger.levels[0])
        done()
    return paired(before, after)


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Latency, ...]:
    """Kernels of two graphs beside each other, by the operator that they stand for.

    >>> paired({"Conv": 90.0}, {"QLinearConv": 40.0, "Relu": 1.0})[0]
    Latency(operator='Conv', kernels=('Conv', 'QLinearConv'), before=90.0, after=40.0)
    """
    kernels, totals = defaultdict[str, list[str]](list), [defaultdict[str, float](float) for _ in range(2)]
    for total, times in zip(totals, (before, after), strict=True):
        for kernel, microseconds in times.items():
            operator = _KERNELS.get(kernel) or kernel.removeprefix("QLinear").removeprefix("Fused")
            total[operator] += microseconds
            kernels[operator] += [kernel] * (kernel not in kernels[operator])
    found = (
        Latency(operator=o, kernels=tuple(k), before=totals[0].get(o, 0.0), after=totals[1].get(o, 0.0))
        for o, k in kernels.items()
    )
    return tuple(sorted(found, key=lambda r: (-r.before, -r.after, r.operator)))


def ranges_of(model: ir.Model, plan: QuantPlan, batches: Iterable[Batch]) -> tuple[Range, ...]:
    """What the quantized activations of the main graph were on some batches, and where their integers end.

    Args:
        model: the quantized model; it is run as its file says, so that what is seen is what QuantizeLinear gets.
        plan: what it was made of.
        batches: what to run on.
    """
    sites = {s.tensor: s for s in plan.sites}
    found: dict[str, Range] = {}
    for node in model.graph:
        value = node.inputs[0] if is_op(node, "QuantizeLinear") and len(node.inputs) == 3 else None
        scale, zero = (array(node.inputs[1]), array(node.inputs[2])) if value is not None else (None, None)
        if value is None or scale is None or zero is None or scale.size != 1 or not value.name:
            continue
        tensor = _site_name(value, sites)
        if tensor in sites and sites[tensor].per_token:
            continue
        q = QParams(float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), zero.dtype.name)
        nothing = {"low": 0.0, "high": 0.0, "clipped": 0.0}
        found[value.name] = Range(tensor=tensor, dtype=q.dtype, clip_low=q.low, clip_high=q.high, **nothing)
    return _observed(model, found, tuple(batches))


def _site_name(value: ir.Value, sites: Mapping[str, object]) -> str:
    """The tensor of the plan that is quantized here: the value, or what a smoothing or a scale for each token made it of."""
    name, here = value.name or "", value
    for _ in range(2):
        if here.name in sites:
            return here.name or ""
        node = here.producer()
        if node is None or not node.inputs or node.inputs[0] is None:
            break
        here = node.inputs[0]
    return here.name or name if here.name in sites else name


def _observed(model: ir.Model, ranges: Mapping[str, Range], batches: Sequence[Batch]) -> tuple[Range, ...]:
    """The ranges of these values with what they were: smallest and largest finite value, and the share that is clipped."""
    names, seen = list(ranges), dict[str, _Seen]()
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        session = Session(model, level="none", outputs=some)
        seen |= {name: _Seen(ranges[name]) for name in some}
        for batch in batches:
            for name, values in session.run(batch).items():
                seen[name].add(values)
    return tuple(seen[n].result() for n in names if seen[n].total)


class _Seen:
    """What one value was. What is closer to an end than half a step is rounded to it, which is no clipping."""

    def __init__(self, known: Range) -> None:
        codes = CODES[known.dtype]
        half = (known.clip_high - known.clip_low) / (codes[1] - codes[0]) / 2
        self.known, self.ends = known, (known.clip_low - half, known.clip_high + half)
        self.low, self.high, self.beyond, self.total = np.inf, -np.inf, 0, 0

    def add(self, values: np.ndarray) -> None:
        finite = values[np.isfinite(values)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
            self.beyond += int(((finite < self.ends[0]) | (finite > self.ends[1])).sum())
            self.total += finite.size

    def result(self) -> Range:
        return dataclasses.replace(self.known, low=self.low, high=self.high, clipped=self.beyond / self.total)
