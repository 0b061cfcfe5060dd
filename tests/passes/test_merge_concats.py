"""Concats in a row become one; Reshapes in front of a Concat become one behind it."""

import numpy as np
import pytest

from onnxzip.passes.merge_concats import merge_concats
from tests.helpers.graphs import assert_nodes, initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def test_case_1():
    before = model("""g (float[N,2] x, float[N,3] z) => (float[N,A] y) {
        a = Concat<axis=1>(x, z) b = Concat<axis=-1>(z, a, x) y = Concat<axis=1>(b, x) }""")
    after, _ = apply(before, merge_concats)
    assert_nodes(after, "y = Concat<axis: int = 1>(z, x, z, x, x)")
    assert_equivalent(before, after, rtol=0)


SPLIT = {"s": np.array([0, 3, 2, 5], np.int64)}


def test_case_2():
    before = model(
        """g (float[N,6,1,5] x, float[N,6,1,5] z) => (float[N,6,2,5] y) {
            p = Relu(x) q = Relu(z) a = Reshape(p, s) b = Reshape(q, s) c = Concat<axis=1>(a, b) y = Neg(c) }""",
        **SPLIT,
    )
    after, _ = apply(before, merge_concats)
    assert op_types(after) == ["Relu", "Relu", "Concat", "Reshape", "Neg"]
    assert initializer(after, "joined_shape").tolist() == [0, 6, 2, 5]
    assert_equivalent(before, after, rtol=0)


def test_case_2_with_sizes_of_their_own():
    before = model(
        """g (float[N,4,5] x, float[N,6,5] z) => (float[N,A,5] y) {
            a = Unsqueeze(x, i) b = Unsqueeze(z, i) c = Concat<axis=1>(a, b) y = Squeeze(c, i) }""",
        i=np.array([2], np.int64),
    )
    after, _ = apply(before, merge_concats)
    assert op_types(after) == ["Concat", "Reshape", "Squeeze"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "text",
    [
        # another axis
        "g (float[N,2] x) => (float[A,B] y) { a = Concat<axis=0>(x, x) y = Concat<axis=1>(a, a) }",
        # others read the inner one
        "g (float[N,2] x) => (float[N,4] a, float[N,6] y) { a = Concat<axis=1>(x, x) y = Concat<axis=1>(a, x) }",
        # the axis in front is another one
        "g (float[4,6,1,5] x, float[4,6,1,5] z) => (float[A,B,C] y) { a = Reshape(x, t) b = Reshape(z, t) y = Concat<axis=1>(a, b) }",
        # the axes behind are not alike
        "g (float[N,6,1,5] x, float[N,5,6,1] z) => (float[N,6,2,5] y) { a = Reshape(x, s) b = Reshape(z, s) y = Concat<axis=1>(a, b) }",
        # one of them is not reshaped
        "g (float[N,6,1,5] x, float[N,3,2,5] z) => (float[N,6,2,5] y) { a = Reshape(x, s) y = Concat<axis=1>(a, z) }",
    ],
)
def test_left_alone(text):
    assert_untouched(model(text, t=np.array([2, 12, 5], np.int64), **SPLIT), merge_concats)
