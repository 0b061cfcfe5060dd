"""Latency by operator."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.errors import ModelError
from onnxzip.validate import profile
from tests.helpers import graphs

NET = "agraph (float[N, 64] x) => (float[N, 64] y) { h = MatMul(x, w) y = Softmax(h) }"


@pytest.fixture(scope="module")
def net():
    return graphs.model(NET, w=np.ones((64, 64), np.float32))


def test_every_operator_of_the_graph_takes_time(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = profile.latency_by_operator(net, [{"x": np.ones((256, 64), np.float32)}])
    assert set(found) == {"MatMul", "Softmax"}
    assert all(0 < time < 1e6 for time in found.values())
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert list(tmp_path.iterdir()) == []  # the profile is gone


def test_runs_are_told_apart_and_the_median_is_taken():
    def event(name: str, start: int, duration: int, op: str = "") -> dict[str, object]:
        return {"cat": "Node" if op else "Session", "name": name, "ts": start, "dur": duration, "args": {"op_name": op}}

    events = [event("model_run", 100 * i, 90) for i in range(3)]
    events += [event("a_kernel_time", 100 * i + 1, 10 * (i + 1), "Conv") for i in range(3)]
    events += [
        event("b_kernel_time", 101, 5, "Conv"),
        event("b_fence_before", 102, 50, "Conv"),
        event("c_kernel_time", 950, 5, "Conv"),
    ]
    assert profile._by_run(events) == [{"Conv": 10}, {"Conv": 25}, {"Conv": 30}]


def test_a_model_that_fails_on_the_data_is_an_error(net):
    with pytest.raises(ModelError, match="fails to run"):
        profile.latency_by_operator(net, [{"x": np.ones((1, 3), np.float32)}])
