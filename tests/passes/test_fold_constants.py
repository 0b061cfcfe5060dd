import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.save import model_bytes
from onnxzip.passes.fold_constants import fold_constants
from onnxzip.passes.runner import run
from tests.helpers.graphs import assert_nodes, initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

EXPAND = "g (float[N,4] x) => (float[N,4] y) {"


def test_only_the_frontier_becomes_an_initializer():
    before = model(
        "g (float[N,2] x) => (float[N,2] y) { a = Add(p, q) b = Transpose<perm=[1,0]>(a) c = Relu(b) y = MatMul(x, c) }",
        p=np.arange(4, dtype=np.float32).reshape(2, 2) - 1,
        q=np.ones((2, 2), np.float32),
    )
    after, outcome = apply(before, fold_constants)
    assert outcome.changes == 3
    assert_nodes(after, "y = MatMul(x, c)")
    assert list(after.graph.initializers) == ["c"]
    assert_equivalent(before, after, rtol=0)


def test_large_constants_are_fed():
    w = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    before = model("g (float[N,64] x) => (float[N,64] y) { t = Transpose<perm=[1,0]>(w) y = MatMul(x, t) }", w=w)
    after, _ = apply(before, fold_constants)
    np.testing.assert_array_equal(initializer(after, "t"), w.T)


def test_peer_failure_1_generated_weights_stay_generated():
    before = model(
        "g (float[1,64,8,16,16] x) => (float[1,64,8,16,16] y) { t = Tile(one, repeats) y = Add(x, t) }",
        one=np.ones((1, 1, 1, 1), np.float32),
        repeats=np.array([64, 8, 16, 16], np.int64),
    )
    assert_untouched(before, fold_constants)
    assert model_bytes(run(before, strict=True)[0]) <= model_bytes(before)


def test_peer_failure_2_an_overridable_default_is_honoured():
    before = model(
        "g (float[2] x, float[2] k) => (float[2] y) { a = Neg(k) b = Neg(c) d = Mul(a, b) y = Add(x, d) }",
        k=np.array([1, 2], np.float32),
        c=np.array([5, 6], np.float32),
    )
    after, _ = run(before, strict=True)
    assert [v.name for v in after.graph.inputs] == ["x", "k"]
    for fed in ({}, {"k": np.array([7, 8], np.float32)}):
        assert_equivalent(before, after, rtol=1e-6, batch={"x": np.ones(2, np.float32), **fed})


def test_peer_failure_6_the_opset_of_the_model_is_respected():
    before = model(
        """<ir_version: 6, opset_import: ["" : 12]>
        g (float[1,4] x) => (float[2,1] y, float[2,1] z) {
            s = Shape(x) k = Split<axis=0>(w) u = Unsqueeze<axes=[0]>(v) a, b = Split<axis=1>(x)
            f = Add(k, u) r = Reshape(x, s) m = Add(r, f) y, z = Split<axis=1, split=[1,1]>(q)
            q = Reshape(m, half)
        }""".replace(
            "y, z = Split<axis=1, split=[1,1]>(q)\n            q = Reshape(m, half)",
            "q = Reshape(m, half) y, z = Split<axis=1, split=[1,1]>(q)",
        ),
        w=np.ones((4,), np.float32),
        v=np.ones((4,), np.float32),
        half=np.array([2, 2], np.int64),
    )
    after, _ = run(before, strict=True)
    assert after.graph.opset_imports[""] == 12
    assert len(op_types(after)) < len(op_types(before))
    assert_equivalent(before, after, rtol=0)


def test_peer_failure_10_int8_weights_stay_int8():
    before = model(
        """g (float[N,8] x) => (float[N,8] y) { q = QuantizeLinear(w, s, z) d = DequantizeLinear(q, s, z) y = MatMul(x, d) }""",
        w=np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32),
        s=np.float32(0.1),
        z=np.int8(0),
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["DequantizeLinear", "MatMul"]
    assert initializer(after, "q").dtype == np.int8
    assert_equivalent(before, after, rtol=0)


def test_peer_failure_11_a_dynamic_axis_is_not_frozen():
    before = model(
        """g (float[N,3,4] x) => (float[N,12] y) {
            s = Shape(x) n = Gather(s, zero) u = Unsqueeze(n, axes) t = Concat<axis=0>(u, rest) y = Reshape(x, t)
        }""",
        zero=np.int64(0),
        axes=np.array([0], np.int64),
        rest=np.array([-1], np.int64),
    )
    after, _ = run(before, strict=True)
    assert_equivalent(before, after, rtol=0, sizes=(1, 2, 5))


def test_the_shape_of_a_static_value_is_a_constant():
    before = model(
        "g (float[2,3] x, float[6] v) => (float[2,3] y, int64 n) { s = Shape(x) y = Reshape(v, s) n = Size(x) }"
    )
    after, outcome = apply(before, fold_constants)
    assert outcome.changes == 1
    assert op_types(after) == ["Reshape", "Size"]  # Size is an output: a node must produce it
    assert initializer(after, "s").tolist() == [2, 3]
    assert_equivalent(before, after, rtol=0)


def test_slices_of_a_shape():
    before = model("g (float[2,3,5] x, float[15] v) => (float[3,5] y) { s = Shape<start=1>(x) y = Reshape(v, s) }")
    after, _ = apply(before, fold_constants)
    assert initializer(after, "s").tolist() == [3, 5]


def test_constants_in_bodies_are_folded_there():
    before = model(
        """g (bool c, float[N,4] x) => (float[N,4] y) {
            y = If(c) <
                then_branch = t () => (float[N,4] a) { k = Add(p, p) l = Neg(k) a = Mul(x, l) },
                else_branch = e () => (float[N,4] b) { k = Sub(p, q) b = Mul(x, k) }>
        }""",
        p=np.full((1,), 2, np.float32),
        q=np.full((1,), 5, np.float32),
    )
    after, outcome = apply(before, fold_constants)
    assert outcome.changes == 3
    assert [[n.op_type for n in g] for g in after.graph.subgraphs()] == [["Mul"], ["Mul"]]
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": np.ones((1, 4), np.float32)})


def test_parts_of_one_weight_are_judged_together():
    before = model(
        """g (float[N,4] x) => (float[N,4] y) {
            a, b = Split<axis=0, num_outputs=2>(w) c = MatMul(x, a) d = MatMul(x, b) y = Add(c, d)
        }""",
        w=np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32),
    )
    after, outcome = apply(before, fold_constants)
    assert outcome.changes == 1
    assert sorted(after.graph.initializers) == ["a", "b"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "nodes",
    [
        "r = RandomNormalLike(k) y = Add(x, r)",
        "r = Bernoulli(k) y = Add(x, r)",
        "r, m = Dropout(k, ratio, yes) y = Add(x, r)",
        "r = DequantizeLinear(q, one) y = Add(x, r)",
        "r = Identity(x) s = Shape(x) t = Cast<to=1>(s) u = ReduceSum(t) y = Mul(x, u)",
    ],
)
def test_leaves_alone(nodes):
    before = model(
        f"g (float[N,4] x) => (float[N,4] y) {{ {nodes} }}",
        k=np.full((4,), 0.5, np.float32),
        ratio=np.float32(0.5),
        yes=np.bool_(True),
        q=np.ones((4,), np.int8),
        one=np.float32(1),
    )
    assert_untouched(before, fold_constants)


def test_refuses_what_the_runtime_cannot_run_and_names_it():
    before = model(
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { b = Gather(k, i) y = Add(x, b) d = Neg(e) z = Add(x, d) }",
        k=np.ones((4,), np.float32),
        e=np.ones((4,), np.float32),
        i=np.array([9], np.int64),
    )
    after, outcome = apply(before, fold_constants)
    assert op_types(after) == ["Gather", "Add", "Add"]
    assert len(outcome.notes) == 1
    assert "Gather 'b'" in outcome.notes[0]


def test_one_session_for_a_long_chain():
    lines = " ".join(f"k{i} = Neg(k{i - 1})" for i in range(1, 3000))
    before = model(f"g (float[N,4] x) => (float[N,4] y) {{ {lines} y = Add(x, k2999) }}", k0=np.ones((4,), np.float32))
    after, outcome = apply(before, fold_constants)
    assert outcome.changes == 2999
    assert initializer(after, "k2999").tolist() == [-1.0] * 4


def test_empty_and_16_bit_results():
    before = model(
        """g (float16[N,2] x) => (float16[N,2] y) { a = Cast<to=10>(k) b = Neg(a) c = Slice(b, zero, two, axes) y = Add(x, c) }""",
        k=np.array([[1, 2, 3]], np.float32),
        zero=np.array([0], np.int64),
        two=np.array([2], np.int64),
        axes=np.array([1], np.int64),
    )
    after, _ = apply(before, fold_constants)
    assert op_types(after) == ["Add"]
    assert after.graph.initializers["c"].dtype == ir.DataType.FLOAT16
    assert_equivalent(before, after, rtol=0)
