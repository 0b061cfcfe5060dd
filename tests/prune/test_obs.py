"""Greedy OBS against least squares done anew for every choice."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.prune import obs
from onnxzip.prune.obs import Reader, Separate, greedy

RNG = np.random.default_rng(0)


def problem(outputs: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    mix = RNG.normal(0, 1, (width, width))
    return RNG.normal(0, 1, (outputs, width)), mix @ mix.T / width + 0.01 * np.eye(width)


def loss(weights: np.ndarray, covariance: np.ndarray, out: np.ndarray) -> float:
    """Error of the best weights on what stays."""
    keep = ~out
    best = np.linalg.solve(covariance[np.ix_(keep, keep)], covariance[keep] @ weights.T).T
    wrong = weights.copy()
    wrong[:, keep] -= best
    return float(np.trace(wrong @ covariance @ wrong.T))


def brute(weights: list[np.ndarray], covariances: list[np.ndarray], owners: list[np.ndarray], groups: int, stay: int):
    gone: list[int] = []
    costs: list[float] = []
    while groups - len(gone) > stay:
        totals = {
            g: sum(loss(w, c, np.isin(o, [*gone, g])) for w, c, o in zip(weights, covariances, owners, strict=True))
            for g in range(groups)
            if g not in gone
        }
        pick = min(totals, key=lambda g: totals[g])
        costs.append(totals[pick] - sum(costs))
        gone.append(pick)
    return gone, costs


@pytest.mark.parametrize("taps", [1, 3])
def test_order_and_costs_are_those_of_exhaustive_least_squares(taps: int) -> None:
    (w1, c1), (w2, c2) = problem(4, 6 * taps + 2), problem(3, 6 * taps)
    o1 = np.concatenate([np.repeat(np.arange(6), taps), [-1, -1]])
    o2 = np.repeat(RNG.permutation(6), taps)
    readers = [Reader(w, np.linalg.inv(c), o, 1.0) for w, c, o in ((w1, c1, o1), (w2, c2, o2))]
    order, costs = greedy(readers, 6, 1)
    expected, prices = brute([w1, w2], [c1, c2], [o1, o2], 6, 1)
    assert order.tolist() == expected
    np.testing.assert_allclose(costs, prices, rtol=1e-6)


def test_blocks_choose_no_two_that_stand_in_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obs, "BLOCKS", 4)
    weights, covariance = problem(5, 16)
    mix = np.vstack([np.eye(16), np.eye(16)])  # 32 inputs, each of them twice
    twice = mix @ covariance @ mix.T + 1e-6 * np.eye(32)
    reader = Reader(np.hstack([weights, weights]), np.linalg.inv(twice), np.arange(32), 1.0)
    order, costs = greedy([reader], 32, 8)
    assert len({g % 16 for g in order[:16].tolist()}) == 16
    assert costs[:16].max() < 1e-3 * costs[16]


def test_independent_inputs_cost_their_own_share() -> None:
    weights = np.array([[1.0, 2.0, 3.0, 0.5]])
    order, costs = greedy([Separate(weights, np.array([1.0, 1.0, 1.0, 4.0]), np.array([0, 1, 1, 2]), 2.0)], 3, 1)
    assert order.tolist() == [0, 2]
    np.testing.assert_allclose(costs, [0.5, 0.5])
