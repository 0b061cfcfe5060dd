import numpy as np
import pytest

from onnxzip.passes.merge_affines import merge_affines
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(2)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def norm(channels=4):
    return {
        "g": normal(channels),
        "b": normal(channels),
        "m": normal(channels),
        "v": RNG.random(channels).astype(np.float32) + 0.5,
    }


def test_peer_failure_12_mul_and_add_go_into_the_batch_normalization():
    before = model(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) { p = Mul(x, s) n = BatchNormalization(p, g, b, m, v) q = Mul(n, s) a = Add(q, t) y = Relu(a) }",
        s=normal(4, 1, 1),
        t=normal(4, 1, 1),
        **norm(),
    )
    after, outcome = apply(before, merge_affines)
    assert outcome.changes == 1
    assert op_types(after) == ["BatchNormalization", "Relu"]
    assert_equivalent(before, after, rtol=2e-6)


def test_numbers_and_vectors_become_one_mul_and_one_add():
    before = model(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) { a = Mul(x, k) b = Add(a, s) c = Div(b, k) d = Sub(c, t) y = Mul(u, d) }",
        k=np.float32(3),
        t=normal(4, 1, 1),
        u=normal(1, 4, 1, 1),
        s=normal(4, 1, 1),
    )
    after, _ = apply(before, merge_affines)
    assert op_types(after) == ["Mul", "Add"]
    assert_equivalent(before, after, rtol=2e-6)


def test_a_chain_whose_constants_others_read_is_left_where_the_file_would_grow():
    before = model(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] z) { a = Mul(x, s) b = Add(a, t) c = Mul(b, s) z = Sub(t, x) y = Relu(c) }",
        s=normal(4, 1, 1),
        t=normal(4, 1, 1),
    )
    assert_untouched(before, merge_affines)


def test_a_chain_that_does_nothing_goes():
    before = model("g (float[N,4] x) => (float[N,4] y) { a = Neg(x) b = Neg(a) y = Relu(b) }")
    after, _ = apply(before, merge_affines)
    assert op_types(after) == ["Relu"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Mul(x, s) y = Add(a, s)",
        "n = BatchNormalization(x, g, b, m, v) q = Mul(n, last) y = Add(q, last)",
        "a = Neg(x) c = Neg(a) d = Relu(a) y = Add(c, d)",
        "n = BatchNormalization(x, g, b, m, x2) y = Mul(n, s)",
    ],
)
def test_leaves_alone(nodes):
    before = model(
        f"g (float[N,4,4,4] x, float[4] x2) => (float[N,4,4,4] y) {{ {nodes} }}",
        s=normal(4, 1, 1),
        last=normal(4),
        **norm(),
    )
    assert_untouched(before, merge_affines)


def test_refuses_what_the_type_cannot_hold():
    before = model("g (float[N,4] x) => (float[N,4] y) { a = Mul(x, k) y = Mul(a, k) }", k=np.float32(1e30))
    assert "do not fit" in assert_untouched(before, merge_affines).notes[0]
