"""Moments of what layers read, against numpy on all rows at once."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.gather import Gathering, Look, View, chunks, gather
from onnxzip.calibrate.moments import Moments
from onnxzip.calibrate.patches import Site
from onnxzip.calibrate.probe import Passes
from onnxzip.calibrate.watch import Watcher
from onnxzip.errors import ModelError
from tests.helpers.graphs import model

LOOK = Look("y", "x", Site("rows"), 6)
CONV = Look("c", "i", Site("window", (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)), 36, 2)


def batches(count: int, rows: int = 20, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(1, 2, (rows, 6)).astype(np.float32)} for _ in range(count)]


def view(data: list[dict[str, np.ndarray]], rows: int = 10**6, mask: str | None = None) -> View:
    return View(data, mask, rows, Passes())


def seen(
    data: list[dict[str, np.ndarray]],
    look: Look = LOOK,
    *,
    rows: int = 10**6,
    mask: str | None = None,
    single: bool = False,
) -> tuple[Moments, Moments]:
    gathering = Gathering([look], view(data, rows, mask), single=single)
    for number, batch in enumerate(data):
        gathering.see(number, batch, batch)
    return gathering.halves[look.name]


def second(data: list[dict[str, np.ndarray]]) -> np.ndarray:
    x = np.concatenate([b["x"] for b in data]).astype(np.float64)
    return x.T @ x / len(x)


def test_batches_are_dealt_in_turns() -> None:
    data = batches(5)
    first, other = seen(data)
    assert (first.count, other.count) == (60, 40)
    np.testing.assert_allclose(first.covariance(0, centred=False), second(data[::2]), rtol=1e-12)
    np.testing.assert_allclose(other.covariance(0, centred=False), second(data[1::2]), rtol=1e-12)


def test_few_batches_are_cut_in_half() -> None:
    data = batches(2)
    first, other = seen(data)
    np.testing.assert_allclose(first.covariance(0, centred=False), second([{"x": b["x"][:10]} for b in data]))
    np.testing.assert_allclose(other.covariance(0, centred=False), second([{"x": b["x"][10:]} for b in data]))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_single_keeps_everything_in_one_half_in_float32(count: int) -> None:
    data = batches(count)
    first, other = seen(data, single=True)
    assert (first.count, other.count) == (20 * count, 0)
    assert {getattr(first, n).dtype for n in ("total", "square", "cross", "aim", "energy")} == {np.dtype(np.float32)}
    expected = second(data)
    np.testing.assert_allclose(first.covariance(0, centred=False), expected, rtol=0, atol=3e-6 * expected.max())
    assert not other.square.any()


def test_gathering_is_what_gather_does_in_one_run() -> None:
    data = batches(5)
    net = model("g (float[N,6] x) => (float[N,3] y) { y = MatMul(x, w) }", w=np.ones((6, 3), np.float32))
    found, expected = gather(net, [LOOK], view(data), "look")["y"], seen(data)
    for half in range(2):
        np.testing.assert_array_equal(found[half].square, expected[half].square)
        np.testing.assert_array_equal(found[half].total, expected[half].total)


def test_patches_of_a_grouped_conv_in_the_order_of_its_weights() -> None:
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, 4, 3, 3)).astype(np.float32)
    found, _ = seen([{"i": image}], CONV, single=True)
    assert found.count == 9
    patch = np.pad(image[0], ((0, 0), (1, 1), (1, 1)))
    rows = np.array([patch[:, i : i + 3, j : j + 3].reshape(2, 18) for i in range(3) for j in range(3)])
    np.testing.assert_allclose(found.square, np.einsum("ngk,ngl->gkl", rows, rows), rtol=0, atol=1e-5)


def test_rows_are_limited_and_the_same_in_every_run() -> None:
    data = batches(4, rows=50)
    runs = [seen(data, rows=40, single=True)[0] for _ in range(2)]
    assert runs[0].count == 40
    np.testing.assert_array_equal(runs[0].square, runs[1].square)
    assert seen(data, rows=39, single=True)[0].count == 40  # rounded up for each batch
    assert seen(data, rows=200, single=True)[0].count == 200


def test_padded_tokens_are_left_out() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 4, 6)).astype(np.float32)
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0]])
    found, _ = seen([{"x": x, "m": mask}], mask="m", single=True)
    assert found.count == 5
    np.testing.assert_allclose(found.total[0], x[mask == 1].sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("single", [True, False])
def test_batches_without_rows_add_nothing(single: bool) -> None:
    full, empty = batches(1)[0], {"x": np.zeros((0, 6), np.float32)}
    first, other = seen([empty, full, empty], single=single)
    assert first.count + other.count == 20


def test_a_layer_of_another_width_is_refused() -> None:
    with pytest.raises(ModelError, match="'x' has 6 elements a row where 7 are read"):
        seen(batches(1), Look("y", "x", Site("rows"), 7))


def test_targets_go_with_their_rows() -> None:
    data = batches(4)
    weights = np.random.default_rng(3).standard_normal((6, 2))
    gathering = Gathering(
        [LOOK], view(data, 40), outputs={"y": 2}, targets=lambda _, n, where, arrays: arrays["x"][where] @ weights
    )
    for number, batch in enumerate(data):
        gathering.see(number, batch, batch)
    for half in gathering.halves["y"]:
        assert half.error(weights.T, np.zeros(2), 0) == pytest.approx(0, abs=1e-6 * float(half.energy.sum()))
        assert half.energy.min() > 1


def test_a_value_that_two_layers_read_is_wanted_once() -> None:
    looks = [LOOK, Look("z", "x", Site("rows"), 6), CONV]
    watcher: Watcher = Gathering(looks, view(batches(1)))
    assert watcher.wanted == ("x", "i")


def test_layers_go_together_while_they_fit() -> None:
    looks = [Look(n, "x", Site("rows"), 10) for n in "abc"]
    assert looks[0].bytes == 1600
    assert chunks([[k] for k in looks], 3200) == [[0, 1], [2]]
    assert chunks([[k] for k in looks], 1) == [[0], [1], [2]]
    assert chunks([looks[:2], looks[1:], looks[:1]], 4800) == [[0, 1, 2]]  # those that are shared count once
    assert chunks([]) == []


def test_the_model_is_left_alone() -> None:
    net: ir.Model = model("g (float[N,6] x) => (float[N,3] y) { y = MatMul(x, w) }", w=np.ones((6, 3), np.float32))
    gather(net, [LOOK], view(batches(1)), "look")
    assert [o.name for o in net.graph.outputs] == ["y"]
