"""Fusions with operators of onnxruntime's own domain, where they are allowed."""

import logging

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip.model.load import load
from onnxzip.model.signature import signature
from onnxzip.passes.context import Allowed, Context
from onnxzip.passes.fuse_contrib import fuse_contrib
from onnxzip.passes.runner import run
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import run as outputs
from tests.passes.helpers import assert_untouched

WIDTH, HEADS, INNER = 16, 4, 32


@pytest.fixture(scope="module")
def encoder() -> ir.Model:
    """One layer of an encoder as PyTorch exports it: self-attention with a mask, then a Gelu between two linear maps."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "words": rng.standard_normal((50, WIDTH)),
        **{f"w{k}": rng.standard_normal((WIDTH, WIDTH)) / 4 for k in "qkvo"},
        **{f"b{k}": rng.standard_normal(WIDTH) for k in "qkvo"},
        "w1": rng.standard_normal((WIDTH, INNER)) / 4, "b1": rng.standard_normal(INNER),
        "w2": rng.standard_normal((INNER, WIDTH)) / 4, "b2": rng.standard_normal(WIDTH),
        **{f"g{k}": rng.random(WIDTH) + 0.5 for k in "012"}, **{f"s{k}": rng.standard_normal(WIDTH) for k in "012"},
        "depth": 2.0, "one": 1.0, "half": 0.5, "root": 2**0.5, "least": -10000.0,
    }  # fmt: skip
    arrays = {k: np.asarray(v, np.float32) for k, v in arrays.items()}
    arrays |= {
        "split": np.array([0, 0, HEADS, WIDTH // HEADS]),
        "joined": np.array([0, 0, WIDTH]),
        "one_axis": np.array([1]),
        "two_axis": np.array([2]),
    }
    heads = " ".join(
        f"{k}m = MatMul(h, w{k}) {k}a = Add(b{k}, {k}m) {k}r = Reshape({k}a, split) {k}t = Transpose<perm = {perm}>({k}r)"
        for k, perm in (("q", "[0, 2, 1, 3]"), ("k", "[0, 2, 3, 1]"), ("v", "[0, 2, 1, 3]"))
    )
    return model(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (int64[N,S] ids, int64[N,S] mask) => (float[N,S,{WIDTH}] y) {{
            u = Unsqueeze(mask, one_axis) w = Unsqueeze(u, two_axis) f = Cast<to = 1>(w) i = Sub(one, f) bias = Mul(i, least)
            e = Gather(words, ids) h = LayerNormalization(e, g0, s0) {heads}
            p = MatMul(qt, kt) ps = Div(p, depth) pm = Add(ps, bias) pp = Softmax<axis = -1>(pm) c = MatMul(pp, vt)
            ct = Transpose<perm = [0, 2, 1, 3]>(c) cr = Reshape(ct, joined) o = MatMul(cr, wo) oa = Add(bo, o)
            r = Add(oa, h) n = LayerNormalization(r, g1, s1)
            m1 = MatMul(n, w1) a1 = Add(b1, m1) d = Div(a1, root) er = Erf(d) es = Add(er, one) em = Mul(a1, es) ge = Mul(em, half)
            m2 = MatMul(ge, w2) a2 = Add(b2, m2) r2 = Add(a2, n) y = LayerNormalization(r2, g2, s2)
        }}""",
        **arrays,
    )


BATCH = {
    "ids": np.arange(12).reshape(2, 6) % 50,
    "mask": np.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]]),
}


def fused(before, prefer):
    after, records = run(before, allowed=Allowed(prefer=prefer, contrib=True), strict=True)
    assert not [r for r in records if r.taken_back]
    assert signature(after) == signature(before)
    expected, actual = outputs(before, BATCH)["y"], outputs(after, BATCH)["y"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    return op_types(after)


def test_attention_is_one_operator(encoder):
    ops = fused(encoder, "bytes")
    assert ops.count("Attention") == ops.count("BiasGelu") == 1
    assert "Softmax" not in ops
    assert "SkipLayerNormalization" not in ops  # fewer nodes, but slower


def test_all_of_it_where_nodes_count(encoder):
    ops = fused(encoder, "nodes")
    assert ops.count("Attention") == 1
    assert ops.count("SkipLayerNormalization") == 2
    assert len(ops) < len(fused(encoder, "bytes"))


def test_not_unless_it_is_allowed(encoder):
    assert_untouched(encoder, fuse_contrib)
    assert all(n.domain == "" for n in run(encoder)[0].graph)


def test_other_graphs_stay_and_nothing_is_said(encoder, capfd, caplog):
    other = model("g (float[N,4] x) => (float[N,4] y) { a = Exp(x) y = Softmax(a) }")
    with caplog.at_level(logging.DEBUG):
        for m in (other, encoder):
            copy = m.clone()
            outcome = fuse_contrib(copy, Context(copy, Allowed(contrib=True)))
            assert (outcome.changes == 0) == (m is other)
    assert op_types(other) == ["Exp", "Softmax"]
    assert capfd.readouterr() == ("", "")
    assert not [r for r in caplog.records if not r.name.startswith("onnx_ir")]


def test_what_comes_back_is_valid_and_loads_again(encoder):
    from onnxzip.model.save import to_proto

    after, _ = run(encoder, allowed=Allowed(contrib=True))
    proto = to_proto(after)
    assert {o.domain for o in proto.opset_import} == {"", "com.microsoft"}
    onnx.checker.check_model(proto)
    assert op_types(load(proto).model) == op_types(after)
