"""The door to onnxruntime."""

from __future__ import annotations

import gc

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxzip import runtime
from onnxzip.errors import ModelError
from onnxzip.runtime import Session
from tests.helpers.graphs import model

CONV = "agraph (float[N,3,8,8] x) => (float[N,4,8,8] y) { t = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu(t) }"


def conv():
    return model(CONV, w=np.ones((4, 3, 3, 3), np.float32))


@pytest.mark.parametrize("level", ["none", "all"])
def test_it_runs_and_tells_what_it_wants(level):
    session = Session(conv(), level=level, threads=1)
    assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [("x", np.dtype(np.float32), ("N", 3, 8, 8))]
    outputs = session.run({"x": np.ones((2, 3, 8, 8), np.float32)})
    assert outputs["y"].shape == (2, 4, 8, 8)
    assert outputs["y"].max() == 27
    assert list(session.run({"x": np.ones((1, 3, 8, 8), np.float32)}, ["y"])) == ["y"]


def test_inner_values_are_computed_instead_of_the_outputs_and_the_model_is_left_alone():
    m = conv()
    session = Session(m, threads=1, outputs=["t"])
    assert [o.name for o in session.outputs] == ["t"]
    assert session.outputs[0].dtype == np.float32
    found = session.run({"x": -np.ones((2, 3, 8, 8), np.float32)})
    assert (found["t"].shape, found["t"].min()) == ((2, 4, 8, 8), -27)
    assert [o.name for o in m.graph.outputs] == ["y"]
    with pytest.raises(ModelError, match="does not load"):
        Session(m, threads=1, outputs=["nothing"])


def test_it_shows_what_the_runtime_made_of_the_graph(tmp_path):
    Session(conv(), threads=1, optimized_to=tmp_path / "seen.onnx")
    kinds = [n.op_type for n in onnx.load(str(tmp_path / "seen.onnx")).graph.node]
    assert "FusedConv" in kinds or "Conv" in kinds
    assert "Relu" not in kinds


@pytest.mark.parametrize(
    ("level", "text", "shared"),
    [
        ("none", "agraph (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", True),
        ("all", "agraph (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", False),
        ("all", "agraph (int64[N] x) => (float[N,64] y) { y = Gather(w, x) }", True),
        ("all", "agraph (int64[N] x) => (float[N,64] y, float[64,64] z) { y = Gather(w, x) z = Sqrt(w) }", False),
    ],
)
def test_weights_that_nothing_rewrites_are_read_where_they_are(level, text, shared):
    """Shown by what happens when the array changes, which nobody should do."""
    weights = np.ones((64, 64), np.float32)
    m = model(text, w=weights)
    m.graph.initializers["w"].const_value = ir.tensor(weights, name="w")
    session = Session(m, level=level, threads=1)
    feed = {"x": np.zeros(1, np.int64) if "Gather" in text else np.full((1, 64), 1 / 64, np.float32)}
    assert session.run(feed, ["y"])["y"].max() == 1
    weights[:] = 2
    assert session.run(feed, ["y"])["y"].max() == (2 if shared else 1)


@pytest.mark.parametrize("timed", [False, True])
def test_memory_is_laid_out_ahead_only_where_speed_counts_and_the_numbers_are_the_same(monkeypatch, timed):
    made = []
    opened = runtime.ort.InferenceSession
    monkeypatch.setattr(runtime.ort, "InferenceSession", lambda c, o, **k: made.append(o) or opened(c, o, **k))
    session = Session(conv(), threads=1, timed=timed)
    assert [o.enable_mem_pattern for o in made] == [timed]
    for n in (1, 2, 2, 1):
        assert session.run({"x": np.ones((n, 3, 8, 8), np.float32)})["y"].sum() == n * 4 * 3 * 22**2


def test_large_weights_are_shared_not_serialized():
    m = model("agraph (float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }", w=np.eye(64, dtype=np.float32))
    assert len(runtime._serialize(m, {"w"})) < 300
    x = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    session = Session(m, threads=1)
    del m
    gc.collect()
    np.testing.assert_array_equal(session.run({"x": x})["y"], x)


def test_a_model_that_does_not_load_says_why():
    broken = conv()
    next(iter(broken.graph)).op_type = "NoSuchOperator"
    with pytest.raises(ModelError, match="NoSuchOperator"):
        Session(broken, threads=1)


def test_whether_sums_saturate_is_what_an_integer_kernel_does_here():
    """Two products of 255 * 127 are more than 16 bits hold; one is not, on any CPU."""
    m = model("agraph (uint8[1,8] a) => (int32[1,8] y) { y = MatMulInteger(a, w) }", w=np.full((8, 8), 127, np.int8))
    session = Session(m, threads=1)
    pair, single = np.zeros((2, 1, 8), np.uint8)
    pair[0, :2] = 255
    single[0, :1] = 255
    assert (session.run({"a": single})["y"] == 255 * 127).all()
    expected = 32767 if runtime.sums_saturate() else 2 * 255 * 127
    assert (session.run({"a": pair})["y"] == expected).all()
