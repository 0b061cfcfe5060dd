"""Weights that are stored as integers beside nodes that compute in integers: which, what they cost, and who stays out of it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.config import Budget
from onnxzip.model.save import model_bytes, to_proto
from onnxzip.quantize import QuantPlan, insert
from onnxzip.quantize.bound import Bound
from onnxzip.quantize.recipes import Recipe, Recipes
from onnxzip.quantize.search import SEARCHED, Search
from onnxzip.quantize.selectors import name_of
from onnxzip.quantize.stored import with_stored
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import model
from tests.quantize.audit import normal, runtime_ops, sqnr
from tests.quantize.fitted import Feed, correlated
from tests.quantize.test_recipes import content, recipes

TARGET = "cpu-avx2"
KEEP = "asked"


def net(first: np.ndarray | None = None) -> ir.Model:
    """Two MatMuls; what the second one reads has one range for all samples."""
    return model(
        "g (float[N,32] x) => (float[N,48] y) { [one] m = MatMul(x, w) e = Tanh(m) [two] y = MatMul(e, v) }",
        w=normal(32, 48) if first is None else first,
        v=normal(48, 48),
    )


def loud() -> list[Feed]:
    """Every other sample is 4000 times larger: one range for all of them ruins the others. Behind Tanh it only costs some."""
    data = correlated(32, 24)
    for batch in data:
        batch["x"][::2] *= 20
        batch["x"][1::2] *= 0.005
    return data


def node(net: ir.Model, name: str) -> ir.Node:
    return next(n for n in net.graph if name_of(n) == name)


def stored(plan: QuantPlan) -> list[str]:
    return [n.output for n in plan.nodes if n.role == "stored"]


def float_and_stored(net: ir.Model) -> tuple[Recipes, Recipe, Recipe]:
    one = node(net, "one")
    kept = Recipe("mse", {one: KEEP})
    return recipes(net, loud(), TARGET), kept, Recipe("mse", {one: KEEP}, stored=frozenset({one}))


def test_a_matmul_that_the_search_leaves_float_is_stored() -> None:
    before, data = net(), loud()
    made = recipes(before, data, "openvino")
    recipe, error = made.best({}, data)
    search = Search(made, data, Budget(min_sqnr_db=30), Bound(math.inf))
    found, did = search.run(recipe, error)
    assert {name_of(n): reason for n, reason in found.keep.items()} == {"one": SEARCHED}
    assert found.stored == frozenset({node(before, "one")})
    assert did[:2] == (
        "the search left 1 nodes float, for the error of the outputs",
        "of these, 1 have their weights stored as integers",
    )
    assert stored(made.plan(found)) == ["m"]
    assert made.error(made.make(found)[1], data) < error / 10


def test_a_matmul_stays_float_where_storing_would_cost_what_was_gained() -> None:
    """Its weights for one input are so much smaller that integers make them 0."""
    first, data = normal(32, 48), correlated(32, 24)
    first[3] /= 1000
    for batch in data:
        batch["x"][:, 3] *= 1000
    before = net(first)
    made = recipes(before, data, "openvino")
    recipe, error = made.best({}, data)
    found, did = Search(made, data, Budget(min_sqnr_db=30), Bound(math.inf)).run(recipe, error)
    assert {name_of(n): reason for n, reason in found.keep.items()} == {"one": SEARCHED}
    assert found.stored == frozenset()
    assert not any("stored" in sentence for sentence in did)
    all_stored = dataclasses.replace(found, stored=frozenset(found.keep))
    assert made.error(made.make(all_stored)[1], data) > 10 * made.error(made.make(found)[1], data)


def test_convs_that_the_search_leaves_float_are_not_stored() -> None:
    """A compiler need not fold what makes float weights of integers: they would be dequantized at every run."""
    from tests.quantize.test_search import loud, net

    before, data = net(), loud()
    made = recipes(before, data, "openvino")
    recipe, error = made.best({}, data)
    found, _ = Search(made, data, Budget(min_sqnr_db=25), Bound(math.inf)).run(recipe, error)
    assert found.keep
    assert found.stored == frozenset()


def test_weights_become_a_quarter_and_cost_the_rounding_of_the_weights_only(tmp_path: Path) -> None:
    before = net()
    made, kept, recipe = float_and_stored(before)
    plain, (plan, after) = made.make(kept)[1], made.make(recipe)
    onnx.checker.check_model(to_proto(after), full_check=True)
    assert stored(plan) == ["m"]
    assert plan.left == ()
    assert "x" not in {s.tensor for s in plan.sites}  # it is read in float
    assert model_bytes(plain) - model_bytes(after) > 0.6 * 4 * 32 * 48
    assert sqnr(before, after, loud()[0]) > 35
    assert runtime_ops(after, tmp_path)["MatMulNBits"] == 1


def test_the_runtime_is_content_with_it() -> None:
    made, _, recipe = float_and_stored(net())
    plan, _, findings = made.settled(recipe)
    assert plan == made.plan(recipe)
    assert not any(f.at_fault for f in findings)


def test_a_plan_that_was_written_and_read_gives_the_same_bytes() -> None:
    before = net()
    made, _, recipe = float_and_stored(before)
    plan, first = made.make(recipe)
    assert next(w for w in plan.weights if w.initializer == "w").rounding
    text = plan.to_json()
    read = QuantPlan.from_json(text)
    assert read == plan
    assert read.to_json() == text
    assert content(insert(before, read)) == content(first)


def test_no_nodes_no_change() -> None:
    before = net()
    plan = recipes(before, loud(), TARGET).plan(Recipe("mse", {node(before, "one"): KEEP}))
    assert with_stored(before, plan, target_row(TARGET), ()) is plan


@pytest.mark.parametrize("name", ["one", "two"])
def test_nodes_that_the_plan_holds_are_left_alone(name: str) -> None:
    before = net()
    plan = recipes(before, loud(), TARGET).plan(Recipe("mse", {}))
    assert with_stored(before, plan, target_row(TARGET), {node(before, name)}) == plan


def test_only_the_nodes_that_are_named_change() -> None:
    before = net()
    keep = {node(before, "one"): KEEP, node(before, "two"): KEEP}
    plan = recipes(before, loud(), TARGET).plan(Recipe("mse", keep))
    assert plan.nodes == ()
    found = with_stored(before, plan, target_row(TARGET), {node(before, "two")})
    assert stored(found) == ["y"]
    assert [w.initializer for w in found.weights] == ["v"]
    assert [n.output for n in found.left] == ["m"]


def test_weights_that_another_node_has_taken_are_left_alone() -> None:
    """One entry decides how weights are stored: the second reader cannot have another."""
    text = "g (float[N,48] x) => (float[N,48] y) { [one] m = MatMul(x, w) e = Tanh(m) [two] y = MatMul(e, w) }"
    before = model(text, w=normal(48, 48))
    plan = recipes(before, correlated(48, 24), TARGET).plan(Recipe("mse", {}))
    half = [n for n in plan.nodes if n.output != "y"]
    assert len(half) == len(plan.nodes) - 1
    partial = dataclasses.replace(plan, nodes=tuple(half))
    assert with_stored(before, partial, target_row(TARGET), {node(before, "two")}) == partial


def test_two_nodes_that_share_weights_are_both_stored_once() -> None:
    text = "g (float[N,48] x) => (float[N,48] y) { [one] m = MatMul(x, w) e = Tanh(m) [two] y = MatMul(e, w) }"
    before, data = model(text, w=normal(48, 48)), correlated(48, 24)
    nodes = [node(before, "one"), node(before, "two")]
    made = recipes(before, data, TARGET)
    plan, after = made.make(Recipe("mse", dict.fromkeys(nodes, KEEP), stored=frozenset(nodes)))
    assert stored(plan) == ["m", "y"]
    assert [w.initializer for w in plan.weights] == ["w"]
    assert model_bytes(after) < 0.5 * model_bytes(before)
    assert sqnr(before, after, data[0]) > 30


def test_tables_are_left_alone() -> None:
    text = "g (int64[N,4] i) => (float[N,4,48] y) { [table] e = Gather(t, i) [one] y = MatMul(e, w) }"
    before = model(text, t=normal(5000, 32), w=normal(32, 48))
    data = [{"i": np.random.default_rng(s).integers(0, 100, (8, 4))} for s in range(3)]
    plan = recipes(before, data, TARGET).plan(Recipe("mse", dict.fromkeys(before.graph, KEEP)))
    assert "e" in {n.output for n in plan.left}  # the table is one that could be stored by itself
    found = with_stored(before, plan, target_row(TARGET), set(before.graph))
    assert stored(found) == ["y"]
    assert [w.initializer for w in found.weights] == ["w"]


def test_weights_that_are_too_small_or_read_by_others_in_float_are_left_alone() -> None:
    text = """g (float[N,32] x) => (float[N,1] y, float[32,48] z)
        { [one] m = MatMul(x, w) z = Neg(w) [two] y = MatMul(m, v) }"""
    before = model(text, w=normal(32, 48), v=normal(48, 1))
    plan = QuantPlan(target=TARGET, method="mse")
    assert with_stored(before, plan, target_row(TARGET), set(before.graph)) == plan
