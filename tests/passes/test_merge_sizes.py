"""Sizes that are the same number, computed in several ways."""

import numpy as np

from onnxzip.passes.merge_sizes import merge_sizes
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

I64 = np.int64
ARRAYS = {"zero": np.array(0, I64), "one": np.array(1, I64), "first": np.array([0], I64)}


def rewritten(text, **arrays):
    before = model(text, **arrays)
    after, outcome = apply(before, merge_sizes)
    assert outcome.changes > 0
    assert_equivalent(before, after, rtol=0, sizes=(0, 1, 2, 3))
    return after


def test_case_1_an_earlier_value_holds_the_same():
    after = rewritten(
        """<ir_version: 8, opset_import: ["" : 13]>
        g (float[N,4] x) => (int64 y) {
            s = Shape(x) n = Gather(s, zero) r = Relu(x) t = Shape(r) m = Gather(t, zero) d = Add(m, m) e = Mul(n, two)
            y = Mul(d, e)
        }""",
        zero=ARRAYS["zero"],
        two=np.array(2, I64),
    )
    assert_nodes(
        after,
        """
        s = Shape(x)
        n = Gather(s, zero)
        d = Add(n, n)
        y = Mul(d, d)
        """,
    )


def test_case_2_one_shape_of_the_input():
    after = rewritten(
        """g (float[N,S,4] x) => (int64[1] a, int64[2] b) {
            r = Relu(x) s = Shape(r) n = Gather(s, one) u = Unsqueeze(n, first) a = Neg(u)
            t = Shape(r) i = Gather(t, zero) v = Unsqueeze(i, first) c = Concat<axis=0>(v, u) b = Neg(c)
        }""",
        **ARRAYS,
    )
    assert op_types(after) == ["Shape", "Neg", "Shape", "Neg"]
    assert [n.attributes.get_int("start") for n in after.graph if n.op_type == "Shape"] == [1, 0]


def test_opsets_without_start_and_end_keep_their_chains():
    assert_untouched(
        model(
            """<ir_version: 8, opset_import: ["" : 14]>
            g (float[N,S] x) => (int64[1] a) { s = Shape(x) n = Gather(s, one) u = Unsqueeze(n, first) a = Neg(u) }""",
            one=ARRAYS["one"],
            first=ARRAYS["first"],
        ),
        merge_sizes,
    )


def test_other_types_ranks_and_axes_are_left_alone():
    assert_untouched(
        model(
            """<ir_version: 8, opset_import: ["" : 14]>
            g (float[N,S] x, float[N] z) => (int64[1] a, int64 b, int32[1] c, int64[1] d) {
                s = Shape(z) a = Neg(s) n = Squeeze(s) b = Neg(n) i = Cast<to=6>(s) c = Neg(i)
                t = Shape(x) e = Gather(t, k) d = Neg(e)
            }""",
            k=np.array([1], I64),
        ),
        merge_sizes,
    )


def test_bodies_read_what_was_computed_outside_but_not_beside():
    before = model(
        """g (bool c, float[N,4] x) => (int64[1] y, int64[1] o) {
            s = Shape<end=1>(x) o = Neg(s)
            y = If(c) <
                then_branch = t () => (int64[1] a) { p = Shape<end=1>(x) q = Add(p, p) a = Neg(q) },
                else_branch = e () => (int64[1] b) { p2 = Shape<end=1>(x) q2 = Add(p2, p2) b = Abs(q2) }>
        }"""
    )
    after, outcome = apply(before, merge_sizes)
    assert outcome.changes == 3
    assert [[n.op_type for n in g] for g in after.graph.subgraphs()] == [
        ["Add", "Neg"],
        ["Add"],
    ]  # sizes are not negative
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": np.ones((3, 4), np.float32)})


def test_a_value_that_went_is_not_read():
    rewritten(
        """<ir_version: 8, opset_import: ["" : 14]>
        g (float[S] u) => (int64[1] y, int64 z) {
            v = Shape(u) k = Squeeze(v, first) m = Min(k, v) y = Neg(m) g = Gather(m, zero) z = Neg(g)
        }""",
        first=ARRAYS["first"],
        zero=ARRAYS["zero"],
    )
