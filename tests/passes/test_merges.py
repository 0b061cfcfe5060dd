"""Transposes, Casts and reshapes in a row; equal nodes; equal constants."""

import numpy as np
import pytest

from onnxzip.passes.merge_casts import merge_casts
from onnxzip.passes.merge_common import merge_common
from onnxzip.passes.merge_initializers import merge_initializers
from onnxzip.passes.merge_reshapes import merge_reshapes
from onnxzip.passes.merge_transposes import merge_transposes
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def check(text, merge, expected, batch=None, **arrays):
    before = model(text, **arrays)
    after, outcome = apply(before, merge)
    assert outcome.changes > 0
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=0, batch=batch)


def test_transposes_compose():
    check(
        "g (float[N,3,4] x) => (float[A,B,C] y) { a = Transpose<perm=[1,2,0]>(x) y = Transpose<perm=[0,2,1]>(a) }",
        merge_transposes,
        ["Transpose"],
    )
    check(
        "g (float[N,3,4] x) => (float[A,B,C] y) { a = Transpose(x) b = Transpose(a) y = Relu(b) }",
        merge_transposes,
        ["Relu"],
    )
    check(
        "g (float[N,3,4] x) => (float[A,B,C] y, float[A,B,C] z) { a = Transpose<perm=[0,2,1]>(x) b = Transpose<perm=[0,2,1]>(a) y = Relu(b) z = Relu(a) }",
        merge_transposes,
        ["Transpose", "Relu", "Relu"],
    )


def test_transposes_that_others_read_are_left_alone():
    assert_untouched(
        model(
            "g (float[N,3,4] x) => (float[A,B,C] y, float[A,B,C] z) { a = Transpose<perm=[1,2,0]>(x) y = Transpose<perm=[0,2,1]>(a) z = Relu(a) }"
        ),
        merge_transposes,
    )


@pytest.mark.parametrize(
    ("given", "between", "wanted", "expected"),
    [(1, 11, 1, ["Abs"]), (10, 1, 11, ["Cast"]), (6, 7, 3, ["Cast"]), (9, 6, 1, ["Cast"]), (6, 11, 6, ["Abs"])],
)
def test_casts_merge(given, between, wanted, expected):
    kinds = {1: "float", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "double"}
    last = "y = Abs(b)" if expected == ["Abs"] else "y = Identity(b)"
    text = f"g ({kinds[given]}[N,4] x) => ({kinds[wanted]}[N,4] y) {{ a = Cast<to={between}>(x) b = Cast<to={wanted}>(a) {last} }}"
    check(text, merge_casts, expected if expected == ["Abs"] else ["Cast", "Identity"])


@pytest.mark.parametrize(
    ("given", "between", "wanted"), [(1, 10, 1), (7, 11, 7), (1, 6, 1), (6, 11, 3), (7, 6, 7), (6, 1, 6)]
)
def test_casts_that_lose_something_are_left_alone(given, between, wanted):
    kinds = {1: "float", 3: "int8", 6: "int32", 7: "int64", 10: "float16", 11: "double"}
    text = f"g ({kinds[given]}[N,4] x) => ({kinds[wanted]}[N,4] y) {{ a = Cast<to={between}>(x) b = Cast<to={wanted}>(a) y = Identity(b) }}"
    assert_untouched(model(text), merge_casts)


def test_reshapes_merge():
    axes = np.array([1], np.int64)
    check(
        "g (float[N,3,4] x) => (float[A,B] y) { a = Reshape(x, s) y = Reshape(a, t) }",
        merge_reshapes,
        ["Reshape"],
        s=np.array([-1], np.int64),
        t=np.array([-1, 6], np.int64),
    )
    check(
        "g (float[N,3,4] x) => (float[A,B] y) { a = Reshape(x, s) y = Reshape(a, t) }",
        merge_reshapes,
        ["Reshape"],
        s=np.array([0, 4, 3], np.int64),
        t=np.array([0, -1], np.int64),
    )
    check(
        "g (float[N,M] x) => (float[N,M] y) { a = Unsqueeze(x, axes) b = Squeeze(a, axes) y = Relu(b) }",
        merge_reshapes,
        ["Relu"],
        axes=axes,
    )
    check(
        "g (float[N,4] x) => (float[N,4] y) { a = Reshape(x, s) b = Reshape(a, t) y = Relu(b) }",
        merge_reshapes,
        ["Relu"],
        s=np.array([0, 2, 2], np.int64),
        t=np.array([0, 4], np.int64),
    )


def test_reshapes_that_copy_another_axis_are_left_alone():
    assert_untouched(
        model(
            "g (float[N,3,4] x) => (float[A,B] y) { a = Reshape(x, s) y = Reshape(a, t) }",
            s=np.array([12, -1], np.int64),
            t=np.array([0, -1], np.int64),
        ),
        merge_reshapes,
    )
    assert_untouched(
        model("g (float[N,3,4] x, int64[1] t) => (float[A] y) { a = Flatten(x) y = Reshape(a, t) }"), merge_reshapes
    )
    assert_untouched(
        model(
            "g (float[N,1,M] x) => (float[A,B,C] y) { a = Squeeze(x, p) y = Unsqueeze(a, q) }",
            p=np.array([1], np.int64),
            q=np.array([0], np.int64),
        ),
        merge_reshapes,
    )


def test_equal_nodes_are_computed_once():
    check(
        "g (float[N,4] x) => (float[N,4] y) { a = Sin(x) b = Sin(x) c = Add(a, x) d = Add(x, b) y = Mul(c, d) }",
        merge_common,
        ["Sin", "Add", "Mul"],
    )
    check(
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Sin(x) y = Sin(x) z = Cos(a) }",
        merge_common,
        ["Sin", "Cos"],
    )


def test_a_body_reads_what_ran_before_it():
    before = model(
        """g (bool c, float[N,4] x) => (float[N,4] y) {
            s = Sin(x)
            z = If(c) <
                then_branch = t () => (float[N,4] a) { p = Sin(x) a = Mul(p, x) },
                else_branch = e () => (float[N,4] b) { b = Sin(x) }>
            y = Add(s, z)
        }"""
    )
    after, outcome = apply(before, merge_common)
    assert outcome.changes == 1
    assert [[n.op_type for n in g] for g in after.graph.subgraphs()] == [["Mul"], ["Sin"]]  # b is an output of its body
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": np.ones((2, 4), np.float32)})


@pytest.mark.parametrize(
    "nodes",
    [
        "a = RandomNormalLike(x) b = RandomNormalLike(x) y = Sub(a, b)",
        "a = Bernoulli(x) b = Bernoulli(x) y = Sub(a, b)",
        "a, m = Dropout(x, half, yes) b, k = Dropout(x, half, yes) y = Sub(a, b)",
        "a = RandomNormal<shape=[4]>() b = RandomNormal<shape=[4]>() y = Sub(a, b)",
        "a = Sub(x, half) b = Sub(half, x) y = Sub(a, b)",
        "a = LeakyRelu<alpha=0.1>(x) b = LeakyRelu<alpha=0.2>(x) y = Sub(a, b)",
    ],
)
def test_peer_failure_3_unequal_and_random_nodes_are_left_alone(nodes):
    assert_untouched(
        model(f"g (float[4] x) => (float[4] y) {{ {nodes} }}", half=np.float32(0.5), yes=np.bool_(True)), merge_common
    )


def test_refuses_two_outputs_and_other_domains():
    assert_untouched(model("g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Sin(x) z = Sin(x) }"), merge_common)
    assert_untouched(
        model(
            '<ir_version: 8, opset_import: ["" : 18, "my.ops" : 1]> g (float[N] x) => (float[N] y) { a = my.ops.Draw(x) b = my.ops.Draw(x) y = Sub(a, b) }'
        ),
        merge_common,
    )


def test_equal_constants_are_stored_once():
    ones = np.ones((4,), np.float32)
    before = model(
        """g (bool c, float[4] x) => (float[4] y) {
            d = Add(x, a) e = Mul(d, b)
            y = If(c) <then_branch = t () => (float[4] p) <float[4] k = {1.0, 1.0, 1.0, 1.0}> { p = Sub(e, k) }, else_branch = f () => (float[4] q) { q = Relu(e) }>
        }""",
        a=ones,
        b=ones.copy(),
    )
    after, outcome = apply(before, merge_initializers)
    assert outcome.changes == 2
    assert list(after.graph.initializers) == ["a"]
    assert not any(g.initializers for g in after.graph.subgraphs())
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": ones})


def test_nan_equals_itself_by_its_bytes():
    nan = np.array([np.nan, 1], np.float32)
    before = model("g (float[2] x) => (float[2] y) { d = Add(x, a) y = Add(d, b) }", a=nan, b=nan.copy())
    assert apply(before, merge_initializers)[1].changes == 1


def test_unequal_constants_are_left_alone():
    before = model(
        "g (float[1] x) => (float[1] y) { d = Add(x, a) e = Add(d, b) f = Cast<to=1>(i) j = Add(e, f) h = Add(j, s) y = Div(h, x) }",
        a=np.array([0.0], np.float32),
        b=np.array([-0.0], np.float32),
        i=np.array([0], np.int32),
        s=np.float32(0),
    )
    assert_untouched(before, merge_initializers)


def test_defaults_and_outputs_keep_their_constant():
    one = np.ones((2,), np.float32)
    assert_untouched(
        model("g (float[2] x, float[2] a) => (float[2] y) { d = Add(x, a) y = Add(d, b) }", a=one, b=one.copy()),
        merge_initializers,
    )


def test_strings_are_merged():
    before = model(
        '<ir_version: 8, opset_import: ["" : 19]> g (string[N] x) => (bool[N] y) { d = Equal(x, a) e = Equal(x, b) y = And(d, e) }',
        a=np.array(["cat"], object),
        b=np.array(["cat"], object),
    )
    after, outcome = apply(before, merge_initializers)
    assert outcome.changes == 1
    assert_equivalent(before, after, rtol=0, batch={"x": np.array(["cat", "dog"], object)})
