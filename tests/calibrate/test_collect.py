"""Collecting statistics of tensors of a model."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate import Statistics, collect, open_data
from onnxzip.errors import DataError, ModelError
from onnxzip.model.load import load
from onnxzip.runtime import Session
from tests.helpers import graphs, numerics

CNN = """
    agraph (float[N, 2, 8, 8] x) => (float[N, 5] y)
    {
        c = Conv <pads = [1, 1, 1, 1]> (x, w)
        r = Relu (c)
        p = GlobalAveragePool (r)
        f = Flatten (p)
        y = Gemm (f, v)
    }
"""


def cnn() -> ir.Model:
    rng = np.random.default_rng(0)
    return graphs.model(
        CNN,
        w=rng.standard_normal((4, 2, 3, 3)).astype(np.float32),
        v=rng.standard_normal((4, 5)).astype(np.float32),
    )


def feeds(*sizes: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((n, 2, 8, 8)).astype(np.float32)} for n in sizes]


def test_inputs_inner_values_and_outputs() -> None:
    model, data = cnn(), feeds(2, 40)
    before = graphs.nodes(model)
    found = collect(model, ["x", "c", "r", "f", "y", "c"], data, model_digest="m")
    assert list(found) == ["x", "c", "r", "f", "y"]
    assert (found.model_digest, found.batches) == ("m", 2)
    assert graphs.nodes(model) == before
    assert [o.name for o in model.graph.outputs] == ["y"]
    outputs = [numerics.run(model, f)["y"] for f in data]
    assert found["y"].high == pytest.approx(max(o.max() for o in outputs), rel=1e-5)
    assert found["x"].low == min(float(f["x"].min()) for f in data)
    assert found["x"].count == 42 * 128
    assert found["r"].low == 0.0
    assert found["r"].high == found["c"].high > 0 > found["c"].low


def test_numbers_are_those_of_the_float_graph() -> None:
    """Fetching inner values must not change them: compare with the graph without the runtime's optimisations."""
    model, data = cnn(), feeds(3)
    plain = model.clone()
    plain.graph.outputs.append(next(o for n in plain.graph for o in n.outputs if o.name == "c"))
    reference = Session(plain, level="none", threads=1).run(data[0])["c"]
    found = collect(model, ["c"], data)["c"]
    assert (found.low, found.high) == pytest.approx((reference.min(), reference.max()), rel=1e-5)


def test_only_inputs_need_no_run() -> None:
    assert collect(cnn(), ["x"], [{"x": np.ones((1, 1), np.float32)}])["x"].count == 1


def test_peer_16_17_shards_merge_to_one_run_and_batches_may_differ_in_shape(tmp_path: Path) -> None:
    model, data, names = cnn(), feeds(1, 40, 3, 33, 40, 2), ["x", "c", "r", "f", "y"]
    one = collect(model, names, data, model_digest="m")
    shards = [collect(model, names, data[k::3], model_digest="m") for k in range(3)]
    merged = shards[1].merge(shards[2]).merge(shards[0])
    assert one == merged
    one.save(tmp_path / "one.npz")
    merged.save(tmp_path / "merged.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "merged.npz").read_bytes()
    assert one == collect(model, names, data, model_digest="m", threads=1)
    assert one != collect(model, names, data[1:], model_digest="m")


def test_fast_takes_the_first_four_batches_and_every_second_one_behind_them() -> None:
    model, data, names = cnn(), feeds(*[1, 40, 3, 33, 40, 2, 9, 1, 5]), ["x", "c", "f"]
    fast = collect(model, names, data, effort="fast", threads=1)
    assert fast == collect(model, names, [data[i] for i in (0, 1, 2, 3, 4, 6, 8)], threads=1)
    assert fast.batches == 7
    assert fast != collect(model, names, data, threads=1)
    assert fast == collect(model, names, iter(data), effort="fast", threads=2)  # its length is not known


def test_fast_leaves_no_batch_of_little_data_out() -> None:
    model, data = cnn(), feeds(1, 40, 3, 33, 4)
    assert collect(model, ["c"], data, effort="fast") == collect(model, ["c"], data)


def test_fast_names_a_bad_batch_by_its_place_in_the_data() -> None:
    data = feeds(*[1] * 7)
    data[6]["x"][0, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="batch 6: tensor 'x' takes the value infinity"):
        collect(cnn(), ["x"], data, effort="fast")


def test_peer_21_statistics_know_their_data(tmp_path: Path) -> None:
    model, data = cnn(), feeds(2, 3)
    collect(model, ["c"], data, model_digest="m").save(tmp_path / "s.npz")
    same = collect(model, ["r"], list(reversed(data)), model_digest="m").data_digest
    Statistics.load(tmp_path / "s.npz", model_digest="m", data_digest=same)
    data[1]["x"][2, 1, 7, 7] += 1
    other = collect(model, ["r"], data, model_digest="m").data_digest
    with pytest.raises(DataError, match="belong to another data"):
        Statistics.load(tmp_path / "s.npz", model_digest="m", data_digest=other)


def test_peer_18_values_that_overflow_inside_are_named() -> None:
    model = graphs.model("agraph (float[N] x) => (float[N] y) { e = Exp (x) y = Neg (e) }")
    with pytest.raises(DataError, match="batch 1: tensor 'e' takes the value infinity"):
        collect(model, ["e"], [{"x": np.ones(2, np.float32)}, {"x": np.full(2, 1e4, np.float32)}])


def test_values_of_other_types() -> None:
    model = graphs.model(
        "agraph (float[N] x) => (double[N] y) { h = Cast <to = 10> (x) b = Cast <to = 9> (h) y = Cast <to = 11> (b) }"
    )
    found = collect(model, ["h", "b", "y"], [{"x": np.array([0, 3], np.float32)}])
    assert [found[n].high for n in ("h", "b", "y")] == [3, 1, 1]


def test_overridable_defaults_count_as_fed_or_as_they_are() -> None:
    model = graphs.model(
        "agraph (float[N] x, float[1] s) => (float[N] y) { y = Mul (x, s) }", s=np.array([2], np.float32)
    )
    x = np.ones(3, np.float32)
    found = collect(model, ["s", "y"], [{"x": x}, {"x": x, "s": np.array([5], np.float32)}])
    assert [(found[n].low, found[n].high) for n in ("s", "y")] == [(2, 5), (2, 5)]


def test_refuses_what_cannot_be_fetched() -> None:
    model = cnn()
    with pytest.raises(ModelError, match="tensor 'nothing' is not in the model"):
        collect(model, ["nothing"], [])
    with pytest.raises(ModelError, match="tensor 'w' is a constant"):
        collect(cnn(), ["w"], [])
    with pytest.raises(DataError, match="there is no batch"):
        collect(cnn(), ["c"], [])
    with pytest.raises(ModelError, match="fails to run"):
        collect(cnn(), ["c"], [{"x": np.zeros((1, 1), np.float32)}])
    sequence = graphs.model(
        "agraph (float[2] x) => (float[2] y) { s = SequenceConstruct (x) y = ConcatFromSequence <axis = 0> (s) }"
    )
    with pytest.raises(DataError, match="batch 0: tensor 's' is list, not an array"):
        collect(sequence, ["s"], [{"x": np.zeros(2, np.float32)}])


def test_the_observer_follows() -> None:
    class Counting:
        def __init__(self) -> None:
            self.seen: list[object] = []

        @contextmanager
        def step(self, name: str, total: int | None = None) -> Iterator[object]:
            self.seen.append((name, total))
            yield lambda: self.seen.append(1)

    model, following = cnn(), Counting()
    collect(model, ["c"], feeds(1, 1), observer=following)  # type: ignore[arg-type]
    assert following.seen == [("calibrate", 2), 1, 1]
    data = open_data(feeds(1, 1), Session(model).inputs)
    assert data.batches == 2
    collect(model, ["c"], data, observer=following)  # type: ignore[arg-type]
    assert following.seen[3:] == [("calibrate", 2), 1, 1]


def test_peer_16_no_activation_outlives_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, alive, most = cnn(), weakref.WeakValueDictionary[int, np.ndarray](), 0
    run = Session.run

    def watched(self: Session, *arguments: object) -> dict[str, np.ndarray]:
        assert not alive, "activations of the batch before are still held"
        outputs = run(self, *arguments)  # type: ignore[arg-type]
        alive.update({id(array): array for array in outputs.values()})
        nonlocal most
        most = max(most, len(alive))
        return outputs

    monkeypatch.setattr(Session, "run", watched)
    collect(model, ["c", "r", "y"], feeds(3, 1, 3))
    assert most == 3
    assert not alive


@pytest.mark.skipif("ONNXZIP_CORPUS" not in os.environ, reason="the corpus is not there")
def test_a_text_model_with_ragged_batches() -> None:
    """failures.md 16: batches of different shape, as every text model has."""
    model = load(Path(os.environ["ONNXZIP_CORPUS"]) / "models/minilm_l6_v2_ts_op17.onnx").model
    names = [n.outputs[0].name or "" for n in model.graph if n.op_type == "MatMul"]
    rng, data = np.random.default_rng(0), []
    for length in (5, 12):
        ids = rng.integers(1000, 2000, (2, length))
        data.append({"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)})
    found = collect(model, names, open_data(data, Session(model).inputs))
    assert all(found[n].count and found[n].low < found[n].high < sys.float_info.max for n in names)
