"""Re-fitting: what is redundant comes back exactly, shortcuts' errors are made up for, what cannot be fitted is left."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.prune import lossy
from onnxzip.runtime import Session
from tests.prune.nets import Net, width


def batches(shape: tuple[int, ...], count: int = 4, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(0.5, 1, shape).astype(np.float32)} for _ in range(count)]


def error(original: ir.Model, pruned: ir.Model, data: list[dict[str, np.ndarray]]) -> float:
    """Squared error of the output relative to its variance."""
    y, z = (
        np.concatenate([next(iter(Session(m, level="none").run(d).values())) for d in data]).astype(np.float64)
        for m in (original, pruned)
    )
    return float(((y - z) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum())


def redundant(*, groups: int = 1, bias: bool = True) -> ir.Model:
    """16 channels, the second 8 of which are combinations of the first 8, and layers behind them."""
    net = Net("n", 3, 8, 8)
    base, mix = net.random(8, 3, 3, 3), net.random(8, 8)
    weights = np.concatenate([base, np.einsum("ab,bchw->achw", mix, base)])
    offset = net.random(8)
    both = np.concatenate([offset, mix @ offset])
    inner = net.op("Conv", "x", net.weight(weights), net.weight(both.astype(np.float32)), pads=[0, 0, 0, 0])
    behind = net.conv(inner, 8, 16 // groups, group=groups, bias=bias)
    return net.model(net.conv(net.op("Relu", behind), 4, 8))


@pytest.mark.parametrize("bias", [True, False])
def test_a_redundant_channel_costs_nothing(bias: bool) -> None:
    model = redundant(bias=bias)
    data = batches((16, 3, 8, 8))
    raw, _ = lossy.prune(model, data, ratio=0.4, refit=False)
    fitted, record = lossy.prune(model, data, ratio=0.4)
    assert width(fitted, "conv0") == 8
    assert record.refitted >= 1
    assert error(model, raw, data) > 0.01
    assert error(model, fitted, batches((16, 3, 8, 8), seed=9)) < 1e-4


def residual() -> ir.Model:
    net = Net("n", 3, 10, 10, seed=3)
    stem = net.op("Relu", net.conv("x", 16, 3, pad=1))
    for _ in range(2):
        inner = net.op("Relu", net.conv(stem, 32, 16, pad=1))
        stem = net.op("Relu", net.op("Add", net.conv(inner, 16, 32, pad=1), stem))
    return net.model(net.conv(stem, 8, 16))


def test_the_shortcut_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = residual(), batches((16, 3, 10, 10))
    shrunk = lossy.shrink(model, lossy.rank(model, data), ratio=0.3)
    fitted, _ = lossy.refit(model, shrunk, data)
    monkeypatch.setattr("onnxzip.prune.fits._shortcut", lambda *_: None)
    without, _ = lossy.refit(model, shrunk, data)
    fresh = batches((16, 3, 10, 10), seed=9)
    assert error(model, fitted, fresh) < 0.9 * error(model, without, fresh) < 0.9 * error(model, shrunk.model, fresh)


def test_grouped_layers_are_fitted_group_by_group() -> None:
    model, data = redundant(groups=2), batches((16, 3, 8, 8))
    ranking = lossy.rank_by_magnitude(model)
    shrunk = lossy.shrink(model, ranking, ratio=0.2, round_to=2)
    assert width(shrunk.model, "conv0") < 16
    fitted, record = lossy.refit(model, shrunk, data)
    assert record.refitted >= 1
    assert error(model, fitted, data) < 0.5 * error(model, shrunk.model, data)


def test_a_matrix_with_an_add_behind_it_gets_its_intercept_there() -> None:
    net = Net("n", 6, 12)
    first = net.op(
        "Relu", net.op("Add", net.op("MatMul", "x", net.weight(net.random(12, 32))), net.weight(net.random(32)))
    )
    second = net.op("Add", net.weight(net.random(12)), net.op("MatMul", first, net.weight(net.random(32, 12))))
    model = net.model(net.op("Add", second, "x"), ranks=(3,))
    data = batches((32, 6, 12))
    raw, _ = lossy.prune(model, data, ratio=0.25, by="parameters", refit=False)
    fitted, record = lossy.prune(model, data, ratio=0.25, by="parameters")
    assert record.refitted == 1
    assert error(model, fitted, data) < 0.5 * error(model, raw, data)


def test_too_few_rows_leave_a_layer_alone() -> None:
    model = redundant()
    shrunk = lossy.shrink(model, lossy.rank_by_magnitude(model), ratio=0.3)
    _, record = lossy.refit(model, shrunk, batches((1, 3, 8, 8), count=1), rows=4)
    assert record.refitted == 0
    assert any("rows only" in n for n in record.notes)


def test_weights_with_another_reader_are_left_alone() -> None:
    net = Net("n", 3, 8, 8)
    shared = net.weight(net.random(16, 16, 1, 1))
    inner = net.op("Relu", net.conv("x", 16, 3))
    twice = net.op("Conv", net.op("Relu", net.op("Conv", inner, shared)), shared)
    model = net.model(net.conv(net.op("Relu", twice), 4, 16))
    shrunk = lossy.shrink(model, lossy.rank_by_magnitude(model), ratio=0.3)
    _, record = lossy.refit(model, shrunk, batches((8, 3, 8, 8)))
    assert sum("another reader" in n for n in record.notes) == 2
    assert record.refitted == 1
