"""Values that are only repeated, and readers that broadcast anyway."""

import re

import numpy as np
import pytest

from onnxzip.passes.remove_dead import remove_dead
from onnxzip.passes.skip_broadcasts import skip_broadcasts
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

I64 = np.int64
ARRAYS = {
    "zero": np.array(0, I64),
    "one": np.array(1, I64),
    "first": np.array([0], I64),
    "low": np.float32(-9),
    "no": np.float32(0),
}


def graph(nodes, inputs="", outputs="float[A,B] y"):
    words = set(re.findall(r"\w+", nodes))
    used = {k: v for k, v in ARRAYS.items() if k in words}
    return model(f"g (float[N,S] x, float[S] u{inputs}) => ({outputs}) {{ {nodes} }}", **used)


def check(nodes, expected):
    before = graph(nodes)
    after, outcome = apply(before, skip_broadcasts)
    assert outcome.changes > 0
    after, _ = apply(after, remove_dead)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=0, sizes=(0, 1, 2, 3))


def untouched(nodes, **declared):
    assert_untouched(graph(nodes, **declared), skip_broadcasts)


def test_case_1_the_shape_is_the_same():
    check("s = Shape(x) e = Expand(x, s) y = Relu(e)", ["Relu"])
    check("b = Cast<to=9>(x) s = Shape(u) n = Gather(s, zero) r = Range(zero, n, one) p = GreaterOrEqual(r, zero) c = And(p, b) y = Cast<to=1>(c)", ["Cast", "Cast"])  # fmt: skip


def test_case_2_the_reader_broadcasts():
    check("s = Shape(x) e = Expand(u, s) y = Add(e, x)", ["Add"])
    check("s = Shape(x) c = ConstantOfShape<value=float[1] {2}>(s) y = Mul(x, c)", ["Mul"])


def test_case_3_nodes_between_are_made_anew():
    check(
        "b = Cast<to=9>(u) s = Shape(x) e = Expand(b, s) w = Where(e, no, low) y = Add(x, w)", ["Cast", "Where", "Add"]
    )
    check("s = Shape(x) e = Expand(u, s) a = Relu(e) b = Neg(e) c = Mul(a, b) d = Add(c, e) y = Sub(x, d)", ["Relu", "Neg", "Mul", "Add", "Sub"])  # fmt: skip


def test_conditions_that_are_the_same_everywhere():
    check("s = Shape(x) t = ConstantOfShape<value=bool[1] {0}>(s) w = Where(t, u, x) y = Relu(w)", ["Relu"])


@pytest.mark.parametrize(
    "nodes",
    [
        "s = Shape(x) y = Expand(u, s)",
        "s = Shape(x) e = Expand(u, s) y = MatMul(e, x)",
        "s = Shape(x) e = Expand(u, s) y = Softmax(e)",
        "s = Shape(x) e = Expand(u, s) y = Relu(e)",
        "s = Shape(x) e = Expand(u, s) y = Add(e, u)",
        "s = Shape(x) c = ConstantOfShape<value=float[1] {2}>(s) y = Concat<axis=0>(x, c)",
        "b = Cast<to=9>(x) p = Greater(u, low) c = And(p, b) y = Cast<to=1>(c)",
    ],
)
def test_left_alone(nodes):
    untouched(nodes)


def test_a_size_that_may_be_1_is_no_full_shape():
    untouched("s = Shape(x) e = Expand(u, s) y = Add(e, k)", inputs=", float[K,S] k")


def test_outputs_and_bodies_keep_the_full_shape():
    untouched("s = Shape(x) e = Expand(u, s) y = Add(e, x) z = Identity(e)", outputs="float[A,B] y, float[A,B] z")
    untouched(
        """s = Shape(x) e = Expand(u, s) a = Add(e, x)
           y = If(c) <then_branch = t () => (float[A,B] p) { p = Sin(e) }, else_branch = f () => (float[A,B] q) { q = Cos(a) }>""",
        inputs=", bool c",
    )


def test_a_tile_that_names_too_few_axes_is_left_to_the_runtime():
    assert_untouched(
        model("g (float[N,3] x, float[K] k) => (float[A,B] y) { t = Tile(x, r) y = Add(t, k) }", r=np.array([1])),
        skip_broadcasts,
    )
