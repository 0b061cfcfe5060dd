"""HardSigmoid, HardSwish and Mish that are spelled out."""

import numpy as np
import pytest

from onnxzip.passes.raise_hard_swish import raise_hard_swish
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

NUMBERS = {
    n: np.float32(v) for n, v in {"zero": 0, "one": 1, "three": 3, "six": 6, "sixth": 1 / 6, "half": 0.5}.items()
}
X = {"x": np.array([[-9, -3, -1.5, 0, 0.1, 2.9, 3, 50]], np.float32)}


def graph(nodes, opset=18):
    used = {k: v for k, v in NUMBERS.items() if k in nodes}
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,8] x) => (float[N,8] y) {{ {nodes} }}'
    return model(text, **used)


def check(nodes, expected, opset=18):
    before = graph(nodes, opset)
    after, _ = apply(before, raise_hard_swish)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=2e-7, batch=X)
    return next(iter(after.graph))


@pytest.mark.parametrize(
    ("nodes", "alpha", "beta"),
    [
        ("a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)", 1 / 6, 0.5),
        ("a = Add(three, x) c = Clip(a, zero, six) y = Mul(c, sixth)", 1 / 6, 0.5),
        ("m = Mul(x, sixth) a = Add(m, half) y = Clip(a, zero, one)", 1 / 6, 0.5),
        ("a = Sub(half, x) y = Clip(a, zero, one)", -1.0, 0.5),
        ("a = Add(x, half) m = Mul(a, sixth) y = Clip(m, zero, one)", 1 / 6, 0.5 / 6),
    ],
)
def test_case_1_hard_sigmoid(nodes, alpha, beta):
    node = check(nodes, ["HardSigmoid"])
    assert node.attributes.get_float("alpha") == pytest.approx(alpha, rel=1e-6)
    assert node.attributes.get_float("beta") == pytest.approx(beta, rel=1e-6)


def test_clip_with_attributes():
    check("a = Add(x, three) c = Clip<min = 0.0, max = 6.0>(a) y = Div(c, six)", ["HardSigmoid"], opset=10)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)",
        "a = Add(x, three) c = Clip(a, zero, six) d = Div(c, six) y = Mul(d, x)",
        "a = Add(x, three) c = Clip(a, zero, six) d = Mul(c, sixth) y = Mul(x, d)",
        "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(h, x)",
    ],
)
def test_cases_2_and_3_hard_swish(nodes):
    check(nodes, ["HardSwish"])


def test_case_4_mish():
    check("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", ["Mish"])


def test_older_opsets_keep_the_product():
    check("a = Add(x, three) c = Clip(a, zero, six) m = Mul(x, c) y = Div(m, six)", ["HardSigmoid", "Mul"], opset=13)
    assert_untouched(graph("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) y = Mul(h, x)", 13), raise_hard_swish)
    assert_untouched(graph("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", 17), raise_hard_swish)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Clip(x, zero, one)",
        "a = Add(x, three) c = Clip(a, zero, six) y = Div(c, three)",
        "a = Add(x, three) c = Clip(a, one, six) y = Div(c, six)",
        "h = HardSigmoid<alpha = 0.2, beta = 0.5>(x) y = Mul(h, x)",
        "h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x) r = Relu(x) y = Mul(h, r)",
        "s = Sigmoid(x) y = Mul(x, s)",
        "s = Softplus(x) t = Tanh(s) r = Abs(x) y = Mul(r, t)",
    ],
)
def test_other_formulas_are_left_alone(nodes):
    assert_untouched(graph(nodes), raise_hard_swish)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Add(x, three) c = Clip(a, zero, minussix) y = Div(c, minussix)",  # which is 1 everywhere
        "a = Sub(x, far) c = Clip(a, zero, six) y = Div(c, six)",  # far / 6 has fewer digits left behind the point
    ],
)
def test_ramps_that_are_none_or_far_away_are_left_alone(nodes):
    numbers = {"three": 3, "zero": 0, "minussix": -6, "far": 1e6}
    arrays = {n: np.float32(v) for n, v in numbers.items() if n in nodes}
    if " six" in nodes:
        arrays["six"] = np.float32(6)
    assert_untouched(model(f"g (float[N] x) => (float[N] y) {{ {nodes} }}", **arrays), raise_hard_swish)
