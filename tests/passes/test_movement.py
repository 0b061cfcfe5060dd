"""Affine maps on the other side of nodes that only move elements."""

import numpy as np
import pytest

from onnxzip.passes.fuse_affine_after import fuse_affine_after
from onnxzip.passes.fuse_affine_before import fuse_affine_before
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers):
    return np.array(numbers, np.int64)


CONSTANTS = {
    "w": normal(6, 3, 1, 1),
    "m": normal(3, 6),
    "s": normal(6),
    "t": normal(6, 1),
    "u": normal(1, 6, 1, 1),
    "k": normal(3),
    "shift_of_each": normal(3),
    "r": normal(3, 1, 1),
    "flat": ints(0, 6, -1),
    "split": ints(0, 2, 3, 4, 6),
    "rows": ints(-1, 6),
    "three": ints(3),
    "zero": ints(0),
    "two": ints(2),
    "far": ints(100),
}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a = Conv(x, w) b = Transpose<perm=[0,2,3,1]>(a) y = Mul(b, s)", ["Conv", "Transpose"]),
        ("a = Conv(x, w) b = Reshape(a, flat) y = Add(b, t)", ["Conv", "Reshape"]),
        (
            "a = Conv(x, w) p = Mul(a, u) b = Reshape(p, flat) c = Transpose<perm=[2,0,1]>(b) d = Mul(c, s) e = Unsqueeze(d, zero) y = Neg(e)",
            ["Conv", "Reshape", "Transpose", "Unsqueeze"],
        ),
        ("a = Conv(x, w) b = Slice(a, zero, two, three) y = Mul(b, u)", ["Conv", "Slice"]),
        ("v = Transpose<perm=[0,2,3,1]>(x) a = MatMul(v, m) b = Transpose<perm=[0,3,1,2]>(a) y = Mul(b, t)", None),
    ],
)
def test_maps_behind(nodes, expected):
    rank = "A,B,C" if "Reshape" in nodes and "Unsqueeze" not in nodes else "A,B,C,D"
    before = model(f"g (float[N,3,4,6] x) => (float[{rank}] y) {{ {nodes} }}", **CONSTANTS)
    if expected is None:  # the constant belongs to another axis
        assert_untouched(before, fuse_affine_after)
        return
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=2e-6)


def test_shifts_behind_a_matmul_that_is_transposed():
    before = model(
        "g (float[N,4,3] x) => (float[A,B,C] y) { a = MatMul(x, m) b = Mul(a, s) c = Transpose<perm=[0,2,1]>(b) y = Add(c, t) }",
        **CONSTANTS,
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["MatMul", "Add", "Transpose"]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize(
    ("given", "nodes", "expected"),
    [
        (
            "N,4,6,3",
            "a = Mul(x, k) b = Sub(a, shift_of_each) c = Transpose<perm=[0,3,1,2]>(b) y = Conv(c, w)",
            ["Transpose", "Conv"],
        ),
        ("N,3,4,6", "a = Mul(x, r) b = Transpose<perm=[0,2,3,1]>(a) y = MatMul(b, m)", ["Transpose", "MatMul"]),
        ("N,3,4,6", "a = Mul(x, r) b = Slice(a, zero, two, three) y = Conv<pads=[1,1,1,1]>(b, w)", ["Slice", "Conv"]),
    ],
)
def test_maps_before(given, nodes, expected):
    before = model(f"g (float[{given}] x) => (float[A,B,C,D] y) {{ {nodes} }}", **CONSTANTS)
    after, _ = apply(before, fuse_affine_before)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Conv(x, w) b = Reshape(a, split) y = Mul(b, two_numbers)",  # the axis is split
        "a = Conv(x, w) b = Reshape(a, rows) y = Mul(b, s)",  # 6 columns, but not the channels
        "a = Conv(x, w) b = Transpose<perm=[0,2,3,1]>(a) c = Mul(b, s) d = Sin(b) y = Add(c, d)",
        "a = Conv(x, w) b = Slice(a, zero, two, zero) c = Relu(b) y = Mul(c, u)",
    ],
)
def test_others_are_left_alone(nodes):
    before = model(f"g (float[N,3,4,6] x) => (float y) {{ {nodes} }}", two_numbers=normal(2, 1, 1, 1), **CONSTANTS)
    assert_untouched(before, fuse_affine_after)
