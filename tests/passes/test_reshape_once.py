"""Reshapes in front of a Concat become one behind it."""

import numpy as np
import pytest

from onnxzip.passes.reshape_once import reshape_once
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

SPLIT = {"s": np.array([0, 3, 2, 5], np.int64)}


def test_case_1():
    before = model(
        """g (float[N,6,1,5] x, float[N,6,1,5] z) => (float[N,6,2,5] y) {
            p = Relu(x) q = Relu(z) a = Reshape(p, s) b = Reshape(q, s) c = Concat<axis=1>(a, b) y = Neg(c) }""",
        **SPLIT,
    )
    after, _ = apply(before, reshape_once)
    assert op_types(after) == ["Relu", "Relu", "Concat", "Reshape", "Neg"]
    assert initializer(after, "joined_shape").tolist() == [0, 6, 2, 5]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "text",
    [
        # the axis in front is another one
        "g (float[4,6,1,5] x, float[4,6,1,5] z) => (float[A,B,C] y) { a = Reshape(x, t) b = Reshape(z, t) y = Concat<axis=1>(a, b) }",
        # the axes behind are not alike
        "g (float[N,6,1,5] x, float[N,5,6,1] z) => (float[N,6,2,5] y) { a = Reshape(x, s) b = Reshape(z, s) y = Concat<axis=1>(a, b) }",
        # one of them is not reshaped
        "g (float[N,6,1,5] x, float[N,3,2,5] z) => (float[N,6,2,5] y) { a = Reshape(x, s) y = Concat<axis=1>(a, z) }",
    ],
)
def test_left_alone(text):
    assert_untouched(model(text, t=np.array([2, 12, 5], np.int64), **SPLIT), reshape_once)
