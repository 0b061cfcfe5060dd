"""Slices that become a Split, squares, their roots, and results that do not depend on what is computed."""

import numpy as np
import pytest

from onnxzip.passes.absorb import absorb
from onnxzip.passes.cancel_sqrt import cancel_sqrt
from onnxzip.passes.split_slices import split_slices
from onnxzip.passes.square import square
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def ints(*numbers):
    return np.array(numbers, np.int64)


NUMBERS = {
    "z": ints(0),
    "one": ints(1),
    "two": ints(2),
    "six": ints(6),
    "far": ints(2**62),
    "m4": ints(-4),
    "m1": ints(-1),
}


@pytest.mark.parametrize("opset", [10, 11, 13, 18])
@pytest.mark.parametrize(
    ("nodes", "equal"),
    [
        ("a = Slice(x, z, two, one) b = Slice(x, two, far, one)", False),
        ("b = Slice(x, m4, six, m1) a = Slice(x, z, m4, m1, one)", False),
        ("a = Gather<axis=1>(x, three) b = Slice(x, m3, six, one)", True),
        ("a = Gather<axis=-1>(x, three) b = Gather<axis=1>(x, rest)", True),
    ],
)
def test_all_parts_become_a_split(opset, nodes, equal):
    before = model(
        f'<ir_version: 6, opset_import: ["" : {opset}]> '
        f"g (float[N,6] x) => (float[N,A] y, float[N,B] w) {{ {nodes} y = Neg(a) w = Abs(b) }}",
        **NUMBERS,
        three=ints(0, 1, 2),
        rest=ints(3, 4, 5),
        m3=ints(-3),
    )
    after, _ = apply(before, split_slices)
    assert op_types(after) == ["Split", "Neg", "Abs"]
    (split, *_rest) = after.graph
    assert ("num_outputs" in split.attributes) == (equal and opset >= 18)
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Slice(x, z, two, one) b = Slice(x, two, m1, one)",  # something is left out
        "a = Slice(x, z, two, one) b = Slice(x, one, six, one)",  # they overlap
        "a = Slice(x, z, two, one) b = Slice(x, two, six, one, two)",  # every second
        "a = Slice(x, z, two, z) b = Slice(x, two, far, z)",  # of a size that is not known
        "a = Slice(x, z, two, one) b = Slice(x, two, six, z)",  # along different axes
    ],
)
def test_other_parts_are_left_alone(nodes):
    assert_untouched(
        model(f"g (float[N,6] x) => (float y, float w) {{ {nodes} y = Neg(a) w = Abs(b) }}", **NUMBERS), split_slices
    )


def test_squares_are_products():
    before = model("g (float[N,4] x) => (float[N,4] y) { a = Sin(x) y = Pow(a, two) }", two=np.float32(2))
    after, _ = apply(before, square)
    assert_nodes(after, "a = Sin(x)\ny = Mul(a, a)")
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("text", "two"),
    [
        ("g (float[N,4] x) => (float[N,4] y) { y = Pow(x, two) }", np.float32(3)),
        ("g (int32[N,4] x) => (int32[N,4] y) { y = Pow(x, two) }", np.int32(2)),
        ("g (float[4] x) => (float[1,4] y) { y = Pow(x, two) }", np.full((1, 1), 2, np.float32)),  # another shape
        ("g (float[N,4] x) => (float[A,B] y) { a = Pow(x, two) y = ReduceMean(a) }", np.float32(2)),
    ],
)
def test_other_powers_are_left_alone(text, two):
    assert_untouched(model(text, two=two), square)


@pytest.mark.parametrize(
    ("kind", "node", "dtype", "constant"),
    [
        ("int64[2]", "a = Mul(x, k)", 7, np.int64(0)),
        ("int64[2]", "a = Mul(k, x)", 7, ints(0, 0)),
        ("bool[2]", "a = And(x, k)", 9, np.bool_(False)),
        ("bool[2]", "a = Or(x, k)", 9, np.bool_(True)),
    ],
)
def test_results_that_are_always_the_same(kind, node, dtype, constant):
    before = model(f"g ({kind} x) => (float[2] y) {{ {node} y = Cast<to=1>(a) }}", k=constant)
    after, _ = apply(before, absorb)
    assert op_types(after) == ["Cast"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("kind", "node", "constant"),
    [
        ("float[2]", "a = Mul(x, k)", np.float32(0)),  # 0 * Inf is NaN
        ("int64[2]", "a = Mul(x, k)", ints(0, 1)),
        ("int64[N]", "a = Mul(x, k)", np.int64(0)),  # of a shape that is not known
        ("bool[2]", "a = And(x, k)", np.bool_(True)),
    ],
)
def test_results_that_depend_on_something_are_left_alone(kind, node, constant):
    assert_untouched(model(f"g ({kind} x) => (float[N] y) {{ {node} y = Cast<to=1>(a) }}", k=constant), absorb)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a = Mul(x, x) r = Sqrt(a) y = Mul(r, r)", ["Mul"]),
        ("a = Exp(x) r = Sqrt(a) y = Pow(r, two)", ["Exp"]),
        ("a = Abs(x) b = Relu(x) c = Add(a, b) r = Sqrt(c) y = Mul(r, r)", ["Abs", "Relu", "Add"]),
        ("a = Abs(x) r = Sqrt(a) t = Transpose(r) y = Mul(t, t)", ["Abs", "Transpose"]),
        (
            "a = Abs(x) r = Sqrt(a) t = Transpose(r) s = Mul(t, t) n = Shape(t) y = Reshape(s, n)",
            ["Abs", "Transpose", "Shape", "Reshape"],
        ),
        ("a = Abs(x) r = Sqrt(a) s = Mul(r, r) y = Add(r, s)", ["Abs", "Sqrt", "Add"]),
        ("a = Max(x, half) r = Sqrt(a) y = Mul(r, r)", ["Max"]),
    ],
)
def test_roots_and_squares_cancel(nodes, expected):
    before = model(f"g (float[3,3] x) => (float[3,3] y) {{ {nodes} }}", two=np.float32(2), half=np.float32(0.5))
    after, _ = apply(before, cancel_sqrt)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "r = Sqrt(x) y = Mul(r, r)",  # NaN where x is negative
        "a = Min(x, half) r = Sqrt(a) y = Mul(r, r)",
        "a = Sub(x, half) b = Abs(a) r = Sqrt(b) y = Mul(r, b)",
        "a = Abs(x) r = Sqrt(a) t = Transpose(r) s = Mul(t, t) y = Add(s, t)",
        "a = Abs(x) b = Mul(a, minus) r = Sqrt(b) y = Mul(r, r)",
    ],
)
def test_other_roots_are_left_alone(nodes):
    held = {"half": np.float32(0.5), "minus": np.float32(-1)}
    assert_untouched(model(f"g (float[3,3] x) => (float[3,3] y) {{ {nodes} }}", **held), cancel_sqrt)
