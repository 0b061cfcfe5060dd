"""Plans from evidence: ranges by a method, activation forms, fitted weights; and which method costs the outputs least.

No way to choose ranges is best on every network: the mean squared error of a tensor knows nothing of what the network does with it.
So the plan of each method is put in and run on the tuning data, and the output error decides.

The first Conv of an image network sums up over three channels: in integers it is slower than in float, its weights are a
thousandth of the file, and everything behind it suffers from its error. So it is tried in float as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.model.constants import constant
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.audit import Finding
from onnxzip.quantize.entrance import first_of, is_narrow, weight_bytes
from onnxzip.quantize.evidence import Evidence
from onnxzip.quantize.forms import forms, token_sites, with_forms
from onnxzip.quantize.insert import insert
from onnxzip.quantize.known import Known, remembered
from onnxzip.quantize.outcome import figures, output_error
from onnxzip.quantize.plan import make_plan
from onnxzip.quantize.refine import Fitted, refine
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.schema import Equalized, QuantPlan
from onnxzip.quantize.sequential import with_sequential
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


ENTRANCE_DB = 0.5
"""What it must gain to leave the first Conv float."""

ENTRANCE_SHARE = 0.02
"""Its largest share of the bytes of all weights."""

ENTRANCE = "kept float: the outputs gain by it, it is small, and no faster in integers"


Key = tuple[object, ...]


def _key(recipe: Recipe) -> Key:
    """What tells recipes apart."""
    return recipe.method, tuple(recipe.keep.items()), tuple(recipe.ranges.items()), recipe.stored


class Recipes:
    """Makes plans for one model, and remembers what they have in common.

    Args:
        model: the float model.
        row: the target.
        evidence: what was seen of it.
        equalized: what made this model of another one, for which the plans of `settled` are.

    Attributes:
        model: the float model.
        row: the target.
    """

    def __init__(
        self, model: ir.Model, row: TargetRow, evidence: Evidence, equalized: tuple[Equalized, ...] = ()
    ) -> None:
        self.model, self.row = model, row
        self._evidence, self._equalized = evidence, equalized
        self._fitted: Fitted = {}
        self._known = Known(model, row)
        self._plans: dict[Key, QuantPlan] = {}
        self._last: tuple[Key, QuantPlan, ir.Model] | None = None
        self._forms: dict[str, Form] = {}
        self._level = "all" if row.placement == "kernels" else "none"  # this runtime's fusions are not the target's

    def _draft(self, recipe: Recipe) -> QuantPlan:
        """The plan before forms and what is fitted."""
        statistics, row = self._evidence.statistics, self.row.name
        method, ranges = recipe.method, recipe.ranges
        return make_plan(
            self.model, statistics, row, method=method, methods=ranges, keep=recipe.keep, known=self._known
        )

    def same_ranges(self, one: Recipe, other: Recipe) -> bool:
        """Whether two recipes come to the same ranges."""
        return self._draft(one).sites == self._draft(other).sites

    def _formed(self, recipe: Recipe) -> QuantPlan:
        """The plan before what is fitted."""
        return remembered(self._plans, _key(recipe), lambda: self._form(recipe))

    def _form(self, recipe: Recipe) -> QuantPlan:
        plan = self._draft(recipe)
        if self.row.tokens:
            sites = token_sites(self.model, plan, self._known.shapes)
            new = {tensor: own for tensor, own in sites.items() if tensor not in self._forms}
            self._forms |= forms(self.model, new, self._evidence.rows)
            plan = with_forms(plan, sites, {t: f for t, f in self._forms.items() if t in sites})
        return with_stored(self.model, plan, self.row, recipe.stored)

    def plan(self, recipe: Recipe) -> QuantPlan:
        """The plan of a recipe."""
        formed, moments = self._formed(recipe), self._evidence.moments
        return refine(self.model, formed, self.row, moments, self._fitted, self._known.nearest)

    def make(self, recipe: Recipe) -> tuple[QuantPlan, ir.Model]:
        """The plan, and the model that it makes; the last one is remembered."""
        key = _key(recipe)
        if self._last is None or self._last[0] != key:
            plan, self._last = self.plan(recipe), None  # one model at a time
            self._last = key, plan, insert(self.model, plan, self._known.nearest)
        return self._last[1:]

    def settled(self, recipe: Recipe) -> tuple[QuantPlan, ir.Model | None, tuple[Finding, ...]]:
        """The plan, with more nodes kept float where the runtime would not run them as planned; the model that it makes; and what was found.

        Only onnxruntime's own providers can be asked here. The model is None where the plan is for the model before it was equalized.
        """
        if self.row.placement != "kernels":
            plan, model = self.make(recipe)
            findings: tuple[Finding, ...] = ()
        else:
            settled = settle(lambda keep: self.make(dataclasses.replace(recipe, keep=keep)), self.model, recipe.keep)
            plan, model, findings = settled.plan, settled.model, settled.findings
        if self._equalized:
            return dataclasses.replace(plan, equalized=self._equalized), None, findings
        return plan, model, findings

    def corrected(
        self, plan: QuantPlan, made: ir.Model | None, data: Iterable[Batch], observer: Observer = SILENT
    ) -> tuple[QuantPlan, ir.Model | None, tuple[str, ...]]:
        """A settled plan and its model with biases that were corrected in sequence, where that pays; and what was done, if anything."""
        answers = self._evidence.answers
        found, did = with_sequential(self.model, plan, answers, data, level=self._level, observer=observer)
        return (found, None, did) if did else (plan, made, ())

    @property
    def batches(self) -> int:
        """How many batches were seen."""
        return len(self._evidence.answers)

    def error(self, model: ir.Model, data: Iterable[Batch], observer: Observer = SILENT, every: int = 1) -> float:
        """The output error of a quantized model on the batches that were seen, or on each so many-th of them."""
        return output_error(model, self._evidence.answers, data, self._level, observer, every)

    def figures(
        self, model: ir.Model, data: Iterable[Batch], class_axis: int | None = None
    ) -> tuple[OutputMetrics, ...]:
        """What a verdict would be given on, on the batches that were seen."""
        return figures(model, self._evidence.answers, data, self._level, class_axis)

    def best(
        self, keep: Mapping[ir.Node, str], data: Iterable[Batch], observer: Observer = SILENT
    ) -> tuple[Recipe, float]:
        """The recipe with the method whose plan costs the outputs least on the data that was seen, and its error."""
        plans: dict[str, QuantPlan] = {}
        errors: dict[str, float] = {}
        for method in METHODS:
            recipe = Recipe(method, keep)
            plan = self._formed(recipe)
            same = next((m for m, p in plans.items() if p.sites == plan.sites), None)
            plans[method] = plan
            errors[method] = errors[same] if same else self.error(self.make(recipe)[1], data, observer)
        limit = min(errors.values()) * 10 ** (MARGIN_DB / 10)
        method = next(m for m in METHODS if errors[m] <= limit)
        return self._entrance(Recipe(method, keep), errors[method], data, observer)

    def _entrance(
        self, recipe: Recipe, error: float, data: Iterable[Batch], observer: Observer
    ) -> tuple[Recipe, float]:
        """The recipe with the first Convs float, where that pays and nothing else has to be float because of it.

        What is no faster in integers is known of this runtime's kernels alone.
        """
        if self.row.placement != "kernels":
            return recipe, error
        before = self._formed(recipe)
        first = [n for n in first_of(self.model, {p.output for p in before.nodes if p.role == "conv"}) if is_narrow(n)]
        weights = (constant(self.model.graph.initializers.get(w.initializer)) for w in before.weights)
        total = sum(t.nbytes for t in weights if t is not None)
        if not first or sum(map(weight_bytes, first)) > ENTRANCE_SHARE * total or not 0 < error < math.inf:
            return recipe, error
        tried = dataclasses.replace(recipe, keep={**recipe.keep, **dict.fromkeys(first, ENTRANCE)})
        if len(self._formed(tried).left) != len(before.left) + len(first):
            return recipe, error
        other = self.error(self.make(tried)[1], data, observer)
        return (tried, other) if other * 10 ** (ENTRANCE_DB / 10) <= error else (recipe, error)
