"""The original is run once, and candidates are held against it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.errors import ModelError
from onnxzip.runtime import Session
from onnxzip.validate import reference as module
from onnxzip.validate.inputs import make_inputs
from onnxzip.validate.reference import Reference
from onnxzip.validate.speed import measure_speed
from tests.helpers.graphs import model

RELU = "agraph (float[N,4] x) => (float[N,4] y) { y = Relu(x) }"


class Counting(Session):
    runs = 0

    def run(self, *args, **kwargs):
        self.runs += 1
        return super().run(*args, **kwargs)


def batches(count=3, rows=(2, 3, 5)):
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((rows[i % len(rows)], 4)).astype(np.float32)} for i in range(count)]


@pytest.mark.parametrize("memory", [2**20, 1])
def test_the_original_runs_once_for_many_candidates_ragged_batches_and_on_disk(monkeypatch, memory):
    monkeypatch.setattr(module, "_MEMORY", memory)
    session = Counting(model(RELU), threads=1)
    reference = Reference(session, batches())
    assert (reference.samples, reference.batches, reference.deterministic) == (10, 3, True)
    assert session.runs == 4  # one batch twice, to see whether it is deterministic
    for text, sqnr in ((RELU, np.inf), (RELU.replace("Relu", "Abs"), None)):
        (found,) = reference.compare(Session(model(text), threads=1))
        assert found.sqnr_db == sqnr if sqnr else found.sqnr_db < 20
    assert session.runs == 4


def test_random_models_are_recognised():
    m = model("agraph (float[N,4] x) => (float[N,4] y) { r = RandomNormalLike(x) y = Add(x, r) }")
    assert not Reference(Session(m, threads=1), batches()).deterministic


def test_speed_is_a_paired_ratio_with_an_interval():
    slow = model(
        "agraph (float[N,4] x) => (float[N,4] y) { a = MatMul(x, w) b = MatMul(a, v) y = Relu(b) }",
        w=np.ones((4, 20000), np.float32),
        v=np.ones((20000, 4), np.float32),
    )
    found = measure_speed(Session(slow, threads=1), Session(model(RELU), threads=1), batches(), seconds=0.2)
    assert found.pairs >= 15
    assert 1 < found.low <= found.speedup <= found.high


def test_a_session_that_fails_says_why():
    with pytest.raises(ModelError, match="fails to run"):
        Session(model(RELU), threads=1).run({"x": np.zeros((2, 5), np.float32)})


def test_made_up_inputs_respect_tables_masks_and_names():
    m = model(
        """agraph (int64[batch,seq] ids, int64[batch,seq] attention_mask, float[batch,seq,2] extra) => (float[batch,seq,2] y) {
        rows = Gather(table, ids) f = Cast <to = 1> (attention_mask) axes = Constant <value_ints = [2]> () m = Unsqueeze(f, axes) s = Mul(rows, m) y = Add(s, extra) }""",
        table=np.eye(3, 2, dtype=np.float32),
    )
    found = make_inputs(m, Session(m, threads=1), seed=1)
    assert len({b["ids"].shape for b in found}) == 2
    for batch in found:
        assert batch["ids"].shape == batch["attention_mask"].shape == batch["extra"].shape[:2]
        assert batch["ids"].min() >= 0
        assert batch["ids"].max() <= 2
        assert set(np.unique(batch["attention_mask"])) <= {0, 1}
        assert batch["attention_mask"][:, 0].all()


@pytest.mark.parametrize("nodes", ["q = Equal(u, numbers) c = Cast <to = 1> (q)", "c = OneHot(ids, depth, values)"])
def test_made_up_inputs_choose_among_all_categories(nodes):
    m = model(
        f"agraph (int64[N,50] ids) => (float[A,B,C] y) {{ u = Unsqueeze(ids, last) {nodes} y = Sum(c) }}",
        last=np.array([2]),
        numbers=np.arange(9),
        depth=np.array(9),
        values=np.array([0, 1], np.float32),
    )
    for batch in make_inputs(m, Session(m, threads=1)):
        assert set(np.unique(batch["ids"])) == set(range(9))


def test_made_up_inputs_find_sizes_that_the_graph_accepts():
    m = model(
        "agraph (float[N,L] x) => (float[N,64] y) { s = Constant <value_ints = [-1, 64]> () t = Reshape(x, s) y = Relu(t) }"
    )
    assert all(b["x"].size % 64 == 0 for b in make_inputs(m, Session(m, threads=1)))


def test_inputs_that_cannot_be_made_up_are_named():
    m = model("agraph (seq(float[N]) x) => (int64 y) { y = SequenceLength(x) }")
    with pytest.raises(ModelError, match="input 'x'"):
        make_inputs(m, Session(m, threads=1))
