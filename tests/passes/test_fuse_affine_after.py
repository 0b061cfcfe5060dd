import numpy as np
import pytest

from onnxzip.passes.fuse_affine_after import fuse_affine_after
from onnxzip.passes.runner import run
from tests.helpers.graphs import assert_nodes, initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def norm(channels):
    """Parameters of a BatchNormalization."""
    return {
        "g": normal(channels),
        "b": normal(channels),
        "m": normal(channels),
        "v": RNG.random(channels).astype(np.float32) + 0.5,
    }


def test_batch_normalization_goes_into_conv():
    before = model(
        "g (float[N,3,8,8] x) => (float[N,6,8,8] y) { a = Conv<pads=[1,1,1,1]>(x, w) y = BatchNormalization(a, g, b, m, v) }",
        w=normal(6, 3, 3, 3),
        **norm(6),
    )
    after, outcome = apply(before, fuse_affine_after)
    assert outcome.changes == 1
    assert_nodes(after, "y = Conv <pads: ints = [1, 1, 1, 1]> (x, w, a_bias)")
    assert sorted(after.graph.initializers) == ["a_bias", "w"]
    assert_equivalent(before, after, rtol=1e-6)


def test_peer_failure_12_a_whole_chain_goes():
    before = model(
        """g (float[N,3,8,8] x) => (float[N,6,8,8] y) {
            a = Conv(x, w, c) n = BatchNormalization(a, g, b, m, v) p = Mul(n, s) q = Add(t, p) r = Sub(k, q) u = Div(r, d) y = Neg(u)
        }""".replace("6,8,8] y", "6,6,6] y"),
        w=normal(6, 3, 3, 3),
        c=normal(6),
        s=normal(6, 1, 1),
        t=normal(1, 6, 1, 1),
        k=np.float32(0.5),
        d=np.full((1,), 3, np.float32),
        **norm(6),
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["Conv"]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_groups(op, groups):
    shape = (6, 6 // groups, 3, 3) if op == "Conv" else (6, 12 // groups, 3, 3)
    channels = 6 if op == "Conv" else 12
    before = model(
        f"g (float[N,6,8,8] x) => (float[N,M,H,W] y) {{ a = {op}<group={groups}>(x, w) p = Mul(a, s) y = Add(p, t) }}",
        w=normal(*shape),
        s=normal(channels, 1, 1),
        t=normal(channels, 1, 1),
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == [op]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize("trans", [0, 1])
def test_gemm(trans):
    before = model(
        f"""g (float[N,4] x) => (float[N,5] y) {{
            a = Gemm<alpha=0.5, beta=2.0, transB={trans}>(x, w, c) p = Mul(a, s) y = Add(p, t)
        }}""",
        w=normal(5, 4) if trans else normal(4, 5),
        c=normal(1, 5),
        s=normal(5),
        t=normal(1, 5),
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["Gemm"]
    assert_equivalent(before, after, rtol=2e-6)


def test_gemm_without_a_bias():
    before = model("g (float[N,4] x) => (float[N,5] y) { a = Gemm(x, w) y = Add(a, t) }", w=normal(4, 5), t=normal(5))
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["Gemm"]
    assert_equivalent(before, after, rtol=2e-6)


def test_shifts_after_matmul_become_one():
    before = model(
        "g (float[N,7,4] x) => (float[N,7,5] y) { a = MatMul(x, w) p = Add(a, t) q = Mul(p, s) y = Add(q, u) }",
        w=normal(4, 5),
        t=normal(5),
        s=normal(5),
        u=normal(1, 1, 5),
    )
    after, outcome = apply(before, fuse_affine_after)
    assert outcome.changes == 1
    assert op_types(after) == ["MatMul", "Add"]
    assert_equivalent(before, after, rtol=2e-6)


@pytest.mark.parametrize(("kind", "dtype", "rtol"), [("float16", np.float16, 4e-3), ("double", np.float64, 1e-14)])
def test_other_floats(kind, dtype, rtol):
    before = model(
        f"g ({kind}[N,4] x) => ({kind}[N,6] y) {{ a = MatMul(x, w) y = Mul(a, s) }}",
        w=normal(4, 6, dtype=dtype),
        s=normal(6, dtype=dtype),
    )
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["MatMul"]
    assert_equivalent(before, after, rtol=rtol)


def test_inside_a_body():
    before = model(
        """g (bool c, float[N,3,4,4] x) => (float[N,2,4,4] y) {
            y = If(c) <
                then_branch = t () => (float[N,2,4,4] a) { p = Conv(x, w) a = Mul(p, s) },
                else_branch = e () => (float[N,2,4,4] b) { q = Conv(x, u) b = Relu(q) }>
        }""",
        w=normal(2, 3, 1, 1),
        u=normal(2, 3, 1, 1),
        s=normal(2, 1, 1),
    )
    after, outcome = apply(before, fuse_affine_after)
    assert outcome.changes == 1
    for c in (True, False):
        assert_equivalent(before, after, rtol=2e-6, batch={"c": np.array(c), "x": normal(1, 3, 4, 4)})


def test_opset_7_with_several_constants_of_a_shape():
    before = model(
        """<ir_version: 4, opset_import: ["" : 7]>
        g (float[N,3,8,8] x) => (float[N,6,8,8] y) { a = Conv<kernel_shape=[1,1]>(x, w) y = BatchNormalization(a, g, b, m, v) }""",
        w=normal(6, 3, 1, 1),
        **norm(6),
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Conv"]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ("a = Conv(x, w) y = Mul(a, last)", "failures.md 5: [W] with W == channels is not per channel"),
        ("a = Conv(x, w) b = Mul(a, s) c = Relu(a) y = Add(b, c)", "a is read twice"),
        ("a = Conv(x, w) y = Mul(a, x)", "not constant"),
        ("a = Conv(x, w) y = Mul(a, full)", "one number per pixel"),
        ("a = Conv(x, w) y = Mul(a, a)", "not linear"),
        ("a = Conv(x, w) y = Div(s, a)", "not linear"),
        ("d = DequantizeLinear(q, one) a = Conv(x, d) y = Mul(a, s)", "quantized weight"),
        ("k = Relu(x) y = Mul(k, s)", "no linear operator"),
    ],
)
def test_leaves_alone(nodes, why):
    before = model(
        f"g (float[N,6,6,6] x) => (float[N,6,6,6] y) {{ {nodes} }}",
        w=normal(6, 6, 1, 1),
        s=normal(6, 1, 1),
        last=normal(6),
        full=normal(6, 6, 6),
        q=np.ones((6, 6, 1, 1), np.int8),
        one=np.float32(1),
    )
    assert_untouched(before, fuse_affine_after)


def test_leaves_an_overridable_weight_and_an_output_in_between_alone():
    assert_untouched(
        model(
            "g (float[N,6,6,6] x, float[6,6,1,1] w) => (float[N,6,6,6] y) { a = Conv(x, w) y = Mul(a, s) }",
            w=normal(6, 6, 1, 1),
            s=normal(6, 1, 1),
        ),
        fuse_affine_after,
    )
    assert_untouched(
        model(
            "g (float[N,6,6,6] x) => (float[N,6,6,6] a, float[N,6,6,6] y) { a = Conv(x, w) y = Mul(a, s) }",
            w=normal(6, 6, 1, 1),
            s=normal(6, 1, 1),
        ),
        fuse_affine_after,
    )


def test_leaves_matmul_with_one_add_alone():
    assert_untouched(
        model("g (float[N,4] x) => (float[N,5] y) { a = MatMul(x, w) y = Add(a, t) }", w=normal(4, 5), t=normal(5)),
        fuse_affine_after,
    )


def test_leaves_training_alone():
    before = model(
        "g (float[N,3,8,8] x) => (float[N,6,8,8] y, float[6] p, float[6] q) { a = Conv(x, w) y, p, q = BatchNormalization<training_mode=1>(a, g, b, m, v) }",
        w=normal(6, 3, 1, 1),
        **norm(6),
    )
    assert_untouched(before, fuse_affine_after)


def test_refuses_a_shared_weight_and_says_so():
    before = model(
        "g (float[N,6,6,6] x) => (float[N,6,6,6] y, float[N,6,6,6] z) { a = Conv(x, w) y = Mul(a, s) z = Conv(y, w) }",
        w=normal(6, 6, 1, 1),
        s=normal(6, 1, 1),
    )
    outcome = assert_untouched(before, fuse_affine_after)
    assert "shared" in outcome.notes[0]
    assert "'y'" in outcome.notes[0]


def test_refuses_what_the_type_cannot_hold():
    before = model(
        "g (float16[N,3,8,8] x) => (float16[N,6,8,8] y) { a = Conv(x, w) y = Mul(a, s) }",
        w=np.full((6, 3, 1, 1), 300, np.float16),
        s=np.full((6, 1, 1), 300, np.float16),
    )
    outcome = assert_untouched(before, fuse_affine_after)
    assert "float16" in outcome.notes[0]
    zero = model(
        "g (float[N,3,8,8] x) => (float[N,6,8,8] y) { a = Conv(x, w) y = BatchNormalization<epsilon=0.0>(a, g, g, g, v) }",
        w=normal(6, 3, 1, 1),
        g=np.ones(6, np.float32),
        v=np.zeros(6, np.float32),
    )
    assert "do not fit" in assert_untouched(zero, fuse_affine_after).notes[0]


def test_the_weight_is_changed_in_its_place():
    w = normal(6, 3, 1, 1)
    before = model(
        "g (float[N,3,8,8] x) => (float[N,6,8,8] y) { a = Conv(x, w) y = Mul(a, two) }", w=w, two=np.float32(2)
    )
    after, _ = apply(before, fuse_affine_after)
    np.testing.assert_array_equal(initializer(after, "w"), 2 * w)
    np.testing.assert_array_equal(initializer(before, "w"), w)


def test_a_batch_normalization_that_trains_is_left_alone():
    """Before opset 14 named outputs, read or not, make it train."""
    before = model(
        """<ir_version: 4, opset_import: ["" : 9]> g (float[N,2,4,4] x) => (float[N,2,4,4] y) {
            c = Conv(x, w) y, m, v, sm, sv = BatchNormalization(c, s, b, mean, var) }""",
        w=np.ones((2, 2, 1, 1), np.float32),
        s=np.ones(2, np.float32),
        b=np.zeros(2, np.float32),
        mean=np.zeros(2, np.float32),
        var=np.ones(2, np.float32),
    )
    assert_untouched(before, fuse_affine_after)


SHARED = """g (float[N,3,8,8] x) => (float[N,6,6,6] y, float[N,6,3,3] z) {{
    a = Conv(x, w, c) y = Neg(a) b = Conv<strides=[2,2]>(x, w, c) z = {}
}}"""


def test_a_shared_weight_is_scaled_once_where_all_its_readers_are_scaled_alike():
    before = model(SHARED.format("Neg(b)"), w=normal(6, 3, 3, 3), c=np.zeros(6, np.float32))
    after, _ = apply(before, fuse_affine_after)
    assert op_types(after) == ["Conv", "Conv"]
    assert len(after.graph.initializers) == 2
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize("other", ["Relu(b)", "Mul(b, b)", "Neg(b) u = Sin(w)", "Mul(b, two)"])
def test_a_shared_weight_with_other_readers_stays(other):
    before = model(SHARED.format(other), w=normal(6, 3, 3, 3), c=np.zeros(6, np.float32), two=np.float32(2))
    outcome = assert_untouched(before, fuse_affine_after)
    assert "a weight is shared" in outcome.notes[0]
