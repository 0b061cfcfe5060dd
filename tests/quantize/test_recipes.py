"""Which method wins, and what its plan holds: enough to give the same bytes again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.save import to_proto
from onnxzip.quantize import QuantPlan, insert, make_plan
from onnxzip.quantize.recipes import MARGIN_DB, METHODS, Recipe, Recipes
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, normal, sqnr
from tests.quantize.fitted import Feed, correlated, evidence, images

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a) y = Conv(r, w2, b2)"


def tokens_net() -> ir.Model:
    """Everything that a plan can hold: roundings, biases of an Add, forms with smoothing."""
    text = (
        """g (float[N,7,32] x) => (float[N,7,48] y) { m = MatMul(x, w) a = Add(m, b) e = Tanh(a) y = MatMul(e, v) }"""
    )
    return model(text, w=normal(32, 48), b=normal(48), v=normal(48, 48))


def tokens() -> list[Feed]:
    data = correlated(32, 4, 7, count=3)
    for batch in data:
        batch["x"][..., 5] *= 50
    return data


def recipes(net: ir.Model, data: list[Feed], target: str = "cpu") -> Recipes:
    return Recipes(net, target_row(target), evidence(net, data, target))


def content(net: ir.Model) -> bytes:
    return to_proto(net).SerializeToString(deterministic=True)


CASES: Mapping[str, tuple[Callable[[], ir.Model], Callable[[], list[Feed]]]] = {
    "conv": (lambda: conv_net(CHAIN), lambda: images(16)),
    "gemm": (lambda: dense("y = Gemm(x, w, b)"), lambda: correlated(32, 50)),
    "tokens": (tokens_net, tokens),
}


@pytest.mark.parametrize("target", ["cpu", "cpu-avx2", "openvino"])
@pytest.mark.parametrize("name", CASES)
def test_a_plan_that_was_written_and_read_gives_the_same_bytes(name: str, target: str) -> None:
    build, data = CASES[name]
    net = build()
    plan, first = recipes(net, data(), target).make(Recipe("mse", {}))
    assert any(w.rounding for w in plan.weights)
    assert any(n.bias for n in plan.nodes) == (
        (name, target) != ("tokens", "openvino")
    )  # where an Add is no part of it
    assert any(s.smooth for s in plan.sites) == (name == "tokens" and target != "openvino")
    text = plan.to_json()
    read = QuantPlan.from_json(text)
    assert read == plan
    assert read.to_json() == text
    assert content(insert(net, read)) == content(first)


def test_two_recipes_make_the_same_plans() -> None:
    net = tokens_net()
    plans = [[r.plan(Recipe(m, {})) for m in METHODS] for r in (recipes(net, tokens()), recipes(net, tokens()))]
    assert plans[0] == plans[1]
    shared = recipes(net, tokens())
    assert [shared.plan(Recipe(m, {})) for m in METHODS[::-1]] == plans[0][::-1]  # whatever was made before


def test_what_is_fitted_is_nearer_to_the_float_model() -> None:
    net, data = tokens_net(), tokens()
    made = recipes(net, data)
    fitted = made.make(Recipe("mse", {}))[1]
    plain = insert(net, make_plan(net, evidence(net, data).statistics, method="mse"))
    assert sqnr(net, fitted, data[0]) > sqnr(net, plain, data[0]) + 2


def test_nodes_that_are_kept_float_are_left_alone() -> None:
    net = tokens_net()
    keep = {net.graph[0]: "asked"}
    plan = recipes(net, tokens()).plan(Recipe("mse", keep))
    assert [n.output for n in plan.nodes if n.weight] == ["y"]
    assert "x" not in {s.tensor for s in plan.sites}


def best_of(monkeypatch: pytest.MonkeyPatch, errors: dict[str, float]) -> str:
    """The choice, given the error of each method's plan."""
    net, data = conv_net(CHAIN), images(16)
    rng = np.random.default_rng(0)
    for batch in data:
        batch["x"][rng.integers(16), 3] *= 20  # ranges differ between methods
    made = recipes(net, data)
    by_content = {content(made.make(Recipe(m, {}))[1]): m for m in METHODS}
    assert len(by_content) == len(METHODS)
    monkeypatch.setattr("onnxzip.quantize.recipes.output_error", lambda model, *_: errors[by_content[content(model)]])
    return made.best({}, data)[0].method


STEP = 10 ** (MARGIN_DB / 10)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((1, 1, 1, 1), "mse"),
        ((1, 1 / STEP + 0.01, 1, 1), "mse"),
        ((1, 1 / STEP - 0.01, 1, 1), "minmax"),
        ((1, 0.8, 1, 0.7), "minmax"),
        ((1, 1, 1, 0.1), "percentile"),
        ((np.inf, np.inf, 0.5, 1), "percentile5"),
        ((np.inf,) * 4, "mse"),
        ((0,) * 4, "mse"),
    ],
)
def test_a_later_method_must_be_better_by_the_margin(
    monkeypatch: pytest.MonkeyPatch, errors: tuple[float, ...], expected: str
) -> None:
    assert METHODS == ("mse", "minmax", "percentile5", "percentile")
    assert best_of(monkeypatch, dict(zip(METHODS, errors, strict=True))) == expected


def test_the_choice_is_made_by_the_outputs() -> None:
    """One huge value in the data that the output does not care for: the range that holds it costs all the others."""
    net = conv_net("y = Conv(x, w1)")
    data = images(16)
    for batch in data:
        batch["x"][0, 0, 0, 0] = 300
    made = recipes(net, data)
    assert made.best({}, data)[0].method != "minmax"


def test_a_network_that_gives_nan_in_int8_gets_a_plan() -> None:
    net = dense(
        "c = Clip(x, low) m = MatMul(c, e) d = Sub(m, c) a = Add(d, k) y = Sqrt(a)",
        columns=32,
        e=np.eye(32, dtype=np.float32),
        low=np.float32(0),
        k=np.float32(1e-4),
    )
    data = correlated(32, 50)
    assert recipes(net, data).best({}, data)[0].method in METHODS


def test_targets_that_cannot_be_asked_here_are_not_audited() -> None:
    net, data = conv_net(CHAIN), images(16)
    made = recipes(net, data, "tensorrt")
    plan, _, findings = made.settled(Recipe("mse", {}))
    assert findings == ()
    assert plan == made.plan(Recipe("mse", {}))
