"""MatMul and Add become Gemm, and what is affine behind it then goes too."""

import numpy as np
import pytest

from onnxzip.passes.matmul_to_gemm import matmul_to_gemm
from onnxzip.passes.runner import run
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def normal(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), (), (1, 1)])
@pytest.mark.parametrize("operands", ["t, c", "c, t"])
def test_case_1(shape, operands):
    before = model(
        f"g (float[N,4] x) => (float[N,5] y) {{ t = MatMul(x, w) y = Add({operands}) }}",
        w=normal(4, 5),
        c=normal(*shape),
    )
    after, _ = apply(before, matmul_to_gemm)
    assert_nodes(after, "y = Gemm(x, w, c)")
    assert_equivalent(before, after, rtol=1e-6)


def test_both_factors_may_be_computed():
    before = model(
        "g (float[3,4] x, float[4,5] z) => (float[3,5] y) { t = MatMul(x, z) y = Add(t, c) }", c=normal(3, 5)
    )
    after, _ = apply(before, matmul_to_gemm)
    assert_nodes(after, "y = Gemm(x, z, c)")
    assert_equivalent(before, after, rtol=1e-6)


def test_a_chain_goes_into_the_weight():
    before = model(
        "g (float[N,4] x) => (float[N,5] y) { t = MatMul(x, w) a = Add(t, b) m = Mul(a, s) n = Add(m, b) y = Relu(n) }",
        w=normal(4, 5),
        b=normal(5),
        s=normal(1, 5),
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Gemm", "Relu"]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,3,4] x) => (float[N,3,5] y) { t = MatMul(x, w) y = Add(t, c) }",
        "g (float[4] x) => (float[5] y) { t = MatMul(x, w) y = Add(t, c) }",
        "g (float[N,4] x, float[N,5] z) => (float[N,5] y) { t = MatMul(x, w) y = Add(t, z) }",
        "g (float[N,4] x) => (float[N,5] y, float[N,5] t) { t = MatMul(x, w) y = Add(t, c) }",
        "g (float[N,4] x) => (float[N,5] y) { t = MatMul(x, w) y = Add(t, t) }",
    ],
)
def test_left_alone(text):
    assert_untouched(model(text, w=normal(4, 5), c=normal(5)), matmul_to_gemm)


def test_a_constant_that_makes_the_product_larger_is_left_alone():
    for shape in ((3, 5), (2, 1, 5), (2, 1, 1)):
        text = "g (float[N,4] x) => (float[A,B,C] y) { t = MatMul(x, w) y = Add(t, c) }"
        assert_untouched(model(text, w=normal(4, 5), c=normal(*shape)), matmul_to_gemm)
    text = "g (float[N,4] x) => (float[N,5] y) { t = MatMul(x, w) y = Add(t, c) }"
    assert_untouched(model(text, w=normal(4, 1), c=normal(5)), matmul_to_gemm)


def test_integers_are_left_alone():
    text = "g (int32[N,4] x) => (int32[N,5] y) { t = MatMul(x, w) y = Add(t, c) }"
    assert_untouched(model(text, w=np.ones((4, 5), np.int32), c=np.ones(5, np.int32)), matmul_to_gemm)
