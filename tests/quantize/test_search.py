"""What the search changes, what it leaves alone, and that it ends: with the best so far and a reason."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import onnx
import onnx_ir as ir
import pytest

import onnxzip
from onnxzip.config import Budget, Config
from onnxzip.quantize import quantize
from onnxzip.quantize.bound import Bound
from onnxzip.quantize.recipes import METHODS, Recipe
from onnxzip.quantize.search import SEARCHED, Search, State
from onnxzip.quantize.selectors import name_of
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, normal
from tests.quantize.fitted import Feed, images
from tests.quantize.test_recipes import content, recipes

TARGET = "openvino"
"""Its numbers do not depend on this CPU."""

ANY = Budget(min_agreement=None, min_sqnr_db=None)


def net() -> ir.Model:
    """Four Convs; the first reads a channel that is a hundred times larger than the others, and holds .6 % of the weights."""
    first = normal(4, 16, 1, 1)
    first[:, 3] /= 100
    return model(
        """g (float[N,16,8,8] x) => (float[N,24,8,8] y) { [one] a = Conv(x, w1) r = Relu(a) [two] b = Conv<pads=[1,1,1,1]>(r, w2)
        s = Relu(b) [three] c = Conv<pads=[1,1,1,1]>(s, w3) t = Relu(c) [four] y = Conv<pads=[1,1,1,1]>(t, w4) }""",
        w1=first,
        w2=normal(24, 4, 3, 3),
        w3=normal(24, 24, 3, 3),
        w4=normal(24, 24, 3, 3),
    )


def loud(count: int = 3) -> list[Feed]:
    data = [{"x": batch["x"][:4].copy()} for batch in images(16, count)]
    for batch in data:
        batch["x"][:, 3] *= 100
    return data


def a_minute() -> Bound:
    return Bound(time.monotonic() + 60)


def searched(budget: Budget = ANY, **options: Any) -> tuple[Recipe, tuple[str, ...], float, float, Bound]:
    """What comes out for the network above: recipe, sentences, the error before and after on all batches, the bound."""
    data, bound = loud(), a_minute()
    made = recipes(net(), data, TARGET)
    recipe, error = made.best({}, data)
    found, did = Search(made, data, budget, bound, **options).run(recipe, error)
    return found, did, error, made.error(made.make(found)[1], data), bound


def test_the_one_node_that_ruins_the_outputs_is_left_float() -> None:
    found, did, before, after, bound = searched()
    assert {name_of(n): reason for n, reason in found.keep.items()} == {"one": SEARCHED}
    assert after < before / 100
    assert did[0] == "the search left 1 nodes float, for the error of the outputs"
    gain = 10 * math.log10(before / after)
    end = f"the search ended after {bound.evaluations} evaluations because nothing was left to try"
    assert did[-1] == f"{end}: the output error is {gain:.1f} dB lower"
    assert bound.evaluations >= 5


def test_nodes_are_left_float_until_the_budget_is_met_on_the_tuning_data() -> None:
    """The second limit needs nodes whose gain is only seen once the first one is float."""
    data = loud()
    made = recipes(net(), data, TARGET)
    recipe, error = made.best({}, data)
    counts = []
    for limit in (25.0, 43.0):
        found, _ = Search(made, data, Budget(min_sqnr_db=limit), a_minute()).run(recipe, error)
        (figures,) = made.figures(made.make(found)[1], data)
        assert figures.agreement is None
        assert figures.sqnr_db is not None
        assert figures.sqnr_db >= limit
        counts.append(len(found.keep))
    assert counts[0] == 1
    assert 1 < counts[1] < 4


def test_a_budget_that_only_float_can_meet_does_not_lose_what_was_gained() -> None:
    found, _, before, after, _ = searched(Budget(min_sqnr_db=1000))
    assert 0 < len(found.keep) < 4
    assert 0 < after < before / 100


def test_where_all_is_fine_it_finds_nothing_and_says_so() -> None:
    before = conv_net("y = Conv(x, w1)")
    data = [{"x": batch["x"].clip(-1, 1)} for batch in images(16)]
    made = recipes(before, data, TARGET)
    recipe, error = made.best({}, data)
    found, did = Search(made, data, ANY, a_minute()).run(recipe, error)
    assert found is recipe
    assert len(did) == 1
    assert did[0].startswith("the search ended after ")
    assert did[0].endswith(" evaluations because nothing was left to try: it found nothing better")


def test_two_runs_without_haste_give_the_same_plan() -> None:
    config = Config(target="cpu-avx2", objective="size", search_time=600)
    before, data = net(), loud(1)
    plans = [quantize(before, data, config) for _ in range(2)]
    assert plans[0].plan is not None
    assert plans[0].plan == plans[1].plan
    assert plans[0].notes == plans[1].notes
    assert any(n.output == "a" and n.reason == SEARCHED for n in plans[0].plan.left)


class Fake:
    """Recipes whose errors are given by a function of (recipe, all batches or not); plans are real."""

    def __init__(self, error: Callable[[Recipe, bool], float], batches: int = 3, seconds: float = 0.0) -> None:
        self._data = loud(1)
        self._real = recipes(net(), self._data, TARGET)
        self.model, self.row = self._real.model, self._real.row
        self.batches, self._error, self._seconds = batches, error, seconds
        self.compared: list[tuple[Recipe, bool]] = []

    def make(self, recipe: Recipe) -> tuple[Any, Any]:
        return self._real._draft(recipe), recipe

    def same_ranges(self, one: Recipe, other: Recipe) -> bool:
        return False

    def error(self, recipe: Recipe, data: object, observer: object, every: int = 0) -> float:
        CLOCK.now += self._seconds * (1 if every else max(1, min(10, self.batches // 2)))
        self.compared.append((recipe, not every))
        return self._error(recipe, not every)

    def figures(self, recipe: Recipe, data: object, class_axis: int | None) -> tuple[()]:
        CLOCK.now += self._seconds * max(1, min(10, self.batches // 2))
        return ()


class Clock:
    now = 0.0


CLOCK = Clock()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time passes in evaluations only."""
    CLOCK.now = 1000.0
    monkeypatch.setattr("onnxzip.quantize.bound.time.monotonic", lambda: CLOCK.now)
    return CLOCK


def run(fake: Fake, bound: Bound, error: float = 1.0, timer: Any = None) -> tuple[Recipe, tuple[str, ...]]:
    return Search(fake, [], ANY, bound, timer).run(Recipe("mse", {}), error)  # type: ignore[arg-type]


def falling() -> Callable[[Recipe, bool], float]:
    """Every evaluation is better than the one before."""
    numbers = itertools.count(1)
    return lambda recipe, whole: 0.5 ** next(numbers)


def test_what_is_better_on_some_batches_and_worse_on_all_is_not_taken(clock: Clock) -> None:
    smaller = falling()
    fake = Fake(lambda recipe, whole: 2.0 if whole else smaller(recipe, whole))
    start = Recipe("mse", {})
    found, did = Search(fake, [], ANY, Bound(math.inf)).run(start, 1.0)  # type: ignore[arg-type]
    assert found is start
    assert len(did) == 1
    assert did[0].endswith("it found nothing better")
    compared, whole = fake.compared[-1]
    assert whole
    assert compared != start  # there was something to give up


@pytest.mark.parametrize(
    ("before", "after", "end"),
    [
        (math.inf, 0.1, "the outputs are no longer NaN"),
        (1.0, 0.1, "the output error is 10.0 dB lower"),
        (1.0, math.inf, "it found nothing better"),
        (0.0, 0.1, "it found nothing better"),
        (0.0, 0.0, "it found nothing better"),
        (math.inf, math.inf, "it found nothing better"),
    ],
)
def test_errors_of_nought_and_without_end_are_compared_too(clock: Clock, before: float, after: float, end: str) -> None:
    def error(recipe: Recipe, whole: bool) -> float:
        return after if recipe.keep or recipe.ranges else before

    start = Recipe("mse", {})
    found, did = Search(Fake(error), [], ANY, Bound(math.inf)).run(start, before)  # type: ignore[arg-type]
    assert did[-1].endswith(f": {end}")
    assert (found is start) == ("nothing" in end)


@pytest.mark.parametrize(("batches", "passes"), [(1, 3.0), (8, 3.0), (40, 2.0), (40, 3.0)])
def test_passes_are_bounded_and_evaluations_are_counted(clock: Clock, batches: int, passes: float) -> None:
    fake, bound = Fake(falling(), batches), Bound(math.inf, passes)
    _, did = run(fake, bound)
    assert f"because {passes:.0f} passes over the data were made" in did[-1]
    assert bound.evaluations == sum(not whole for _, whole in fake.compared)
    assert f"after {bound.evaluations} evaluations" in did[-1]
    assert passes <= bound.used < passes + 1  # the last one may begin below
    assert sum(whole for _, whole in fake.compared) == 1


@pytest.mark.parametrize("seconds", [0.5, 2.0, 6.9])
@pytest.mark.parametrize("batches", [1, 8, 40])
def test_the_search_is_over_in_time(clock: Clock, batches: int, seconds: float) -> None:
    """An evaluation, a judgement of the budget and the comparison at the end are all begun only if they end in time."""
    fake = Fake(falling(), batches, seconds)
    start, limit = clock.now, 100.0
    bound = Bound(start + limit, math.inf)
    _, did = run(fake, bound)
    assert bound.evaluations > 1
    assert bound.slowest == pytest.approx(seconds)
    assert clock.now - start <= limit
    if "nothing was left to try" not in did[-1]:
        assert "because its time was up" in did[-1]
        assert clock.now - start >= limit - (2 + bound.last) * seconds  # and not sooner than it must


def test_a_bound_that_is_past_gives_the_recipe_with_the_reason(clock: Clock) -> None:
    fake, start = Fake(falling()), Recipe("mse", {})
    found, did = Search(fake, [], ANY, Bound(clock.now - 1)).run(start, 1.0)  # type: ignore[arg-type]
    assert found is start
    assert did == ("there was no time left to search: give more of it (--search-time)",)
    assert fake.compared == []


def test_no_time_to_search_still_gives_a_model_and_a_reason_failure_33() -> None:
    before, data = net(), loud(4)
    config = Config(search_time=1e-3, measure_speed=False, objective="size", budget=ANY)
    result = onnxzip.optimize(before, data, config=config)
    stage = next(s for s in result.report.record.stages if s.name == "quantize")
    assert stage.kept
    assert "there was no time left to search: give more of it (--search-time)" in stage.notes
    assert "QuantizeLinear" in result.report.record.after.operators
    onnx.checker.check_model(result.to_proto(), full_check=True)
    plain = onnxzip.optimize(before, data, config=dataclasses.replace(config, search_time=0))
    assert result.plan == plain.plan
    assert not any("search" in note for s in plain.report.record.stages for note in s.notes)


def narrow() -> ir.Model:
    """A depthwise Conv between two dense ones, the first of which sums up over three channels."""
    text = """g (float[N,3,8,8] x) => (float[N,16,8,8] y) { [first] a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a)
        [depthwise] b = Conv<group=16, pads=[1,1,1,1]>(r, w2) s = Relu(b) [dense] y = Conv<pads=[1,1,1,1]>(s, w3) }"""
    return model(text, w1=normal(16, 3, 3, 3), w2=normal(16, 1, 3, 3), w3=normal(16, 16, 3, 3))


def timed(timer: Callable[[ir.Model, ir.Model], float] | None) -> tuple[list[str], tuple[str, ...]]:
    """Nodes that are left float where each kernel alone costs too little to be left so for the error."""
    data: list[Feed] = [{"x": b["x"][:4, :3].copy()} for b in images(16)]
    made = recipes(narrow(), data, TARGET)
    search = Search(made, data, ANY, a_minute(), timer)
    recipe, _ = made.best({}, data)
    plan, _ = made.make(recipe)
    state = State(recipe, math.inf, plan)
    search._speed(state)
    return [name_of(n) for n in state.recipe.keep], tuple(state.notes)


def test_narrow_kernels_are_left_float_where_that_is_faster() -> None:
    asked: list[tuple[bytes, bytes]] = []

    def faster(before: ir.Model, after: ir.Model) -> float:
        asked.append((content(before), content(after)))
        return 2.0

    left, notes = timed(faster)
    assert "dense" not in left
    assert left[0] == "first"
    assert notes == (f"the search left {len(left)} nodes float, for they are faster so",)
    assert all(before != after for before, after in asked)


def test_nothing_is_left_float_that_is_not_faster_or_where_speed_does_not_count() -> None:
    assert timed(lambda before, after: 1.02) == ([], ())
    assert timed(None) == ([], ())


def test_ranges_are_changed_one_by_one(clock: Clock) -> None:
    """One tensor is better off with another method; what does not gain enough stays."""

    def error(recipe: Recipe, whole: bool) -> float:
        return 1.0 - 0.5 * (recipe.ranges.get("r") == METHODS[2]) - 0.01 * (recipe.ranges.get("s") == METHODS[1])

    found, did = run(Fake(error), Bound(math.inf))
    assert dict(found.ranges) == {"r": METHODS[2]}
    assert found.keep == {}
    assert did[0] == "the search chose other ranges for 1 tensors"


def test_entropy_is_tried_after_all_other_ranges_of_all_tensors(clock: Clock) -> None:
    fake = Fake(lambda recipe, whole: 1.0 - 0.5 * (recipe.ranges.get("s") == "entropy"))
    found, did = run(fake, Bound(math.inf))
    assert dict(found.ranges) == {"s": "entropy"}
    tried = [tuple(recipe.ranges.values())[-1] for recipe, whole in fake.compared if recipe.ranges and not whole]
    first = tried.index("entropy")
    assert first > len(METHODS)
    assert "entropy" not in tried[:first]
    assert set(tried[first:]) == {"entropy"}
    assert did[0] == "the search chose other ranges for 1 tensors"
