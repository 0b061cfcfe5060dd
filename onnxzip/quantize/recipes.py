"""Plans from evidence: ranges by a method, activation forms, fitted weights; and which method costs the outputs least.

No way to choose ranges is best on every network: the mean squared error of a tensor knows nothing of what the network does with it.
So the plan of each method is put in and run on the tuning data, and the output error decides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.audit import Finding
from onnxzip.quantize.evidence import Evidence
from onnxzip.quantize.forms import forms, token_sites, with_forms
from onnxzip.quantize.insert import insert
from onnxzip.quantize.outcome import figures, output_error
from onnxzip.quantize.plan import Clips, make_plan
from onnxzip.quantize.refine import Fitted, refine
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import QuantPlan
from onnxzip.quantize.settle import settle
from onnxzip.quantize.smooth import Form
from onnxzip.quantize.stored import with_stored
from onnxzip.records import OutputMetrics
from onnxzip.runtime import Batch

METHODS = ("mse", "minmax", "percentile5", "percentile")
"""Ways to choose ranges that are tried, the one that is best most often first."""

MARGIN_DB = 0.7
"""An earlier method is taken unless a later one is better by more: little data says no more, and what clips little is safer."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """What is decided about a model; all else follows from the evidence.

    Attributes:
        method: how ranges are chosen.
        keep: nodes that stay float, with the reason.
        ranges: tensors whose ranges are chosen in another way, and which.
        stored: of the nodes in `keep` those whose weights are stored as integers nevertheless.
    """

    method: str
    keep: Mapping[ir.Node, str]
    ranges: Mapping[str, str] = field(default_factory=dict)
    stored: frozenset[ir.Node] = frozenset()


class Recipes:
    """Makes plans for one model, and remembers what they have in common.

    Args:
        model: the float model.
        row: the target.
        evidence: what was seen of it.
    """

    def __init__(self, model: ir.Model, row: TargetRow, evidence: Evidence) -> None:
        self.model, self.row = model, row
        self._evidence = evidence
        self._fitted: Fitted = {}
        self._clips: Clips = {}
        self._forms: dict[str, Form] = {}
        self._level = "all" if row.placement == "kernels" else "none"  # this runtime's fusions are not the target's

    def _draft(self, recipe: Recipe) -> QuantPlan:
        """The plan before forms and what is fitted."""
        statistics, row = self._evidence.statistics, self.row.name
        method, ranges = recipe.method, recipe.ranges
        return make_plan(
            self.model, statistics, row, method=method, methods=ranges, keep=recipe.keep, clips=self._clips
        )

    def same_ranges(self, one: Recipe, other: Recipe) -> bool:
        """Whether two recipes come to the same ranges."""
        return self._draft(one).sites == self._draft(other).sites

    def plan(self, recipe: Recipe) -> QuantPlan:
        """The plan of a recipe."""
        plan = self._draft(recipe)
        if self.row.tokens:
            sites = token_sites(self.model, plan)
            new = {tensor: own for tensor, own in sites.items() if tensor not in self._forms}
            self._forms |= forms(self.model, new, self._evidence.rows)
            plan = with_forms(plan, sites, {t: f for t, f in self._forms.items() if t in sites})
        plan = with_stored(self.model, plan, self.row, recipe.stored)
        return refine(self.model, plan, self.row, self._evidence.moments, self._fitted)

    def make(self, recipe: Recipe) -> tuple[QuantPlan, ir.Model]:
        """The plan, and the model that it makes."""
        plan = self.plan(recipe)
        return plan, insert(self.model, plan)

    def settled(self, recipe: Recipe) -> tuple[QuantPlan, tuple[Finding, ...]]:
        """The plan, with more nodes kept float where the runtime would not run them as planned; and what was found.

        Only onnxruntime's own providers can be asked here.
        """
        if self.row.placement != "kernels":
            return self.plan(recipe), ()
        settled = settle(lambda keep: self.make(dataclasses.replace(recipe, keep=keep)), self.model, recipe.keep)
        return settled.plan, settled.findings

    @property
    def batches(self) -> int:
        """How many batches were seen."""
        return len(self._evidence.answers)

    def error(self, model: ir.Model, data: Iterable[Batch], observer: Observer = SILENT, every: int = 1) -> float:
        """The output error of a quantized model on the batches that were seen, or on each so many-th of them."""
        return output_error(model, self._evidence.answers, data, self._level, observer, every)

    def figures(self, model: ir.Model, data: Iterable[Batch]) -> tuple[OutputMetrics, ...]:
        """What a verdict would be given on, on the batches that were seen."""
        return figures(model, self._evidence.answers, data, self._level)

    def best(
        self, keep: Mapping[ir.Node, str], data: Iterable[Batch], observer: Observer = SILENT
    ) -> tuple[Recipe, float]:
        """The recipe with the method whose plan costs the outputs least on the data that was seen, and its error."""
        plans: dict[str, QuantPlan] = {}
        errors: dict[str, float] = {}
        for method in METHODS:
            plan, model = self.make(Recipe(method, keep))
            same = next((m for m, p in plans.items() if p.sites == plan.sites), None)
            plans[method] = plan
            errors[method] = errors[same] if same else self.error(model, data, observer)
        limit = min(errors.values()) * 10 ** (MARGIN_DB / 10)
        method = next(m for m in METHODS if errors[m] <= limit)
        return Recipe(method, keep), errors[method]
