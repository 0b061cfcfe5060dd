"""LayerNormalization and RMSNormalization that are spelled out."""

import numpy as np
import pytest

from onnxzip.passes.context import Allowed, Context
from onnxzip.passes.raise_layer_norm import raise_layer_norm
from onnxzip.passes.raise_mean import raise_mean
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)
CONSTANTS = {
    "gamma": RNG.standard_normal(8).astype(np.float32),
    "beta": RNG.standard_normal(8).astype(np.float32),
    "column": RNG.standard_normal((1, 6, 1)).astype(np.float32),
    "shift": RNG.standard_normal((1, 6, 1)).astype(np.float32),
    "two": np.float32(2),
    "zero": np.float32(0),
    "eighth": np.float32(1 / 8),
    "minushalf": np.float32(-0.5),
    "epsilon": np.float32(1e-5),
    "last": np.array([-1], np.int64),
    "middle": np.array([1], np.int64),
}


def graph(nodes, opset=18):
    used = {k: v for k, v in CONSTANTS.items() if k in nodes}
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g (float[N,6,8] x) => (float[N,6,8] y) {{ {nodes} }}'
    return model(text, **used)


def check(nodes, expected, opset=18):
    before = graph(nodes, opset)
    after, outcome = apply(before, raise_layer_norm)
    assert outcome.changes == 1
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=1e-6)
    return after


MEAN = "m = ReduceMean(x, last) d = Sub(x, m)"
VARIANCE = f"{MEAN} p = Pow(d, two) v = ReduceMean(p, last) e = Add(v, epsilon) s = Sqrt(e)"


@pytest.mark.parametrize(
    "nodes",
    [
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)",
        f"{VARIANCE} n = Div(d, s) k = Mul(gamma, n) y = Add(beta, k)",
        f"{VARIANCE} n = Div(d, s) y = Mul(n, gamma)",
        f"{VARIANCE} r = Reciprocal(s) g = Mul(r, gamma) k = Mul(d, g) y = Add(k, beta)",
        f"{MEAN} p = Mul(d, d) v = ReduceMean(p, last) e = Add(epsilon, v) r = Pow(e, minushalf) n = Mul(d, r) k = Mul(n, gamma) y = Add(k, beta)",
        "m = ReduceMean(x, last) d = Sub(x, m) c = Sub(x, m) p = Mul(c, c) v = ReduceMean(p, last) e = Add(v, epsilon) s = Sqrt(e) n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)",
    ],
)
def test_case_1(nodes):
    after = check(nodes, ["LayerNormalization"])
    assert next(iter(after.graph)).attributes.get_float("epsilon") == pytest.approx(1e-5)


def test_opset_17_has_axes_as_attributes():
    nodes = f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)"
    for name in ("x", "p"):
        nodes = nodes.replace(f"ReduceMean({name}, last)", f"ReduceMean<axes = [-1]>({name})")
    check(nodes, ["LayerNormalization"], opset=17)
    assert_untouched(graph(nodes, opset=16), raise_layer_norm)


FLAX = "q = Mul(x, x) w = ReduceMean(q, last) m = ReduceMean(x, last) b = Mul(m, m) v = Sub(w, b)"


@pytest.mark.parametrize(
    "nodes",
    [
        f"{FLAX} c = Max(zero, v) e = Add(c, epsilon) s = Sqrt(e) r = Reciprocal(s) g = Mul(r, gamma) d = Sub(x, m) k = Mul(d, g) y = Add(k, beta)",
        f"{FLAX} e = Add(v, epsilon) s = Sqrt(e) d = Sub(x, m) n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)",
    ],
)
def test_a_variance_that_cancels_is_left_alone(nodes):
    assert_untouched(graph(nodes), raise_layer_norm)


def test_case_2_multiplied_out():
    check(
        f"{VARIANCE} r = Reciprocal(s) g = Mul(r, gamma) a = Mul(x, g) b = Mul(m, g) c = Sub(beta, b) y = Add(a, c)",
        ["LayerNormalization"],
    )


@pytest.mark.parametrize(
    "nodes",
    [
        "f = Mul(a, two) c = Mul(m, k) b = Sub(beta, c) y = Add(f, b)",
        "f = Div(a, gamma) c = Mul(m, k) b = Sub(beta, c) y = Add(f, b)",
        "c = Mul(m, k) f = Mul(c, two) b = Sub(beta, f) y = Add(a, b)",
    ],
)
def test_parts_with_another_factor_are_left_alone(nodes):
    scale = f"{VARIANCE} r = Reciprocal(s) k = Mul(r, gamma) a = Mul(x, k)"
    assert_untouched(graph(f"{scale} {nodes}"), raise_layer_norm)


def test_case_3_another_axis():
    nodes = f"{VARIANCE} n = Div(d, s) k = Mul(n, column) y = Add(k, shift)".replace("last", "middle")
    check(nodes, ["Transpose", "LayerNormalization", "Transpose"])


def test_case_4_root_mean_square():
    nodes = "p = Pow(x, two) v = ReduceMean(p, last) e = Add(v, epsilon) s = Sqrt(e) n = Div(x, s) y = Mul(n, gamma)"
    check(nodes, ["RMSNormalization"], opset=23)
    check(
        "p = Mul(x, x) v = ReduceMean(p, last) e = Add(v, epsilon) s = Sqrt(e) r = Reciprocal(s) n = Mul(x, r) y = Mul(gamma, n)",
        ["RMSNormalization"],
        opset=23,
    )
    assert_untouched(graph(nodes, opset=22), raise_layer_norm)


def test_sums_and_reshapes():
    """As tf2onnx writes what flax means."""
    before = model(
        """g (float[N,8] x) => (float[N,8] y) {
            n = Shape<start = 0, end = 1>(x) t = Concat<axis = 0>(n, one)
            f = ReduceSum<keepdims = 0>(x, last) m = Mul(f, eighth) mr = Reshape(m, t) d = Sub(x, mr) q = Mul(d, d)
            h = ReduceSum<keepdims = 0>(q, last) w = Mul(h, eighth) wr = Reshape(w, t) e = Add(wr, epsilon) s = Sqrt(e) r = Reciprocal(s)
            g = Mul(r, gamma) k = Mul(d, g) y = Add(k, beta)
        }""",
        one=np.array([1], np.int64),
        **{k: CONSTANTS[k] for k in ("last", "eighth", "epsilon", "gamma", "beta")},
    )
    after, _ = apply(before, raise_mean, raise_layer_norm)
    assert op_types(after) == ["LayerNormalization"]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        f"{VARIANCE} n = Div(d, s) k = Mul(n, column) y = Add(k, beta)",  # gamma along another axis
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)".replace("Pow(d, two)", "Abs(d)"),
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)".replace("ReduceMean(p", "ReduceSum(p"),
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)".replace(
            "ReduceMean(p, last", "ReduceMean(p, middle"
        ),
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)".replace("Sqrt(e)", "Exp(e)"),
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) y = Add(k, beta)".replace("Div(d, s)", "Div(x, s)"),
        f"{VARIANCE} n = Div(d, s) k = Mul(n, gamma) f = Add(k, beta) y = Mul(f, m)",  # the mean is read twice
    ],
)
def test_other_formulas_are_left_alone(nodes):
    assert_untouched(graph(nodes), raise_layer_norm)


def test_without_gamma_ones_are_added_only_where_bytes_do_not_count():
    before = model(
        f"g (float[N,6,512] x) => (float[N,6,512] y) {{ {VARIANCE} y = Div(d, s) }}",
        **{k: CONSTANTS[k] for k in ("two", "epsilon", "last")},
    )
    assert_untouched(before, raise_layer_norm)
    after = before.clone()
    raise_layer_norm(after, Context(after, Allowed(prefer="nodes")))
    assert op_types(after) == ["LayerNormalization"]
    assert_equivalent(before, after, rtol=1e-6)
