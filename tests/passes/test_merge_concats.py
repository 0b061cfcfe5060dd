"""Concats of Concats, and Splits that are put together again."""

import pytest

from onnxzip.passes.merge_concats import merge_concats
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def merged(text):
    before = model(text)
    after, outcome = apply(before, merge_concats)
    assert outcome.changes > 0
    assert_equivalent(before, after, rtol=0)
    return after


def test_a_concat_of_concats_is_one():
    after = merged(
        "g (float[N,2] x, float[N,3] z) => (float[N,A] y) { a = Concat<axis=1>(x, z) b = Concat<axis=-1>(z, a) y = Concat<axis=1>(b, x) }"
    )
    assert_nodes(after, "y = Concat <axis: int=1> (z, x, z, x)")


def test_a_split_put_together_again_is_what_was_split():
    after = merged(
        "g (float[N,6] x) => (float[N,6] y) { t = Sin(x) a, b = Split<axis=1, num_outputs=2>(t) c = Concat<axis=1>(a, b) y = Relu(c) }"
    )
    assert op_types(after) == ["Sin", "Relu"]
    after = merged(
        "g (float[N,6] x) => (float[N,A] y) { a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=1>(x, a, b) }"
    )
    assert_nodes(after, "y = Concat <axis: int=1> (x, x)")


def test_a_split_that_others_read_too_stays():
    after = merged(
        "g (float[N,6] x) => (float[N,6] y, float[N,3] z) { t = Sin(x) a, b = Split<axis=1, num_outputs=2>(t) c = Concat<axis=1>(a, b) y = Relu(c) z = Relu(a) }"
    )
    assert op_types(after) == ["Sin", "Split", "Relu", "Relu"]


def test_between_an_input_and_an_output_a_concat_of_one_is_left():
    after = merged(
        "g (float[N,6] x) => (float[N,6] y) { a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=1>(a, b) }"
    )
    assert_nodes(after, "y = Concat <axis: int=1> (x)")


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Concat<axis=0>(x, x) y = Concat<axis=1>(a, a)",
        "a = Concat<axis=1>(x, x) y = Concat<axis=1>(a, a)",
        "a = Concat<axis=1>(x, x) z = Relu(a) y = Concat<axis=1>(a, z)",
        "a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=1>(b, a)",
        "a, b = Split<axis=1, num_outputs=2>(x) c = Relu(b) y = Concat<axis=1>(x, a, c)",
        "a, b = Split<axis=1, num_outputs=2>(x) y = Concat<axis=0>(a, b)",
    ],
)
def test_leaves_it_alone(nodes):
    assert_untouched(model(f"g (float[N,6] x) => (float[A,B] y) {{ {nodes} }}"), merge_concats)
