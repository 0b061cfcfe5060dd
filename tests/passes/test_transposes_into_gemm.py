"""Transposed matrices are read as they are."""

import numpy as np
import pytest

from onnxzip.passes.transposes_into_gemm import transposes_into_gemm
from tests.helpers.graphs import assert_nodes, model
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

W = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("t = Transpose<perm=[1,0]>(b) y = Gemm(a, t)", "y = Gemm <transB: int = 1> (a, b)"),
        (
            "s = Transpose(a) t = Transpose(b) y = Gemm<transA=1>(s, t)",
            "y = Gemm <transB: int = 1> (a, b)",
        ),
        ("t = Transpose(b) y = MatMul(a, t)", "y = Gemm <transB: int = 1> (a, b)"),
        ("u = Sin(b) t = Transpose(u) y = Gemm(a, t)", "u = Sin (b)\ny = Gemm <transB: int = 1> (a, u)"),
    ],
)
def test_transposes_go(nodes, expected):
    before = model(f"g (float[N,4] a, float[M,4] b) => (float[N,M] y) {{ {nodes} }}")
    after, outcome = apply(before, transposes_into_gemm)
    assert outcome.changes > 0
    assert_nodes(after, expected)
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "nodes"),
    [
        ("float[3,N] a, float[3,4] b", "s = Transpose(a) y = MatMul(s, w)"),
        ("float[K,4,N] a, float[3,4] b", "t = Transpose<perm=[0,2,1]>(a) y = MatMul(t, v)"),
        ("float[N,4] a, float[M,4] b", "t = Transpose(b) p = MatMul(a, t) q = MatMul(a, t) y = Add(p, q)"),
        ("float[N,4] a, float[M,4] b", "t = Transpose<perm=[0,1]>(v) y = MatMul(a, t)"),
        ("int32[N,4] a, int32[M,4] b", "t = Transpose(b) p = MatMul(a, t) y = Cast<to=1>(p)"),
    ],
)
def test_others_are_left_alone(given, nodes):
    assert_untouched(model(f"g ({given}) => (float y) {{ {nodes} }}", w=W, v=W.T.copy()), transposes_into_gemm)
