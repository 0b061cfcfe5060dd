"""MatMul and Add of matrices become Gemm."""

import numpy as np
import pytest

from onnxzip.passes.fuse_affine_after import fuse_affine_after
from onnxzip.passes.matmul_to_gemm import matmul_to_gemm
from onnxzip.passes.runner import run
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("addend", ["m, b", "b, m"])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), (), (1, 1)])
def test_a_constant_is_added(addend, shape):
    before = model(
        f"g (float[N,4] x) => (float[N,5] y) {{ m = MatMul(x, w) y = Add({addend}) }}", w=normal(4, 5), b=normal(*shape)
    )
    after, _ = apply(before, matmul_to_gemm)
    assert_nodes(after, "y = Gemm (x, w, b)")
    assert_equivalent(before, after, rtol=1e-6)


def test_the_left_matrix_is_constant():
    before = model(
        "g (float[4,N] x) => (float[3,N] y) { m = MatMul(w, x) y = Add(m, b) }", w=normal(3, 4), b=normal(3, 1)
    )
    after, _ = apply(before, matmul_to_gemm)
    assert_nodes(after, "y = Gemm (w, x, b)")
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize("shape", ["N,5", "1,5", "N,1", "5"])
def test_all_is_computed(shape):
    before = model(
        f"g (float[N,4] x, float[4,5] w, float[{shape}] b) => (float[N,5] y) {{ m = MatMul(x, w) s = Add(b, m) y = Sin(s) }}"
    )
    after, _ = apply(before, matmul_to_gemm)
    assert op_types(after) == ["Gemm", "Sin"]
    assert_equivalent(before, after, rtol=1e-6)


def test_a_gemm_that_adds_nothing():
    before = model(
        "g (float[4,N] x, float[5,4] w, float[N,5] b) => (float[N,5] y) { m = Gemm<alpha=0.5, beta=3.0, transA=1, transB=1>(x, w) y = Add(b, m) }"
    )
    after, _ = apply(before, matmul_to_gemm)
    assert_nodes(after, "y = Gemm <alpha: float = 0.5, transA: int = 1, transB: int = 1> (x, w, b)")
    assert_equivalent(before, after, rtol=1e-6)


def test_what_follows_folds_into_it():
    before = model(
        """g (float[N,4] x) => (float[N,5] y) {
            m = MatMul(x, w) a = Add(m, t) n = BatchNormalization(a, s, t, t, v) p = Mul(n, s) q = Add(p, t) r = Relu(q) y = Mul(r, r)
        }""",
        w=normal(4, 5),
        s=normal(5),
        t=normal(5),
        v=np.abs(normal(5)),
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Gemm", "Relu", "Mul"]
    assert_equivalent(before, after, rtol=2e-6)


def test_a_batch_normalization_of_rows_folds_into_gemm():
    before = model(
        "g (float[N,4] x) => (float[N,5] y) { a = Gemm(x, w) y = BatchNormalization(a, s, s, s, v) }",
        w=normal(4, 5),
        s=normal(5),
        v=np.abs(normal(5)),
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["Gemm"]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        ("float[N,3,4] x", "m = MatMul(x, w) y = Add(m, b)"),
        ("float[4] x", "m = MatMul(x, w) y = Add(m, b)"),
        ("float[N,4] x", "m = MatMul(x, w) y = Add(m, cube)"),
        ("float[1,4] x", "m = MatMul(x, w) y = Add(m, tall)"),
        ("float[N,4] x", "m = MatMul(x, w) y = Add(m, tall)"),
        ("float[N,4] x", "m = MatMul(x, w) y = Add(m, m)"),
        ("float[N,4] x", "m = MatMul(x, w) a = Add(m, b) y = Mul(a, m)"),
        ("float[N,4] x, float[N,5] z", "m = MatMul(x, w) y = Add(m, z)"),
        ("float[N,4] x, float[M,5] z", "w2 = Sin(w) m = MatMul(x, w2) y = Add(m, z)"),
        ("uint8[N,4] q", "x = DequantizeLinear(q, one) m = MatMul(x, w) y = Add(m, b)"),
    ],
)
def test_others_are_left_alone(given, nodes):
    before = model(
        f"g ({given}) => (float y) {{ {nodes} }}",
        w=normal(4, 5),
        b=normal(5),
        cube=normal(1, 1, 5),
        tall=normal(3, 1),
        one=np.float32(1),
    )
    assert_untouched(before, matmul_to_gemm)


def test_integers_are_left_alone():
    before = model(
        "g (int32[N,4] x) => (int32[N,5] y) { m = MatMul(x, w) y = Add(m, b) }",
        w=np.ones((4, 5), np.int32),
        b=np.ones(5, np.int32),
    )
    assert_untouched(before, matmul_to_gemm)
