"""Gelu that is spelled out."""

import numpy as np
import pytest

from onnxzip.passes.raise_gelu import raise_gelu
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

NUMBERS = {
    name: np.float32(number)
    for name, number in {
        "half": 0.5, "one": 1.0, "two": 2.0, "three": 3.0, "root": 2**0.5, "inverse": 0.5**0.5,
        "cubic": 0.044715, "scale": (2 / np.pi) ** 0.5, "quick": 1.702,
    }.items()
}  # fmt: skip


def graph(nodes, opset=20, x="float[N,4] x", **arrays):
    used = {k: v for k, v in (NUMBERS | arrays).items() if k in nodes}
    return model(f'<ir_version: 9, opset_import: ["" : {opset}]> g ({x}) => ({x[:-1]}y) {{ {nodes} }}', **used)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Div(x, root) e = Erf(a) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)",
        "h = Mul(x, half) a = Mul(x, inverse) e = Erf(a) s = Add(one, e) y = Mul(h, s)",
        "a = Mul(inverse, x) e = Erf(a) s = Add(e, one) h = Mul(half, s) y = Mul(x, h)",
        "a = Div(x, root) e = Erf(a) s = Add(e, one) m = Mul(s, x) y = Div(m, two)",
        "a = Div(x, root) e = Erf(a) h = Mul(e, half) s = Add(h, half) y = Mul(s, x)",
    ],
)
def test_case_1_erf(nodes):
    before = graph(nodes)
    after, outcome = apply(before, raise_gelu)
    assert outcome.changes == 1
    assert op_types(after) == ["Gelu"]
    assert not after.graph.initializers
    assert_equivalent(before, after, rtol=2e-7)


@pytest.mark.parametrize(
    "nodes",
    [
        "p = Pow(x, three) q = Mul(p, cubic) r = Add(x, q) u = Mul(r, scale) t = Tanh(u) v = Add(t, one) m = Mul(x, v) y = Mul(m, half)",
        "a = Mul(cubic, x) p = Mul(x, a) q = Mul(x, p) r = Add(x, q) u = Mul(scale, r) t = Tanh(u) v = Add(one, t) m = Mul(half, v) y = Mul(x, m)",
        "p = Mul(x, x) q = Mul(p, cubic) r = Add(one, q) s = Mul(x, scale) u = Mul(s, r) t = Tanh(u) v = Add(t, one) h = Mul(x, half) y = Mul(h, v)",
        "p = Pow(x, two) q = Mul(p, cubic) r = Add(q, one) s = Mul(x, r) u = Mul(s, scale) t = Tanh(u) v = Add(t, one) h = Mul(x, half) y = Mul(h, v)",
    ],
)
def test_case_2_tanh(nodes):
    before = graph(nodes)
    after, _ = apply(before, raise_gelu)
    assert op_types(after) == ["Gelu"]
    assert next(iter(after.graph)).attributes.get_string("approximate") == "tanh"
    assert_equivalent(before, after, rtol=5e-7)


ERF = "a = Div(x, root) e = Erf(a) s = Add(e, one) m = Mul(x, s) y = Mul(m, half)"


@pytest.mark.parametrize(
    "nodes",
    [
        ERF.replace("root", "three"),
        ERF.replace("one", "two"),
        ERF.replace("half", "two"),
        ERF.replace("Erf", "Tanh"),
        "a = Mul(x, quick) s = Sigmoid(a) y = Mul(x, s)",
        ERF.replace("Mul(x, s)", "Div(x, s)"),
        "a = Div(x, root) e = Erf(a) s = Add(e, one) b = Relu(x) m = Mul(b, s) y = Mul(m, half)",
        "p = Mul(x, x) q = Mul(p, cubic) r = Add(x, q) u = Mul(r, scale) t = Tanh(u) v = Add(t, one) m = Mul(x, v) y = Mul(m, half)",
    ],
)
def test_other_formulas_are_left_alone(nodes):
    assert_untouched(graph(nodes), raise_gelu)


def test_older_opsets_other_types_and_other_ranks_are_left_alone():
    assert_untouched(graph(ERF, opset=19), raise_gelu)
    halves = {k: np.float16(NUMBERS[k]) for k in ("half", "one", "root")}
    assert_untouched(graph(ERF, x="float16[N,4] x", **halves), raise_gelu)
    wide = model(
        f'<ir_version: 9, opset_import: ["" : 20]> g (float[N,4] x) => (float[A,N,4] y) {{ {ERF} }}',
        half=np.full((1, 1, 1), 0.5, np.float32),
        one=NUMBERS["one"],
        root=NUMBERS["root"],
    )
    assert_untouched(wide, raise_gelu)


def test_what_others_read_is_left_alone():
    text = f'<ir_version: 9, opset_import: ["" : 20]> g (float[N,4] x) => (float[N,4] y, float[N,4] z) {{ {ERF} z = Relu(s) }}'
    assert_untouched(model(text, **{k: NUMBERS[k] for k in ("half", "one", "root")}), raise_gelu)
