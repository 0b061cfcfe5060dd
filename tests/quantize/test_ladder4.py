import numpy as np
import pytest

from onnxzip.progress import SILENT
from onnxzip.quantize.ladder4 import NOISE, back_to_eight, errors
from tests.helpers.graphs import model
from tests.quantize.audit import feeds, normal


def test_error_is_that_of_the_outputs() -> None:
    net = model(
        "agraph (float[N,8] x) => (float[N,4] y) { h = MatMul(x, w) y = MatMul(h, v) }", w=normal(8, 8), v=normal(8, 4)
    )
    w = net.graph.initializers["w"].const_value.numpy()  # type: ignore[union-attr]
    v = net.graph.initializers["v"].const_value.numpy()  # type: ignore[union-attr]
    found = errors(net, {"w": 1.1 * w, "v": v}, feeds(net), SILENT)
    assert found["w"] == pytest.approx(0.01, rel=1e-3)
    assert found["v"] == 0
    np.testing.assert_array_equal(net.graph.initializers["w"].const_value.numpy(), w)  # type: ignore[union-attr]


def test_an_error_that_is_not_finite_goes_back() -> None:
    assert back_to_eight({"a": float("inf"), "b": 0.1}, {"a": 1, "b": 1}) == ["a"]


def test_goes_on_until_the_noise_is_within_limits() -> None:
    error = {"a": NOISE, "b": 0.9 * NOISE, "c": 0.8 * NOISE}
    assert back_to_eight(error, dict.fromkeys(error, 100)) == ["a", "b"]


def test_small_and_even_errors_stay() -> None:
    assert back_to_eight({"a": 1e-3, "b": 1e-3}, {"a": 10, "b": 10}) == []
    assert back_to_eight({}, {}) == []
