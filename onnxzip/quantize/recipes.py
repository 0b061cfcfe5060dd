"""Plans from evidence: ranges by a method, activation forms, fitted weights; and which method costs the outputs least.

No way to choose ranges is best on every network: the mean squared error of a tensor knows nothing of what the network does with it.
So the plan of each method is put in and run on the tuning data, and the output error decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxzip.model.walk import all_nodes
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.audit import Finding
from onnxzip.quantize.equalize import equalize
from onnxzip.quantize.evidence import Evidence, look
from onnxzip.quantize.forms import forms, token_sites, with_forms
from onnxzip.quantize.insert import insert
from onnxzip.quantize.outcome import output_error
from onnxzip.quantize.plan import make_plan
from onnxzip.quantize.refine import Fitted, refine
from onnxzip.quantize.rescale import rescaled
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import Equalized, QuantPlan
from onnxzip.quantize.settle import settle
from onnxzip.quantize.smooth import Form
from onnxzip.runtime import Batch

METHODS = ("mse", "minmax", "percentile5", "percentile")
"""Ways to choose ranges that are tried, the one that is best most often first."""

MARGIN_DB = 0.7
"""An earlier method is taken unless a later one is better by more: little data says no more, and what clips little is safer."""

EQUALIZED_MARGIN_DB = 1.5
"""What equalization must gain on the data that it was fitted to: on other data it gains less (UltraFace, five splits: 2.2 dB of 3.2)."""


class Recipes:
    """Makes plans for one model, and remembers what they have in common.

    Args:
        model: the float model.
        row: the target.
        evidence: what was seen of it.
        equalized: what made this model of another one, for which the plans of `settled` are.

    Attributes:
        row: the target.
    """

    def __init__(
        self, model: ir.Model, row: TargetRow, evidence: Evidence, equalized: tuple[Equalized, ...] = ()
    ) -> None:
        self._equalized = equalized
        self._model, self.row, self._evidence = model, row, evidence
        self._fitted: Fitted = {}
        self._forms: dict[str, Form] = {}
        self._level = "all" if row.placement == "kernels" else "none"  # this runtime's fusions are not the target's

    def plan(self, method: str, keep: Mapping[ir.Node, str]) -> QuantPlan:
        """The plan with ranges by this method and these nodes kept float."""
        plan = make_plan(self._model, self._evidence.statistics, self.row.name, method=method, keep=keep)
        if self.row.tokens:
            sites = token_sites(self._model, plan)
            new = {tensor: own for tensor, own in sites.items() if tensor not in self._forms}
            self._forms |= forms(self._model, new, self._evidence.rows)
            plan = with_forms(plan, sites, {t: f for t, f in self._forms.items() if t in sites})
        return refine(self._model, plan, self.row, self._evidence.moments, self._fitted)

    def make(self, method: str, keep: Mapping[ir.Node, str]) -> tuple[QuantPlan, ir.Model]:
        """The plan, and the model that it makes."""
        plan = self.plan(method, keep)
        return plan, insert(self._model, plan)

    def settled(self, method: str, keep: Mapping[ir.Node, str]) -> tuple[QuantPlan, tuple[Finding, ...]]:
        """The plan, with more nodes kept float where the runtime would not run them as planned; and what was found.

        Only onnxruntime's own providers can be asked here.
        """
        if self.row.placement != "kernels":
            return self._whole(self.plan(method, keep)), ()
        settled = settle(lambda more: self.make(method, more), self._model, keep)
        return self._whole(settled.plan), settled.findings

    def _whole(self, plan: QuantPlan) -> QuantPlan:
        return dataclasses.replace(plan, equalized=self._equalized)

    def error(
        self, method: str, keep: Mapping[ir.Node, str], data: Iterable[Batch], observer: Observer = SILENT
    ) -> float:
        """What the plan of this method costs the outputs on the data that was seen."""
        _, model = self.make(method, keep)
        return output_error(model, self._evidence.answers, data, self._level, observer)

    def best(self, keep: Mapping[ir.Node, str], data: Iterable[Batch], observer: Observer = SILENT) -> str:
        """The method whose plan costs the outputs least on the data that was seen."""
        plans: dict[str, QuantPlan] = {}
        errors: dict[str, float] = {}
        for method in METHODS:
            plan, model = self.make(method, keep)
            same = next((m for m, p in plans.items() if p.sites == plan.sites), None)
            plans[method] = plan
            answers = self._evidence.answers
            errors[method] = errors[same] if same else output_error(model, answers, data, self._level, observer)
        limit = min(errors.values()) * 10 ** (MARGIN_DB / 10)
        return next(m for m in METHODS if errors[m] <= limit)


def with_equalized(
    model: ir.Model,
    plain: Recipes,
    evidence: Evidence,
    method: str,
    keep: Mapping[ir.Node, str],
    data: Iterable[Batch],
    observer: Observer = SILENT,
) -> tuple[Recipes, Mapping[ir.Node, str]]:
    """Recipes for the equalized model, and the nodes of it to keep, where that costs the outputs less by the margin; else those given."""
    equalized = () if evidence.extents is None else equalize(model, evidence.extents)
    if not equalized:
        return plain, keep
    twin = rescaled(model, equalized)
    by_output = {n.outputs[0].name: n for n in all_nodes(twin) if n.outputs}
    kept = {by_output[node.outputs[0].name]: reason for node, reason in keep.items()}
    tensors = tuple(evidence.statistics)
    seen = look(twin, plain.row, kept, tensors, data, effort=evidence.effort, observer=observer, extents=False)
    other = Recipes(twin, plain.row, seen, equalized)
    clear = other.error(method, kept, data, observer) * 10 ** (EQUALIZED_MARGIN_DB / 10) < plain.error(
        method, keep, data, observer
    )
    return (other, kept) if clear else (plain, keep)
