"""The whole of lossy pruning, on small networks and on the model that is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import DataError, UsageError
from onnxzip.model.load import load
from onnxzip.model.save import to_proto
from onnxzip.prune import lossy
from onnxzip.prune.search import search
from onnxzip.runtime import Session
from tests.prune.nets import Net, width
from tests.prune.test_refit import batches, error, redundant

MODELS = Path(__file__).parent.parent.parent / "models"


def content(model: ir.Model) -> bytes:
    return to_proto(model).SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def digits() -> tuple[ir.Model, list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
    def feeds(name: str) -> list[dict[str, np.ndarray]]:
        images = np.load(MODELS / f"digits_{name}.npz")["image"]
        return [{"image": images[i : i + 32]} for i in range(0, len(images) - 31, 32)]

    return load(MODELS / "digits_resnet.onnx").model, feeds("calibration"), feeds("evaluation")


@pytest.fixture(scope="module")
def ranking(digits) -> lossy.Ranking:  # type: ignore[no-untyped-def]
    return lossy.rank(digits[0], digits[1], rows=2048)


def classes(model: ir.Model, data: list[dict[str, np.ndarray]]) -> np.ndarray:
    session = Session(model)
    return np.concatenate([next(iter(session.run(d).values())).argmax(axis=-1) for d in data])


@pytest.mark.parametrize("ratio", [0.2, 0.5])
def test_refitting_helps_on_the_shipped_model(digits, ranking, ratio: float) -> None:  # type: ignore[no-untyped-def]
    model, calibration, evaluation = digits
    before = content(model)
    shrunk = lossy.shrink(model, ranking, ratio=ratio)
    raw, (fitted, record) = shrunk.model, lossy.refit(model, shrunk, calibration, rows=2048)
    assert content(model) == before
    right = classes(model, evaluation)
    agree = [float((classes(m, evaluation) == right).mean()) for m in (raw, fitted)]
    assert agree[1] > agree[0], agree
    assert record.reached >= ratio
    assert record.refitted
    assert all(w.after % 8 == 0 for w in record.widths)


def test_two_runs_give_the_same_bytes() -> None:
    model, data = redundant(), batches((8, 3, 8, 8))
    first, second = (lossy.prune(model, data, ratio=0.3) for _ in range(2))
    assert content(first[0]) == content(second[0])
    assert first[1] == second[1]


def test_the_record_says_what_was_done() -> None:
    model, data = redundant(), batches((8, 3, 8, 8))
    pruned, record = lossy.prune(model, data, ratio=0.3, by="parameters")
    assert (record.by, record.asked, record.reached) == ("parameters", 0.3, record.parameters)
    assert record.removed == 8
    assert str(record.widths[0]) == "Conv 'conv0': 16 channels become 8 (8: in use, at a width that is a multiple of 8)"
    floats = [
        sum(v.const_value.size for v in m.graph.initializers.values() if v.const_value is not None)
        for m in (model, pruned)
    ]
    assert record.parameters == pytest.approx(1 - floats[1] / floats[0])
    assert record.sweeps >= 4
    assert record.passes <= record.sweeps


def test_magnitude_takes_the_smallest() -> None:
    net = Net("n", 3, 8, 8)
    weights = net.random(16, 3, 3, 3)
    weights[::2] *= 0.01
    inner = net.op("Relu", net.op("Conv", "x", net.weight(weights), net.weight(net.random(16))))
    model = net.model(net.conv(inner, 8, 16))
    pruned, record = lossy.prune_by_magnitude(model, ratio=0.3)
    assert width(pruned, "conv0") == 8
    kept = next(n for n in pruned.graph if n.name == "conv0").inputs[1]
    assert kept is not None
    assert kept.const_value is not None
    np.testing.assert_array_equal(kept.const_value.numpy(), weights[1::2])
    assert record.sweeps == 0


def test_a_family_seen_in_too_few_rows_stays() -> None:
    net = Net("n", 3, 8, 8)
    wide = net.op("Relu", net.conv("x", 64, 3))
    flat = net.op("Flatten", net.op("GlobalAveragePool", wide))
    model = net.model(net.gemm(flat, 8, 64), ranks=(2,))
    pruned, record = lossy.prune(model, batches((2, 3, 8, 8)), ratio=0.3)
    assert not record.widths
    assert any("8 rows only" in n for n in record.notes)
    assert content(pruned) == content(model)


def test_search_finds_the_largest_ratio_that_is_accepted() -> None:
    model, data, fresh = redundant(), batches((16, 3, 8, 8)), batches((16, 3, 8, 8), seed=5)

    def judge(candidate: ir.Model) -> tuple[bool, float]:
        wrong = error(model, candidate, fresh)
        return wrong < 1e-3, wrong

    found = search(model, data, judge, round_to=2)
    assert found.model is not None
    assert found.record is not None
    assert width(found.model, "conv0") == 8
    assert len(found.tried) <= 5
    assert max(part for part, good, _ in found.tried if good) == found.record.reached


def test_search_says_when_nothing_is_accepted() -> None:
    found = search(redundant(), batches((8, 3, 8, 8)), lambda _: (False, 1.0))
    assert found.model is None
    assert found.why == "even 48.4% fewer multiply-adds cost too much"  # one step of 8 channels, of 16
    net = Net("n", 3, 8, 8)
    none = search(net.model(net.conv("x", 4, 3)), batches((2, 3, 8, 8)), lambda _: (True, 0.0))
    assert none.why == "no channel can go at all"


def test_wrong_settings_are_refused() -> None:
    model, data = redundant(), batches((2, 3, 8, 8))
    with pytest.raises(UsageError, match="between 0 and 1"):
        lossy.prune(model, data, ratio=1.0)
    with pytest.raises(UsageError, match="multiply-adds or parameters"):
        lossy.prune(model, data, ratio=0.1, by="flops")
    with pytest.raises(UsageError, match="1 or more"):
        lossy.prune_by_magnitude(model, ratio=0.1, round_to=0)
    with pytest.raises(DataError, match="no batch"):
        lossy.prune(model, [], ratio=0.1)
