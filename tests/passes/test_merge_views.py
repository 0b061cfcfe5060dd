"""Two nodes in a row that only move axes."""

import numpy as np
import pytest

from onnxzip.passes.merge_views import merge_views
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def ints(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("nodes", "result", "expected"),
    [
        ("a = Transpose<perm=[0,2,3,1]>(x) b = Transpose<perm=[0,3,1,2]>(a) y = Relu(b)", "N,1,3,4", ["Relu"]),
        ("a = Reshape(x, s) b = Unsqueeze(a, one) y = Relu(b)", "N,1,3,4", ["Relu"]),
        ("a = Transpose<perm=[0,3,1,2]>(x) y = Squeeze(a, two)", "A,B,C", ["Transpose", "Squeeze"]),
        ("a = Transpose<perm=[0,3,1,2]>(x) y = Reshape(a, flipped)", "A,B,C,D", ["Transpose"]),
        ("a = Squeeze(x, one) y = Unsqueeze(a, two)", "A,B,C,D", ["Reshape"]),
        ("a = Transpose<perm=[1,0,2,3]>(x) y = Squeeze(a, zero)", "A,B,C", ["Squeeze"]),
        ("a = Transpose<perm=[1,0,2,3]>(x) y = Relu(a)", "A,B,C,D", ["Transpose", "Relu"]),
        ("a = Squeeze(x, one) b = Unsqueeze(a, one) c = Relu(a) y = Add(b, c)", "A,B,C,D", ["Squeeze", "Relu", "Add"]),
        ("a = Squeeze(x, one) b = Unsqueeze(a, two) c = Relu(a) y = Add(b, c)", "A,B,C,D", 4 * ["?"]),
        ("a = Reshape(x, flat) y = Reshape(a, s)", "A,B,C", ["Reshape", "Reshape"]),
    ],
)
def test_they_become_one_or_none(nodes, result, expected):
    arrays = {
        "s": ints(-1, 3, 4),
        "one": ints(1),
        "two": ints(2),
        "zero": ints(0),
        "flipped": ints(-1, 4, 3, 1),
        "flat": ints(-1, 12),
    }
    used = {k: v for k, v in arrays.items() if f" {k})" in nodes}
    before = model(f"g (float[N,1,3,4] x) => (float[{result}] y) {{ {nodes} }}", **used)
    after, outcome = apply(before, merge_views)
    assert len(op_types(after)) == len(expected)
    if outcome.changes:
        assert op_types(after) == expected
        assert_equivalent(before, after, rtol=0)
    else:
        assert_untouched(before, merge_views)


@pytest.mark.parametrize(
    ("last", "changes"),
    [
        ("y = Reshape(a, flat)", True),
        ("y = Flatten(a)", True),
        ("y = Flatten<axis=2>(a)", False),
        ("y = Reshape(a, copied)", False),
    ],
)
def test_what_flattens_reads_past_a_view_that_keeps_the_order(last, changes):
    text = f"g (float[N,3,1,4] x) => (float[A,B] y, float[C,D,E,F] z) {{ a = Transpose<perm=[0,2,1,3]>(x) {last} z = Relu(a) }}"
    arrays = {"flat": ints(-1, 12), "copied": ints(0, 12)}
    before = model(text, **{k: v for k, v in arrays.items() if k in last})
    if changes:
        after, _ = apply(before, merge_views)
        assert any(n.op_type in ("Reshape", "Flatten") and n.inputs[0].name == "x" for n in after.graph)
        assert_equivalent(before, after, rtol=0)
    else:
        assert_untouched(before, merge_views)


def test_a_longer_name_is_not_read_twice():
    text = "g (float[N,3,1,4] a_long_name) => (float[A,B] y, float[C,D,E,F] z) { a = Transpose<perm=[0,2,1,3]>(a_long_name) y = Flatten(a) z = Relu(a) }"
    assert_untouched(model(text), merge_views)
