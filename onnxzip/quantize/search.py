"""The ladder: per node int8, int8 with another range, weights only, float; climbed where it pays, under a bound.

What a node costs is measured at the end of the network: the error of the outputs with this node alone changed. (The error of its own output
says little: rank correlations of .45 and -.44 were measured on two networks.) One change at a time, in rounds:

 1. float     each kernel in turn is left float. Sorted by what that gains for each byte that it costs, one, two, four, ... of them are
              left float at once: where the budget is missed, until it is met, if need be in rounds; otherwise only what is nearly free.
 2. stored    of these, those whose weights can be stored without losing the gain (MatMul; Conv on onnxruntime's CPU) are.
 3. ranges    each quantized tensor in turn takes another method of choosing its range; what lowers the error by STEP_DB stays. Entropy comes last.
 4. speed     Convs that are slow in integers for their size (few channels in a group) are left float if the whole
              model becomes faster by FASTER, at no more error; not where size is the objective.

An evaluation runs SAMPLED batches or a tenth of them. The search looks at the clock before each, keeps back the time that the comparison at the end
will take, and counts what it has run, in passes over the data.
What it found is compared with where it began on all batches. It always ends with the best recipe so far, and says why it ended.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxzip.config import Budget
from onnxzip.model.walk import is_op
from onnxzip.progress import SILENT, Observer
from onnxzip.quantize.bound import Bound
from onnxzip.quantize.entrance import is_narrow, weight_bytes
from onnxzip.quantize.recipes import METHODS, Recipe, Recipes
from onnxzip.quantize.schema import QuantPlan
from onnxzip.runtime import Batch
from onnxzip.validate.comparison import Comparison
from onnxzip.validate.judge import judge

STEP_DB = 0.1
"""What a change of a range must gain to stay."""

CHEAP_DB, CHEAP_SHARE = 0.3, 0.01
"""A node is left float although the budget is met, if that gains so many dB for so small a share of the weights' bytes."""

FASTER = 1.03
"""How much faster a model must become for a node to be left float."""

LAST = ("entropy",)
"""Methods of choosing a range that are tried when all others were tried on all tensors: for a whole model they are the worst."""

SAMPLED = 2
"""Batches that an evaluation takes at least."""

FLOATS = 0.6
"""The part of the passes that one node at a time may take."""

SEARCHED = "left float by the search"

Timer = Callable[[ir.Model, ir.Model], float]
"""How much faster the second model is than the first, measured in pairs."""


@dataclass
class State:
    """Where a search stands."""

    recipe: Recipe
    error: float
    plan: QuantPlan
    notes: list[str] = field(default_factory=list)


class Search:
    """A search from one recipe.

    Args:
        recipes: what makes plans.
        data: the batches that were seen.
        budget: what shall be held, on the tuning data.
        bound: when to stop.
        timer: measures speed; None where it does not count.
        observer: told of each evaluation.
    """

    def __init__(
        self,
        recipes: Recipes,
        data: Iterable[Batch],
        budget: Budget,
        bound: Bound,
        timer: Timer | None = None,
        observer: Observer = SILENT,
    ) -> None:
        self._recipes, self._data, self._budget, self._bound = recipes, data, budget, bound
        self._timer, self._observer = timer, observer
        self._every = max(1, min(10, recipes.batches // SAMPLED))
        bound.last = self._every
        self._by_output = {o.name: n for n in recipes.model.graph.all_nodes() for o in n.outputs if o.name}

    def run(self, recipe: Recipe, error: float) -> tuple[Recipe, tuple[str, ...]]:
        """The best recipe that was found, and what the search did, one sentence each.

        Args:
            recipe: where to begin.
            error: its output error on all batches.
        """
        if not self._bound.open():
            return recipe, ("there was no time left to search: give more of it (--search-time)",)
        first, plan, _ = self._try(recipe)
        state = State(recipe, first, plan)
        for stage in (self._floats, self._stored, self._ranges, self._speed):
            if self._bound.open():
                stage(state)
        why = self._bound.reason()
        found = self._recipes.error(self._recipes.make(state.recipe)[1], self._data, self._observer)
        gain = _gain_db(error, found)
        end = f"the search ended after {self._bound.evaluations} evaluations because {why}"
        if gain <= 0:
            return recipe, (f"{end}: it found nothing better",)
        better = f"the output error is {gain:.1f} dB lower" if error < math.inf else "the outputs are no longer NaN"
        return state.recipe, (*state.notes, f"{end}: {better}")

    def _try(self, recipe: Recipe) -> tuple[float, QuantPlan, ir.Model]:
        """The error of a recipe; counted."""
        start = time.monotonic()
        plan, model = self._recipes.make(recipe)
        error = self._recipes.error(model, self._data, self._observer, self._every)
        bound = self._bound
        bound.evaluations, bound.used = bound.evaluations + 1, bound.used + 1 / self._every
        bound.slowest = max(bound.slowest, time.monotonic() - start)
        return error, plan, model

    # 1. float

    def _floats(self, state: State) -> None:
        if not self._bound.open(self._every):
            return
        share = self._bound.used + (self._bound.passes - self._bound.used) * FLOATS
        met = self._holds(state.recipe)
        while self._round(state, self._gains(state, share), met=met):
            pass
        left = [n for n in state.recipe.keep if state.recipe.keep[n] == SEARCHED]
        if left:
            state.notes.append(f"the search left {len(left)} nodes float, for the error of the outputs")

    def _gains(self, state: State, share: float) -> dict[ir.Node, float]:
        """What each kernel alone gains in dB if it is left float; those that were tried while less than `share` passes were made."""
        gains = dict[ir.Node, float]()
        for node in self._kernels(state.plan):
            if not self._bound.open() or self._bound.used >= share:
                break
            error, _, _ = self._try(self._without(state.recipe, [node]))
            gains[node] = _gain_db(state.error, error)
        return gains

    def _round(self, state: State, gains: Mapping[ir.Node, float], *, met: bool) -> bool:
        """Leave more and more nodes float; whether to measure again, for where one node ruins all, what the others gain is not seen."""
        before = state.recipe
        total = sum(map(weight_bytes, self._kernels(state.plan))) or 1
        order = sorted((n for n, g in gains.items() if g > 0), key=lambda n: -gains[n] / (weight_bytes(n) + 1))
        if met:
            order = [n for n in order if gains[n] >= CHEAP_DB and weight_bytes(n) <= CHEAP_SHARE * total]
        for nodes in _prefixes(order):
            if not self._bound.open():
                return False
            recipe = self._without(before, nodes)
            error, plan, _ = self._try(recipe)
            if error >= state.error or not self._kernels(plan):  # all in float is no quantized model
                continue
            if met and _gain_db(state.error, error) < CHEAP_DB:
                continue
            state.recipe, state.error, state.plan = recipe, error, plan
            if not met and (not self._bound.open(self._every) or self._holds(recipe)):
                return False
        return not met and state.recipe is not before

    def _holds(self, recipe: Recipe) -> bool:
        """Whether the budget on accuracy is held on the tuning data."""
        _, model = self._recipes.make(recipe)
        outputs = self._recipes.figures(model, self._data, self._budget.class_axis)
        self._bound.used += 1
        budget = dataclasses.replace(self._budget, confidence=None)  # the verdict asks for that, on data of its own
        return bool(outputs) and judge(Comparison(outputs=outputs), budget, data="tuning", samples=1).passed

    def _kernels(self, plan: QuantPlan) -> list[ir.Node]:
        return [self._by_output[p.output] for p in plan.nodes if p.weight and p.role not in ("table", "stored")]

    def _without(self, recipe: Recipe, nodes: Sequence[ir.Node]) -> Recipe:
        return dataclasses.replace(recipe, keep={**recipe.keep, **dict.fromkeys(nodes, SEARCHED)})

    # 2. stored

    def _stored(self, state: State) -> None:
        ops = ("MatMul", "Conv") if self._recipes.row.placement == "kernels" else ("MatMul",)  # see `at_load`
        floats = [n for n, reason in state.recipe.keep.items() if reason == SEARCHED and is_op(n, *ops)]
        if not floats or not self._bound.open():
            return
        recipe = dataclasses.replace(state.recipe, stored=frozenset(floats))
        if self._take(state, recipe, -STEP_DB):
            state.notes.append(f"of these, {len(floats)} have their weights stored as integers")

    # 3. ranges

    def _ranges(self, state: State) -> None:
        sites = list(dict.fromkeys(s.tensor for s in state.plan.sites if not s.per_token))
        trials = [(t, m) for methods in (METHODS, LAST) for t in sites for m in methods]
        changed = set[str]()
        for tensor, method in trials:
            if not self._bound.open():
                break
            if method == state.recipe.ranges.get(tensor, state.recipe.method):
                continue
            recipe = dataclasses.replace(state.recipe, ranges={**state.recipe.ranges, tensor: method})
            if not self._recipes.same_ranges(recipe, state.recipe) and self._take(state, recipe, STEP_DB):
                changed.add(tensor)
        if changed:
            state.notes.append(f"the search chose other ranges for {len(changed)} tensors")

    def _take(self, state: State, recipe: Recipe, gain_db: float) -> bool:
        """Take a recipe if it lowers the error by so much."""
        error, plan, _ = self._try(recipe)
        if error * 10 ** (gain_db / 10) > state.error:
            return False
        state.recipe, state.error, state.plan = recipe, error, plan
        return True

    # 4. speed

    def _speed(self, state: State) -> None:
        if self._timer is None:
            return
        slow = [n for n in self._kernels(state.plan) if is_narrow(n)]
        given = 0
        for node in slow:
            if not self._bound.open():
                break
            start = time.monotonic()
            _, now = self._recipes.make(state.recipe)
            recipe = self._without(state.recipe, [node])
            error, plan, model = self._try(recipe)
            if error <= state.error and self._timer(now, model) >= FASTER:
                state.recipe, state.error, state.plan, given = recipe, error, plan, given + 1
            self._bound.slowest = max(self._bound.slowest, time.monotonic() - start)
        if given:
            state.notes.append(f"the search left {given} nodes float, for they are faster so")


def _gain_db(before: float, after: float) -> float:
    """By how much an error became smaller, in dB; errors may be 0 or infinite.

    >>> _gain_db(1.0, 0.1), _gain_db(float("inf"), 0.1), _gain_db(0.0, 0.0), _gain_db(0.0, 0.1)
    (10.0, inf, 0.0, -inf)
    """
    if before == after:
        return 0.0
    if before == 0 or after == math.inf:
        return -math.inf
    return 10 * math.log10(before / after) if after > 0 else math.inf


def _prefixes(order: Sequence[ir.Node]) -> Iterator[Sequence[ir.Node]]:
    """The first 1, 2, 4, ... and all."""
    size = 1
    while size < len(order):
        yield order[:size]
        size *= 2
    if order:
        yield order
