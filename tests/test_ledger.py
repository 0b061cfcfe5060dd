"""What the books keep open."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

import onnxzip
from onnxzip import Budget, Config
from onnxzip.runtime import Session
from tests.helpers.graphs import model

TEXT = """agraph (float[N,3,8,8] x) => (float[N,4] y)
{ c = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu(c) p = GlobalAveragePool(r) f = Flatten(p) y = Gemm(f, v) }"""


def small() -> object:
    rng = np.random.default_rng(0)
    weights = {"w": (8, 3, 3, 3), "v": (8, 4)}
    return model(TEXT, **{n: rng.standard_normal(s).astype(np.float32) for n, s in weights.items()})


def batches(count: int = 6) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((4, 3, 8, 8), np.float32)} for _ in range(count)]


@pytest.mark.parametrize(
    ("budget", "kept"), [(Budget(min_agreement=0.0, min_sqnr_db=0.0), True), (Budget(min_sqnr_db=200.0), False)]
)
def test_no_more_than_two_sessions_are_open_at_a_time(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, kept: bool
) -> None:
    """Two where two are compared; every one has a copy of the weights and of a batch's activations."""
    alive, most, opened = weakref.WeakSet[Session](), [0], Session.__init__

    def counted(self: Session, *arguments: object, **named: object) -> None:
        opened(self, *arguments, **named)  # type: ignore[arg-type]
        alive.add(self)
        most[0] = max(most[0], len(alive))

    monkeypatch.setattr(Session, "__init__", counted)
    result = onnxzip.optimize(small(), batches(), config=Config(budget=budget, objective="size"))
    assert result.verdict.passed == kept
    assert most == [2]
    assert not alive
