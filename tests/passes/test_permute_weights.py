"""Transposes that go into the order of a weight's rows."""

import numpy as np
import pytest

from onnxzip.passes.permute_weights import permute_weights
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def graph(nodes, opset=18, rows=60, **arrays):
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,3,4,5] x) => (float[A,B] y) {{ {nodes} }}'
    given = {
        "w": RNG.standard_normal((rows, 7)).astype(np.float32),
        "v": RNG.standard_normal((7, 60)).astype(np.float32),
    }
    given |= {"s": np.array([-1, rows], np.int64), "keep": np.array([0, -1], np.int64)} | arrays
    return model(
        text, **{k: v for k, v in given.items() if f" {k})" in nodes or f"({k}," in nodes or f" {k}," in nodes}
    )


@pytest.mark.parametrize(
    "nodes",
    [
        "t = Transpose<perm=[0,2,3,1]>(x) f = Reshape(t, s) y = MatMul(f, w)",
        "t = Transpose<perm=[0,3,1,2]>(x) f = Flatten(t) y = Gemm(f, w)",
        "t = Transpose<perm=[0,2,1,3]>(x) f = Reshape(t, keep) y = Gemm<transB=1, alpha=0.5>(f, v)",
        "t = Transpose<perm=[0,3,2,1]>(x) f = Flatten<axis=1>(t) y = Gemm<transB=1>(f, v)",
    ],
)
@pytest.mark.parametrize("opset", [9, 18])
def test_the_rows_are_moved(nodes, opset):
    before = graph(
        nodes.replace("Gemm(f, w)", "Gemm(f, w, b)")
        .replace("1>(f, v)", "1>(f, v, b)")
        .replace("0.5>(f, v)", "0.5>(f, v, b)"),
        opset,
        b=np.ones(7, np.float32),
    )
    after, outcome = apply(before, permute_weights)
    assert outcome.changes == 1
    assert "Transpose" not in op_types(after)
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "t = Transpose<perm=[1,0,2,3]>(x) f = Reshape(t, s) y = MatMul(f, w)",
        "t = Transpose<perm=[0,2,3,1]>(x) f = Reshape(t, s) g = Relu(f) h = MatMul(g, w) k = ReduceSum(t) y = Add(h, k)",
        "t = Transpose<perm=[0,2,3,1]>(x) f = Reshape(t, s) g = MatMul(f, w) h = ReduceMax(w) y = Add(g, h)",
        "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten<axis=2>(t) y = MatMul(f, r)",
        "t = Transpose<perm=[0,2,3,1]>(x) f = Flatten(t) g = Transpose(f) y = MatMul(v, g)",
    ],
)
def test_other_transposes_are_left_alone(nodes):
    assert_untouched(graph(nodes, r=np.ones((15, 2), np.float32)), permute_weights)
