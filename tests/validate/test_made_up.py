"""Made-up data: enough of it, the same every time, and of the size that the model's own normalization tells."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.errors import ModelError
from onnxzip.runtime import Session
from onnxzip.validate.made_up import FEWEST, MOST, MadeUp, normalization
from tests.helpers.graphs import model

PLAIN = "agraph (float[N,L] x) => (float[N,L] y) { y = Relu(x) }"


def made(net, seed: int = 0, part: int = 0) -> MadeUp:
    return MadeUp(net, Session(net, level="none", threads=1), seed=seed, part=part)


def test_it_is_the_same_at_every_iteration_and_parts_share_nothing():
    first, again, other = (made(model(PLAIN), part=part) for part in (0, 0, 1))
    bytes_of = [[b["x"].tobytes() for b in part] for part in (first, first, again, other)]
    assert bytes_of[0] == bytes_of[1] == bytes_of[2]
    assert len(first) == MOST == len(set(bytes_of[0]))
    assert not set(bytes_of[0]) & set(bytes_of[3])
    assert {b["x"].tobytes() for b in made(model(PLAIN), seed=1)} & set(bytes_of[0]) == set()


def test_dynamic_axes_take_two_sizes():
    assert len({b["x"].shape for b in made(model(PLAIN))}) == 2


def test_large_inputs_come_in_fewer_batches():
    assert len(made(model("agraph (float[1,3,640,640] x) => (float[1,3,640,640] y) { y = Relu(x) }"))) == FEWEST


def test_whole_numbers_stay_within_their_table():
    net = model("agraph (int64[N,L] ids) => (float[N,L,2] y) { y = Gather(t, ids) }", t=np.eye(5, 2, dtype=np.float32))
    assert {int(i) for b in made(net) for i in b["ids"].reshape(-1)} == set(range(5))


@pytest.mark.parametrize(
    ("nodes", "mean", "spread"),
    [
        ("y = Relu(x)", 0, 1),
        ("a = Sub(x, m) y = Relu(a)", 100, 1),
        ("a = Sub(x, m) b = Div(a, s) y = Relu(b)", 100, 50),
        ("a = Mul(x, r) b = Add(a, o) y = Relu(b)", -50, 50),
        ("a = Add(o, x) y = Relu(a)", -1, 1),
        ("y = BatchNormalization <epsilon = 0.0> (x, g, g, c, v)", 7, 3),
    ],
)
def test_floats_are_standard_normal_behind_what_normalizes_them(nodes, mean, spread):
    given = {"m": 100.0, "s": 50.0, "r": 0.02, "o": 1.0}
    arrays = {k: np.float32(v) for k, v in given.items() if f" {k})" in nodes or f"({k}," in nodes}
    if "Batch" in nodes:
        arrays = {k: np.full(4, v, np.float32) for k, v in (("g", 2), ("c", 7), ("v", 9))}
    net = model(f"agraph (float[N,4] x) => (float[N,4] y) {{ {nodes} }}", **arrays)
    content = np.concatenate([b["x"].reshape(-1) for b in made(net)]).astype(np.float64)
    assert content.mean() == pytest.approx(mean, abs=0.3 * spread)
    assert content.std() == pytest.approx(spread, rel=0.2)


def test_the_scaler_of_scikit_learn_tells_the_size_of_each_feature():
    net = model(
        """<ir_version: 8, opset_import: ["" : 18, "ai.onnx.ml" : 3]> agraph (float[N,2] x) => (float[N,2] y)
        { y = ai.onnx.ml.Scaler <offset = [1000.0, 0.0], scale = [0.01, 10.0]> (x) }"""
    )
    content = np.concatenate([b["x"] for b in made(net)])
    assert content[:, 0].mean() == pytest.approx(1000, abs=50)
    assert content.std(axis=0) == pytest.approx([100, 0.1], rel=0.3)


@pytest.mark.parametrize(
    "nodes",
    ["a = Sub(m, x) y = Relu(a)", "a = Div(m, x) y = Relu(a)", "a = Sub(x, m) y = Mul(a, x)", "y = Mul(x, x)"],
)
def test_other_arithmetic_is_left_alone(nodes):
    arrays = {"m": np.float32(100)} if "m" in nodes.replace("Mul", "") else {}
    net = model(f"agraph (float[N,4] x) => (float[N,4] y) {{ {nodes} }}", **arrays)
    assert normalization(net.graph.inputs[0]) is None


def test_a_factor_of_zero_is_left_alone():
    net = model("agraph (float[N,4] x) => (float[N,4] y) { y = Mul(x, z) }", z=np.zeros(4, np.float32))
    assert all(np.isfinite(b["x"]).all() and np.abs(b["x"]).max() < 10 for b in made(net))


def test_what_cannot_be_made_up_is_refused():
    with pytest.raises(ModelError, match="input 'x'"):
        made(model("agraph (seq(float[N]) x) => (int64 y) { y = SequenceLength(x) }"))
