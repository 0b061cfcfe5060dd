"""Bounds in a row become one."""

import numpy as np
import pytest

from onnxzip.passes.merge_clips import merge_clips
from tests.helpers.graphs import assert_nodes, model
from tests.helpers.numerics import assert_equivalent, run
from tests.passes.helpers import apply, assert_untouched

X = {"x": np.array([[-np.inf, -7, -1, -0.0, 0.5, 1, 3, 9, np.inf]], np.float32).repeat(2, axis=0)}
NUMBERS = {
    "zero": np.float32(0),
    "one": np.float32(1),
    "six": np.float32(6),
    "minus": np.float32(-2),
    "zeros": np.zeros((1, 9), np.float32),
    "down": np.float32(-np.inf),
    "up": np.float32(np.inf),
    "many": np.arange(9, dtype=np.float32),
}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("r = Relu(x) y = Clip(r, zero, six)", "y = Clip (x, zero, six)"),
        ("r = Relu(x) y = Clip(r, minus, six)", "y = Clip (x, y_bound, six)"),
        ("what_is_rectified = Relu(x) y = Clip(what_is_rectified, , six)", "y = Clip (x, y_bound, six)"),
        ("r = Clip(x, minus, six) y = Clip(r, zero)", "y = Clip (x, zero, six)"),
        ("r = Clip(x, minus, one) y = Clip(r, zero, six)", "y = Clip (x, zero, one)"),
        ("r = Clip(x, one, six) y = Clip(r, minus, zero)", "y = Clip (x, zero, zero)"),
        ("r = Max(zero, x) y = Min(r, six)", "y = Clip (x, zero, six)"),
        ("r = Min(x, six) y = Max(r, zeros)", "y = Clip (x, y_bound, six)"),
        ("r = Max(x, minus) y = Relu(r)", "y = Relu (x)"),
        ("y = Max(x, zeros)", "y = Relu (x)"),
        ("r = Relu(x) y = Clip(r, minus)", "y = Clip (x, y_bound)"),
        ("r = Max(minus, x) y = Max(r, one)", "y = Max (x, one)"),
        ("r = Min(six, x) y = Min(r, one)", "y = Min (x, one)"),
        ("r = Clip(x, down, up) y = Sin(r)", "y = Sin (x)"),
        (
            "r = Max(x, zero) what_is_rectified = Relu(r) t = Min(what_is_rectified, six) y = Sin(t)",
            "t = Clip (x, t_bound, six)\ny = Sin (t)",
        ),
    ],
)
def test_bounds_merge(nodes, expected):
    before = model(f"g (float[N,9] x) => (float[N,9] y) {{ {nodes} }}", **NUMBERS)
    after, _ = apply(before, merge_clips)
    assert_nodes(after, expected)
    assert_equivalent(before, after, rtol=0)
    if "Sin" not in nodes:
        np.testing.assert_array_equal(run(after, X)["y"], run(before, X)["y"])


def test_bounds_as_attributes():
    before = model(
        '<ir_version: 5, opset_import: ["" : 10]> g (float[N,9] x) => (float[N,9] y) { r = Relu(x) y = Clip<min=-1.0, max=6.0>(r) }'
    )
    after, _ = apply(before, merge_clips)
    assert_nodes(after, "y = Clip <min: float = 0, max: float = 6> (x)")
    assert_equivalent(before, after, rtol=0, batch=X)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = Clip(x, zero)",
        "r = Clip(x) y = Sin(r)",
        "y = Max(x, one)",
        "y = Max(x, many)",
        "r = Relu(x) y = Max(r, many)",
        "r = Max(x, zero, one) y = Relu(r)",
        "r = Clip(x, six, one) y = Relu(r)",
        "r = Relu(x) c = Clip(r, one, six) y = Add(r, c)",
        "r = Clip(x, z, six) y = Relu(r)",
        "y = Max(z, zeros)",
    ],
)
def test_others_are_left_alone(nodes):
    assert_untouched(model(f"g (float[N,9] x, float z) => (float[N,9] y) {{ {nodes} }}", **NUMBERS), merge_clips)


def test_integers_are_left_alone():
    assert_untouched(
        model("g (int32[N] x) => (int32[N] y) { r = Max(x, zero) y = Min(r, six) }", zero=np.int32(0), six=np.int32(6)),
        merge_clips,
    )


@pytest.mark.parametrize(("opset", "expected"), [(9, ["Max", "Min"]), (11, ["Max", "Min"]), (12, ["Clip"])])
def test_bounds_in_float64_need_a_kernel(opset, expected):
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (double[N] x) => (double[N] y) {{ a = Max(x, low) y = Min(a, high) }}'
    before = model(text, low=np.float64(-0.1), high=np.float64(0.1))
    after, _ = apply(before, merge_clips)
    assert [node.op_type for node in after.graph] == expected
    assert_equivalent(before, after, rtol=0)
