"""Transposes and axes of size 1 that move through a region of nodes."""

import numpy as np
import pytest

from onnxzip.passes.move_views import move_views
from onnxzip.passes.views import inverse, is_identity, then
from tests.helpers.graphs import assert_nodes, model, nodes, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

HEAD = '<ir_version: 8, opset_import: ["" : {}]>'


def moved(text, rtol=0, **arrays):
    before = model(text, **arrays)
    after, outcome = apply(before, move_views)
    assert outcome.changes > 0
    assert_equivalent(before, after, rtol=rtol)
    return after


def ints(*numbers):
    return np.array(numbers, np.int64)


def test_a_pair_of_transposes_vanishes_around_elementwise_nodes():
    after = moved(
        "g (float[N,3,4,5] x) => (float[N,3,4,5] y) { a = Transpose<perm=[0,2,3,1]>(x) b = Add(a, c) d = Clip(b) y = Transpose<perm=[0,3,1,2]>(d) }",
        c=np.arange(3, dtype=np.float32),
    )
    assert_nodes(after, "b_1 = Add (x, c_1)\ny = Clip (b_1)")
    assert after.graph.initializers["c_1"].const_value.numpy().shape == (3, 1, 1)


def test_a_value_of_fewer_axes_is_viewed_as_if_it_had_all():
    after = moved(
        "g (float[N,3,4] x, float[4] s) => (float[N,3,4] y, float[N,3,4] z) { t = Transpose<perm=[0,2,1]>(x) w = Transpose<perm=[0,2,1]>(t) a = Mul(t, k) y = Transpose<perm=[0,2,1]>(a) z = Add(w, s) }",
        k=np.arange(12, dtype=np.float32).reshape(4, 3),
    )
    assert "Mul" in op_types(after)
    assert op_types(after).count("Transpose") < 3


@pytest.mark.parametrize(
    ("opset", "between"),
    [
        (18, "b = Concat<axis=-1>(a, a)"),
        (18, "b = Softmax<axis=2>(a)"),
        (13, "b = Softmax(a)"),
        (18, "b = ReduceMax<keepdims=1>(a, one)"),
        (17, "b = ReduceMax<axes=[-1]>(a)"),
        (18, "b = Slice(a, zero, one, two)"),
        (18, "b = Slice(a, zero, one)"),
        (9, "b = Slice<axes=[2], starts=[0], ends=[2]>(a)"),
        (9, "b = Slice<starts=[0], ends=[2]>(a)"),
        (18, "b = Pad(a, pads)"),
        (10, "b = Pad<pads=[0,1,0,0,0,2]>(a)"),
        (18, "b, c = Split<axis=1, num_outputs=2>(a) d = Relu(c)"),
        (18, "b = Where(m, a, half)"),
        (18, "b = PRelu(a, slope)"),
    ],
)
def test_axes_are_renamed(opset, between):
    text = f"g (float[N,3,4] x) => (float[A,B,C] y) {{ a = Transpose<perm=[0,2,1]>(x) {between} y = Transpose<perm=[0,2,1]>(b) }}"
    arrays = {
        "one": ints(1),
        "zero": ints(0),
        "two": ints(2),
        "pads": ints(0, 1, 0, 0, 0, 2),
        "m": np.array([True, False, True]),
        "half": np.float32(0.5),
        "slope": np.array([0.5, 0.25, 1], np.float32),
    }
    used = {
        k: v
        for k, v in arrays.items()
        if k in between.replace("=", " ").replace(",", " ").replace(")", " ").replace("(", " ").split()
    }
    after = moved(f"{HEAD.format(opset)} {text}", **used)
    assert "Transpose" not in op_types(after)


def test_a_reduction_takes_its_axis_out_of_the_view():
    after = moved(
        "g (float[N,3,4] x) => (float[N,4] y) { a = Transpose<perm=[0,2,1]>(x) b = ReduceSum<keepdims=0>(a, axis) y = Relu(b) }",
        rtol=1e-6,
        axis=ints(2),
    )
    assert op_types(after) == ["ReduceSum", "Relu"]
    after = moved(
        "g (float[N,3,4] x) => (float[A,B] y) { a = Transpose<perm=[2,0,1]>(x) b = ArgMax<axis=2, keepdims=0>(a) c = Cast<to=1>(b) y = Transpose<perm=[1,0]>(c) }"
    )
    assert op_types(after) == ["ArgMax", "Cast"]


def test_axes_of_size_one_move_past_concat():
    after = moved(
        """g (float[N,6,1,5] x, float[N,6,1,5] z) => (float[A,B,C,D] y) {
            a = Transpose<perm=[0,2,3,1]>(x) b = Reshape(a, three) c = Unsqueeze(b, last)
            d = Transpose<perm=[0,2,3,1]>(z) e = Reshape(d, three) f = Unsqueeze(e, last)
            h = Concat<axis=3>(c, f) y = Transpose<perm=[0,2,1,3]>(h)
        }""",
        three=ints(-1, 5, 6),
        last=ints(3),
    )
    assert op_types(after) in (["Reshape", "Reshape", "Concat"], ["Concat", "Transpose"])


def test_pads_are_done_where_the_axes_are():
    after = moved(
        'g (float[N,8] x) => (float[A,B,C,D] y) { a = Unsqueeze(x, one) b = Pad<mode="reflect">(a, pads) c = Unsqueeze(b, one) y = Relu(c) }',
        one=ints(1),
        pads=ints(0, 0, 2, 0, 0, 1),
    )
    assert op_types(after) == ["Pad", "Unsqueeze", "Relu"] or op_types(after) == ["Unsqueeze", "Pad", "Relu"]


def test_outputs_keep_their_names_and_layouts():
    after = moved(
        "g (float[N,3,4] x) => (float[A,B,C] y, float[N,3,4] z) { a = Transpose<perm=[0,2,1]>(x) y = Relu(a) b = Sqrt(y) z = Transpose<perm=[0,2,1]>(b) }"
    )
    assert_nodes(after, "y_1 = Relu (x)\nz = Sqrt (y_1)\ny = Transpose<perm: ints=[0,2,1]>(y_1)")


def test_only_the_nodes_that_pay_take_part():
    after = moved(
        """g (float[N,3,4] x, float[N,4,3] u) => (float[A,B,C] y, float[A,B,C] z) {
            a = Transpose<perm=[0,2,1]>(x) b = Relu(a) z = Transpose<perm=[0,2,1]>(b) c = Add(b, u) d = Exp(c) y = MatMul(d, w)
        }""",
        w=np.eye(3, dtype=np.float32),
    )
    assert sorted(op_types(after)) == ["Add", "Exp", "MatMul", "Relu", "Transpose"]


def test_a_constant_behind_dequantizelinear_stays_quantized():
    after = moved(
        "g (float[N,3,4] x) => (float[N,3,4] y) { q = DequantizeLinear<axis=1>(k, s) a = Transpose<perm=[0,2,1]>(x) b = Mul(a, q) y = Transpose<perm=[0,2,1]>(b) }",
        k=np.arange(12, dtype=np.int8).reshape(4, 3),
        s=np.array([0.5, 0.25, 1], np.float32),
    )
    assert sorted(op_types(after)) == ["DequantizeLinear", "Mul"]


@pytest.mark.parametrize(
    "text",
    [
        # one Transpose would become two
        "g (float[N,3,4] x, float[N,4,3] u) => (float[A,B,C] y) { a = Transpose<perm=[0,2,1]>(x) b = Add(a, u) y = Relu(b) }",
        # a mean over the last axis is what LayerNormalization is known by
        "g (float[N,3,4] x) => (float[A,B,C] y) { a = Transpose<perm=[0,2,1]>(x) m = ReduceMean(a, last) d = Sub(a, m) y = Transpose<perm=[0,2,1]>(d) }",
        # before opset 13 Softmax flattens what is behind its axis
        f"{HEAD.format(12)} g (float[N,3,4] x) => (float[A,B,C] y) {{ a = Transpose<perm=[0,2,1]>(x) b = Softmax<axis=2>(a) y = Transpose<perm=[0,2,1]>(b) }}",
        # an axis that may be larger than 1
        "g (float[N,3,M] x, int64[1] p) => (float[A,B,C] y) { a = Squeeze(x, p) b = Relu(a) y = Unsqueeze(b, p) }",
        # a Reshape that is no view
        "g (float[N,3,4] x) => (float[A,B,C] y) { a = Reshape(x, flat) b = Relu(a) y = Reshape(b, back) }",
        # the two would meet, but the value is read as a shape as well
        "g (float[3,4] x) => (float[A] y, int64[2] s) { a = Transpose<perm=[1,0]>(x) s = Shape(a) y = Reshape(a, flat1) }",
    ],
)
def test_leaves_alone_what_does_not_pay_or_is_not_known(text):
    arrays = {"last": ints(-1), "flat": ints(-1, 12), "back": ints(-1, 3, 4), "flat1": ints(-1)}
    assert_untouched(
        model(text, **{k: v for k, v in arrays.items() if k in text.replace(")", " ").split()}), move_views
    )


def test_no_view_comes_between_quantization_and_its_operator():
    text = """g (float[N,3,4] x) => (float[A,B,C] y, float[A,B,C] z) {
        a = Transpose<perm=[0,2,1]>(x) q = QuantizeLinear(a, s, o) d = DequantizeLinear(q, s, o)
        y = Transpose<perm=[0,2,1]>(d) z = MatMul(d, w)
    }"""
    before = model(text, s=np.float32(0.1), o=np.uint8(128), w=np.eye(3, dtype=np.float32))
    assert_untouched(before, move_views)


def test_a_shared_constant_is_not_stored_twice_for_a_node():
    text = """g (float[N,30,40] x, float[N,40,30] u) => (float[A,B,C] y, float[A,B,C] z) {
        a = Transpose<perm=[0,2,1]>(x) b = Mul(a, k) y = Transpose<perm=[0,2,1]>(b) z = Div(u, k)
    }"""
    assert_untouched(model(text, k=np.ones((40, 30), np.float32)), move_views)


def test_bodies_read_what_they_read_before():
    before = model(
        """g (bool c, float[2,3] x) => (float[A,B] y, float[2,3] z) {
            a = Transpose<perm=[1,0]>(x) b = Relu(a) z = Transpose<perm=[1,0]>(b)
            y = If(c) <then_branch = t () => (float[A,B] p) { p = Sin(b) }, else_branch = e () => (float[A,B] q) { q = Cos(b) }>
        }"""
    )
    after, _ = apply(before, move_views)
    for c in (True, False):
        batch = {"c": np.array(c), "x": np.arange(6, dtype=np.float32).reshape(2, 3)}
        assert_equivalent(before, after, rtol=0, batch=batch)
    assert len(nodes(after)) < len(nodes(before))


@pytest.mark.parametrize("view", [(0, 2, 1), (2, 0, 1), (None, 0, 1, 2), (0, 2), (2, None, 0)])
def test_views_and_their_inverses(view):
    shape = (2, 1 if 1 not in view else 3, 4)
    back = then(view, inverse(view, 3))
    assert is_identity(back, shape)


def test_a_view_that_is_there_is_used():
    after = moved(
        """g (float[N,8] x) => (float[A,B,C,D] y, float[E,F,G] z) {
            s = Unsqueeze(x, one) z = Relu(s)
            a = Pad<mode="reflect">(x, pads) b = Unsqueeze(a, one) c = Relu(b) y = Unsqueeze(c, one)
        }""",
        one=ints(1),
        pads=ints(0, 2, 0, 1),
    )
    assert op_types(after).count("Unsqueeze") == 2


def test_a_constant_of_one_element_loses_its_only_axis():
    """A constant that kept its axis would give one to the single number that is added to it."""
    after = moved(
        "g (float[N] x) => (float y) { m = ReduceMax<keepdims=0>(x) a = Unsqueeze(m, zero) b = Add(a, c) y = Squeeze(b, zero) }",
        zero=ints(0),
        c=np.ones(1, np.float32),
    )
    assert op_types(after) == ["ReduceMax", "Add"]
