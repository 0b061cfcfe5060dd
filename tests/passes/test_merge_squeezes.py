"""Squeezes and Unsqueezes in a row."""

import numpy as np
import pytest

from onnxzip.passes.merge_squeezes import merge_squeezes
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def axes(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("kind", "shape", "result", "p", "q", "merged"),
    [
        ("Squeeze", "N,1,1,4", "N,4", axes(1), axes(1), [1, 2]),
        ("Squeeze", "1,N,1,4,1", "N,4", axes(-1, 0), axes(-2), [0, 2, 4]),
        ("Unsqueeze", "N,4", "N,1,1,4", axes(1), axes(1), [1, 2]),
        ("Unsqueeze", "N,4", "1,N,1,4,1", axes(-1), axes(0, -3), [0, 2, 4]),
        ("Unsqueeze", "N,4", "1,N,4,1", axes(2), axes(0), [0, 3]),
    ],
)
def test_of_one_kind_case_1(kind, shape, result, p, q, merged):
    before = model(f"g (float[{shape}] x) => (float[{result}] y) {{ a = {kind}(x, p) y = {kind}(a, q) }}", p=p, q=q)
    after, _ = apply(before, merge_squeezes)
    assert op_types(after) == [kind]
    (node,) = after.graph
    assert initializer(after, node.inputs[1].name).tolist() == merged
    assert_equivalent(before, after, rtol=0)


def test_of_one_kind_with_attributes():
    before = model(
        '<ir_version: 6, opset_import: ["" : 11]> g (float[N,1,1] x) => (float[N] y) { a = Squeeze<axes=[2]>(x) y = Squeeze<axes=[-1]>(a) }'
    )
    after, _ = apply(before, merge_squeezes)
    (node,) = after.graph
    assert node.attributes.get_ints("axes") == (1, 2)
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("shape", "nodes", "result", "target"),
    [
        ("1,N,4", "a = Squeeze(x, p) y = Unsqueeze(a, q)", "N,4,1", [-1, 4, 1]),
        ("N,1,4", "a = Unsqueeze(x, q) y = Squeeze(a, r)", "N,4,1", [-1, 4, 1]),
    ],
)
def test_of_both_kinds_case_2(shape, nodes, result, target):
    before = model(f"g (float[{shape}] x) => (float[{result}] y) {{ {nodes} }}", p=axes(0), q=axes(-1), r=axes(1))
    after, _ = apply(before, merge_squeezes)
    (node,) = after.graph
    assert node.op_type == "Reshape"
    assert initializer(after, node.inputs[1].name).tolist() == target
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("shape", "nodes"),
    [
        ("M,N,4", "a = Squeeze(x, p) y = Unsqueeze(a, q)"),  # M may not be 1: then it throws
        ("1,N,M", "a = Squeeze(x, p) y = Unsqueeze(a, q)"),  # two sizes are not known
        ("1,N,4", "a = Squeeze(x, p) b = Unsqueeze(a, q) y = Add(a, b)"),
        ("1,N,4", "a = Squeeze(x) y = Unsqueeze(a, q)"),
    ],
)
def test_others_are_left_alone(shape, nodes):
    assert_untouched(model(f"g (float[{shape}] x) => (float y) {{ {nodes} }}", p=axes(0), q=axes(-1)), merge_squeezes)


def test_what_costs_bytes_is_left_alone():
    """The axes are shared with another node: a new constant for the target would make the file larger."""
    before = model(
        "g (float[1,N,4,2,3,2] x) => (float y) { a = Squeeze(x, p) y = Unsqueeze(a, q) r = Unsqueeze(x, p) s = Unsqueeze(x, q) }",
        p=axes(0),
        q=axes(5),
    )
    assert_untouched(before, merge_squeezes)
