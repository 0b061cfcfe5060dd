"""Plan, insert, look at what onnxruntime makes of it, keep float what it would not run in integers, and plan again.

A plan is made as a whole: without one node its neighbours may have no reason to be quantized either, so nothing is cut out
of a plan. Each round keeps more nodes float, so the rounds end by themselves; they are bounded because each loads the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.model.walk import all_nodes
from onnxzip.quantize.audit import Finding, audit
from onnxzip.quantize.schema import QuantPlan

ROUNDS = 4

Make = Callable[[Mapping[ir.Node, str]], tuple[QuantPlan, ir.Model]]
"""Given nodes of the float model that stay float, with the reason: a plan, and what its insertion gives."""

_WORDS = {
    "float": "onnxruntime would run it in float",
    "weights": "onnxruntime would not run it on its integers",
    "pool": "onnxruntime would run it slower than in float",
}


@dataclass(frozen=True)
class Settled:
    """What is left when the rounds are over.

    Attributes:
        plan, model: of the last round.
        kept: nodes of the float model that were kept float on the way, with the reason; those that the caller kept are not among them.
        findings: of the last round: notes, and faults if `ROUNDS` were not enough.
    """

    plan: QuantPlan
    model: ir.Model
    kept: Mapping[ir.Node, str]
    findings: tuple[Finding, ...]


def settle(make: Make, model: ir.Model, keep: Mapping[ir.Node, str]) -> Settled:
    """Plan until onnxruntime runs everything as planned.

    Args:
        make: makes plan and quantized model. It is called `ROUNDS` times at most, with more nodes each time.
        model: the float model that the plans are for.
        keep: nodes of it that stay float from the start, with the reason.

    Raises:
        UsageError: `make` gave a model that is not of its plan.
        ModelError: onnxruntime does not load the quantized model.
    """
    by_output = {o.name: n for n in all_nodes(model) for o in n.outputs if o.name}
    kept: dict[ir.Node, str] = {}
    for last in range(ROUNDS, 0, -1):
        plan, quantized = make({**keep, **kept})
        findings = audit(quantized, plan)
        new = {by_output[f.node]: reason_of(f) for f in findings if f.at_fault and f.node in by_output}
        new = {node: reason for node, reason in new.items() if node not in kept}
        if not new or last == 1:
            break
        kept.update(new)
    return Settled(plan, quantized, kept, findings)


def reason_of(finding: Finding) -> str:
    """Why a node stays float, from what was found.

    >>> reason_of(Finding("y", "Conv", "float", "Conv in float: no Q follows"))
    'onnxruntime would run it in float: Conv in float: no Q follows'
    """
    return f"{_WORDS[finding.kind]}: {finding.reason}"
