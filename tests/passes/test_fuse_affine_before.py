import numpy as np
import pytest

from onnxzip.passes.fuse_affine_before import fuse_affine_before
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(1)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_scales_go_into_the_weight_under_any_padding(op, groups):
    before = model(
        f"g (float[N,4,8,8] x) => (float[N,M,H,W] y) {{ a = Mul(x, s) b = Neg(a) y = {op}<pads=[1,1,1,1], group={groups}>(b, w) }}",
        s=normal(4, 1, 1),
        w=normal(4, 4 // groups, 3, 3),
    )
    after, outcome = apply(before, fuse_affine_before)
    assert outcome.changes == 2
    assert op_types(after) == [op]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_shifts_go_into_the_bias_without_padding(groups):
    before = model(
        f"""g (float[N,4,8,8] x) => (float[N,4,6,6] y) {{
            a = Sub(x, t) b = Div(a, s) n = BatchNormalization(b, g, g, t1, v) y = Conv<group={groups}>(n, w)
        }}""",
        t=normal(4, 1, 1),
        s=np.float32(3),
        g=normal(4),
        t1=normal(4),
        v=np.ones(4, np.float32),
        w=normal(4, 4 // groups, 3, 3),
    )
    after, _ = apply(before, fuse_affine_before)
    assert op_types(after) == ["Conv"]
    assert_equivalent(before, after, rtol=2e-6)


def test_gemm_takes_both():
    before = model(
        "g (float[N,4] x) => (float[N,5] y) { a = Mul(x, s) b = Add(a, t) y = Gemm<alpha=2.0, beta=0.5, transB=1>(b, w, c) }",
        s=normal(4),
        t=normal(4),
        w=normal(5, 4),
        c=normal(5),
    )
    after, _ = apply(before, fuse_affine_before)
    assert op_types(after) == ["Gemm"]
    assert_equivalent(before, after, rtol=2e-6)


def test_matmul_takes_a_scale():
    before = model(
        "g (float[N,7,4] x) => (float[N,7,5] y) { a = Mul(s, x) y = MatMul(a, w) }", s=normal(4), w=normal(4, 5)
    )
    after, _ = apply(before, fuse_affine_before)
    assert op_types(after) == ["MatMul"]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Mul(one, s) y = Conv(a, w)",  # the constant broadcasts one channel to four
        "a = Mul(x, last) y = Conv(a, w)",
        "a = Mul(x, s) b = Conv(a, w) y = Add(a, b)",
        "a = Mul(x, x) y = Conv(a, w)",
        "a = Add(x, s) y = MatMul(a, k)",
    ],
)
def test_leaves_alone(nodes):
    before = model(
        f"g (float[N,4,4,4] x, float[N,1,4,4] one) => (float[N,4,4,4] y) {{ {nodes} }}",
        s=normal(4, 1, 1),
        last=normal(4),
        w=normal(4, 4, 1, 1),
        k=normal(4, 4),
    )
    assert_untouched(before, fuse_affine_before)


@pytest.mark.parametrize("conv", ["Conv<pads=[1,1,1,1]>", "ConvTranspose", 'Conv<auto_pad="SAME_UPPER">'])
def test_refuses_a_shift_at_a_border(conv):
    before = model(
        f"g (float[N,4,8,8] x) => (float[N,M,H,W] y) {{ a = Add(x, t) y = {conv}(a, w) }}",
        t=normal(4, 1, 1),
        w=normal(4, 4, 3, 3),
    )
    outcome = assert_untouched(before, fuse_affine_before)
    assert "border" in outcome.notes[0]
    assert "Add 'a'" in outcome.notes[0]


def test_refuses_a_shared_weight():
    before = model(
        "g (float[N,4,8,8] x) => (float[N,4,8,8] y) { a = Mul(x, s) b = Conv(a, w) y = Conv(b, w) }",
        s=normal(4, 1, 1),
        w=normal(4, 4, 1, 1),
    )
    assert "shared" in assert_untouched(before, fuse_affine_before).notes[0]


def test_leaves_the_half_of_a_gelu_alone():
    """Runtimes run x / 2 (1 + erf(x / sqrt 2)) as one operator; without its half they do not see it."""
    before = model(
        """g (float[N,4] x) => (float[N,3] y) {
            r = Div(x, root) e = Erf(r) a = Add(e, one) p = Mul(x, a) h = Mul(p, half) y = MatMul(h, w)
        }""",
        root=np.float32(2**0.5),
        one=np.float32(1),
        half=np.float32(0.5),
        w=normal(4, 3),
    )
    assert_untouched(before, fuse_affine_before)
