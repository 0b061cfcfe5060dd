import doctest

import numpy as np
import pytest

from onnxzip.passes import noops
from onnxzip.passes.remove_noops import remove_noops
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

WEIGHTS = {
    "zeros": np.zeros((4,), np.float32),
    "one": np.float32(1),
    "ones": np.ones((1, 1, 4), np.float32),
    "wide": np.ones((5, 1, 1, 1), np.float32),
    "start": np.array([0, 0], np.int64),
    "end": np.array([2**31 - 1, 2**62], np.int64),
    "axes": np.array([0, 1], np.int64),
    "short": np.array([2, 2], np.int64),
    "back": np.array([-1, -1], np.int64),
    "far": np.array([-(2**31), -(2**31)], np.int64),
    "no_pads": np.zeros((6,), np.int64),
    "pads": np.array([0, 0, 1, 0, 0, 0], np.int64),
    "ratio": np.float32(0.5),
    "no": np.bool_(False),
    "yes": np.bool_(True),
    "keep": np.array([0, 0, 4], np.int64),
    "same": np.array([0, 3, -1], np.int64),
    "other": np.array([0, -1, 2], np.int64),
    "unit": np.array([1, 1, 1], np.int64),
    "six": np.float32(6),
    "zero": np.float32(0),
    "minus": np.float32(-1),
    "two": np.float32(2),
}


def graph(nodes, opset=18):
    return model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,3,4] x) => (float[A,B,C] y) {{ {nodes} y = Sin(e) }}',
        **WEIGHTS,
    )


def test_the_functions_explain_themselves():
    assert doctest.testmod(noops).failed == 0


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Cos(x) e = Identity(a)",
        "a = Cos(x) e = Dropout(a)",
        "a = Cos(x) e = Dropout(a, ratio, no)",
        "a = Cos(x) e = Cast<to=1>(a)",
        "a = Cos(x) e = CastLike(a, x)",
        "a = Cos(x) e = Transpose<perm=[0,1,2]>(a)",
        "a = Cos(x) e = Reshape(a, keep)",
        "a = Cos(x) e = Reshape(a, same)",
        "a = Cos(x) e = Expand(a, unit)",
        "a = Cos(x) e = Tile(a, unit)",
        "a = Cos(x) e = Pad(a, no_pads)",
        "a = Cos(x) e = Slice(a, start, end, axes)",
        "a = Cos(x) e = Concat<axis=1>(a)",
        "a = Cos(x) e = Sum(a)",
        "a = Cos(x) e = Max(a)",
        "a = Cos(x) e = Add(zeros, a)",
        "a = Cos(x) e = Sub(a, zeros)",
        "a = Cos(x) e = Mul(a, ones)",
        "a = Cos(x) e = Div(a, one)",
        "a = Cos(x) e = Pow(a, one)",
        "a = Relu(x) e = Relu(a)",
        "a = Clip(x, zero, six) e = Relu(a)",
        "a = Clip(x, zero, two) e = Clip(a, minus, six)",
        "a = Floor(x) e = Floor(a)",
    ],
)
def test_removes(nodes):
    before = graph(nodes)
    after, outcome = apply(before, remove_noops)
    assert outcome.changes == 1
    assert len(op_types(after)) == 2
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Cos(x) e = Dropout(a, ratio, yes)",
        "a = Cos(x) b = Cast<to=11>(a) e = Cast<to=1>(b)",
        "a = Cos(x) e = Transpose<perm=[0,2,1]>(a)",
        "a = Cos(x) e = Transpose(a)",
        "a = Cos(x) e = Reshape(a, other)",
        "a = Cos(x) s = Shape(a) e = Expand(one, s)",
        "a = Cos(x) e = Pad(a, pads)",
        "a = Cos(x) e = Slice(a, start, short, axes)",
        "a = Cos(x) e = Slice(a, back, far, axes, back)",
        "a = Cos(x) e = Concat<axis=1>(a, x)",
        "a = Cos(x) e = Sub(zeros, a)",
        "a = Cos(x) e = Div(one, a)",
        "a = Cos(x) e = Pow(one, a)",
        "a = Clip(x, minus, six) e = Relu(a)",
        "a = Clip(x, minus, six) e = Clip(a, zero, six)",
    ],
)
def test_leaves_alone(nodes):
    assert_untouched(graph(nodes), remove_noops)


def test_leaves_a_constant_that_broadcasts_alone():
    assert_untouched(
        model(
            "g (float[N,3,4] x) => (float[5,N,3,4] y) { a = Cos(x) e = Mul(a, wide) y = Sin(e) }", wide=WEIGHTS["wide"]
        ),
        remove_noops,
    )


def test_peer_failure_4_a_mask_that_is_read_keeps_its_dropout():
    before = model("g (float[N,4] x) => (float[N,4] y, bool[N,4] m) { a = Cos(x) b, m = Dropout(a) y = Sin(b) }")
    assert_untouched(before, remove_noops)
    unused = model("g (float[N,4] x) => (float[N,4] y) { a = Cos(x) b, m = Dropout(a) y = Sin(b) }")
    assert op_types(apply(unused, remove_noops)[0]) == ["Cos", "Sin"]


def test_peer_failure_11_an_expand_to_a_fed_shape_stays():
    before = model("g (float[N,1] x, int64[2] s) => (float[A,B] y) { a = Cos(x) e = Expand(a, s) y = Sin(e) }")
    assert_untouched(before, remove_noops)


def test_outputs_keep_their_names():
    before = model("g (float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Identity(a) y = Identity(b) }")
    after, outcome = apply(before, remove_noops)
    assert outcome.changes == 2
    assert_nodes(after, "y = Relu(x)")


def test_refuses_to_join_an_input_and_an_output():
    assert_untouched(model("g (float[N,4] x) => (float[N,4] y) { y = Identity(x) }"), remove_noops)
    assert_untouched(
        model("g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Relu(x) z = Identity(y) }"), remove_noops
    )


def test_a_declared_output_shape_is_not_believed():
    before = model(
        "g (float[1,1] x) => (float y) { s = Reshape(x, none) y = Reshape(s, one) }",
        none=np.zeros((0,), np.int64),
        one=np.array([-1], np.int64),
    )
    assert_untouched(before, remove_noops)  # y is of shape [1] in truth


def test_in_bodies_an_outer_value_keeps_its_name():
    before = model(
        """g (bool c, float[N,4] x) => (float[N,4] y) {
            y = If(c) <
                then_branch = t () => (float[N,4] a) { a = Identity(x) },
                else_branch = e () => (float[N,4] b) { p = Identity(x) b = Relu(p) }>
        }"""
    )
    after, outcome = apply(before, remove_noops)
    assert outcome.changes == 1
    assert [[n.op_type for n in g] for g in after.graph.subgraphs()] == [["Identity"], ["Relu"]]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize("opset", [9, 12])
def test_attributes_of_older_opsets(opset):
    nodes = "a = Cos(x) b = Dropout(a) c = Identity(b)"
    nodes += (
        " d = Slice<starts=[0], ends=[9223372036854775807]>(c) e = Pad<pads=[0,0,0,0,0,0]>(d)"
        if opset == 9
        else " e = Identity(c)"
    )
    before = graph(nodes, opset)
    after, _ = apply(before, remove_noops)
    assert op_types(after) == ["Cos", "Sin"]
    assert_equivalent(before, after, rtol=0)


def test_a_real_slice_of_opset_10_stays():
    before = model(
        '<ir_version: 5, opset_import: ["" : 10]> g (float[N,H] x) => (float[N,K] y) { s = Slice(x, a, b, c) y = Relu(s) }',
        a=np.array([0]),
        b=np.array([512]),
        c=np.array([1]),
    )
    assert_untouched(before, remove_noops)


def test_relu_stays_where_its_input_may_be_negative_after_all():
    clip = model("g (float[N] x) => (float[N] y) { c = Clip(x, a, b) y = Relu(c) }", a=np.float32(5), b=np.float32(-1))
    assert_untouched(clip, remove_noops)
    smallest = model("g (int8[N] x) => (int8[N] y) { a = Abs(x) y = Relu(a) }")  # |-128| is -128
    assert_untouched(smallest, remove_noops)
