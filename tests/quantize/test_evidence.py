"""One run over the data, and all that is seen on it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.moment_store import MomentStore
from onnxzip.errors import DataError
from onnxzip.progress import SILENT
from onnxzip.quantize import observe
from onnxzip.quantize.evidence import Evidence, look
from onnxzip.quantize.recipes import Recipe, Recipes
from onnxzip.quantize.targets import target_row
from tests.helpers.graphs import model
from tests.quantize.audit import conv_net, dense, feeds, normal
from tests.quantize.fitted import Feed, evidence

CHAIN = "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) y = Conv(r, w2, b2)"


class Counting(list[Feed]):
    """Batches that count how often they are gone through."""

    runs = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.runs += 1
        return super().__iter__()


def seen(net: ir.Model, data: list[Feed], **options: object) -> Evidence:
    return look(
        net, target_row("cpu"), {}, observe(net, "cpu"), data, observer=SILENT, **({"effort": "full"} | options)
    )  # type: ignore[arg-type]


def test_all_is_seen_in_one_run() -> None:
    net = conv_net(CHAIN)
    data = Counting(feeds(net))
    found = seen(net, data)
    assert data.runs == 1
    assert set(found.statistics) == set(observe(net, "cpu"))
    assert set(found.moments) == {"a", "y"}
    assert len(found.answers) == 3
    assert found.moments["a"].count == 3 * 16 * 64
    assert found.moments["y"].count == 3 * 16 * 36


def test_in_more_runs_where_memory_is_short_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    net = conv_net(CHAIN)
    whole = seen(net, feeds(net))
    from onnxzip.calibrate.gather import chunks

    monkeypatch.setattr("onnxzip.quantize.evidence.chunks", lambda sets, _: chunks(sets, 1))
    data = Counting(feeds(net))
    found = seen(net, data)
    assert data.runs == 2
    assert len(found.answers) == 3
    assert set(found.statistics) == set(whole.statistics)
    for name, moments in whole.moments.items():
        np.testing.assert_allclose(found.moments[name].square, moments.square, rtol=1e-5)


def test_fast_looks_at_fewer_batches_with_everything() -> None:
    net = conv_net(CHAIN)
    data = feeds(net, 8)
    full, fast = seen(net, data), seen(net, data, effort="fast")
    assert (len(full.answers), len(fast.answers)) == (8, 6)
    assert fast.moments["a"].count == full.moments["a"].count * 6 // 8


def test_rows_are_kept_of_what_matmuls_of_tokens_read_and_of_nothing_else() -> None:
    assert evidence(
        dense("m = MatMul(x, w) y = Add(m, b)", rank=3), feeds(dense("y = MatMul(x, w)", rank=3))
    ).rows.wanted == ("x",)
    assert evidence(dense("y = Gemm(x, w, b)"), feeds(dense("y = MatMul(x, w)"))).rows.wanted == ()
    net = dense("m = MatMul(x, w) y = Add(m, b)", rank=3)
    assert evidence(net, feeds(net), "openvino").rows.wanted == ()


def test_padding_is_left_out() -> None:
    text = "g (float[N,7,32] x, int64[N,7] mask) => (float[N,7,48] y, int64[N,7] z) { y = MatMul(x, w) z = Neg(mask) }"
    net, rng = model(text, w=normal(32, 48)), np.random.default_rng(0)
    mask = np.arange(7) < np.array([[7], [3], [5]])
    data = [{"x": rng.standard_normal((3, 7, 32)).astype(np.float32), "mask": mask.astype(np.int64)}] * 2
    found = evidence(net, data)
    assert found.moments["y"].count == 30
    assert len(found.rows.of("x")) == 30


def test_tables_read_no_products() -> None:
    net = model("g (int64[N] i) => (float[N,32] y) { y = Gather(t, i) }", t=normal(4000, 32))
    assert evidence(net, [{"i": np.arange(5)}]).moments == {}


def test_no_batch_is_refused() -> None:
    with pytest.raises(DataError, match="no batch"):
        seen(conv_net(CHAIN), [])


def test_batches_without_rows_are_left_alone() -> None:
    net = dense("m = MatMul(x, w) y = Add(m, b)", rank=3)
    full = feeds(net)
    found = evidence(net, [{"x": np.zeros((0, 7, 32), np.float32)}, *full])
    assert found.moments["m"].count == evidence(net, full).moments["m"].count


def test_layers_that_read_the_same_rows_are_looked_at_once() -> None:
    net = conv_net(
        "a = Conv<pads=[1,1,1,1]>(x, w1) b = Conv<pads=[1,1,1,1]>(x, w2) c = Conv(x, w3) s = Add(a, b) y = Conv(s, w4)",
        w3=normal(4, 16, 1, 1),
        w4=normal(4, 16, 1, 1),
    )
    found = seen(net, feeds(net)).moments
    assert found["a"] is found["b"]
    assert found["a"] is not found["c"]  # other windows


def test_moments_beyond_the_limit_lie_in_a_file_and_give_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    net = conv_net(CHAIN)
    plans = []
    for limit in (2**20, 0):
        monkeypatch.setattr("onnxzip.quantize.evidence.MomentStore", lambda limit=limit: MomentStore(limit))
        found = seen(net, feeds(net))
        assert (found.moments["a"] is found.moments["a"]) == (limit > 0)
        plans.append(Recipes(net, target_row("cpu"), found).plan(Recipe("mse", {})))
    assert plans[0] == plans[1]
    assert any(w.rounding for w in plans[0].weights)
