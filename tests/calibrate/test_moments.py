"""Moments against numpy on all rows at once."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from onnxzip.calibrate.moments import Moments, ridge, square_bytes

ROWS = np.random.default_rng(0).normal(3, 1, (200, 12)) @ np.random.default_rng(1).normal(0, 1, (12, 12))
TARGETS = np.random.default_rng(2).normal(1, 1, (200, 6))


def moments(rows: np.ndarray, targets: np.ndarray, groups: int) -> Moments:
    found = Moments(12, groups, 6)
    for part in range(0, len(rows), 30):
        found.add(rows[part : part + 30], targets[part : part + 30])
    return found


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_they_are_the_covariances_of_each_group(groups: int) -> None:
    found = moments(ROWS, TARGETS, groups)
    for g in range(groups):
        x, y = np.split(ROWS, groups, axis=1)[g], np.split(TARGETS, groups, axis=1)[g]
        np.testing.assert_allclose(found.covariance(g, centred=True), np.cov(x.T, bias=True), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.covariance(g, centred=False), x.T @ x / 200, rtol=1e-9)
        cross = (x - x.mean(0)).T @ (y - y.mean(0)) / 200
        np.testing.assert_allclose(found.covariance_with_target(g, centred=True), cross, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found.covariance_with_target(g, centred=False), x.T @ y / 200, rtol=1e-9)


def test_parts_merge_to_the_whole() -> None:
    left, right = moments(ROWS[:90], TARGETS[:90], 2), moments(ROWS[90:], TARGETS[90:], 2)
    left.merge(right)
    whole = moments(ROWS, TARGETS, 2)
    assert left.count == whole.count == 200
    for name in ("total", "square", "cross", "aim", "energy"):
        np.testing.assert_allclose(getattr(left, name), getattr(whole, name), rtol=1e-12)


def test_rows_that_are_too_wide_are_known_by_their_variances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxzip.calibrate.moments.WIDEST", 4)
    found = moments(ROWS, TARGETS, 1)
    np.testing.assert_allclose(found.covariance(0, centred=True), ROWS.var(axis=0), rtol=1e-9)
    assert square_bytes(12) == 8 * 12
    assert square_bytes(12, 3) == 8 * 3 * 16


def test_the_ridge_falls_with_the_number_of_rows() -> None:
    covariance = np.diag([1.0, 3.0])
    assert ridge(covariance, 100, 3.0) == pytest.approx(3 * 2 / 100 * 2)
    assert ridge(np.diagonal(covariance), 100, 3.0) == ridge(covariance, 100, 3.0)


@pytest.mark.parametrize("centred", [False, True])
def test_wide_rows_by_stripes_are_the_same_and_take_no_second_matrix(centred: bool) -> None:
    x = np.random.default_rng(3).normal(1, 1, (40, 2 * 1200))
    found = Moments(2400, 2, single=True)
    found.add(x[:20].astype(np.float32))
    tracemalloc.start()
    found.add(x[20:].astype(np.float32))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 0.5 * found.square.nbytes
    whole = found.covariances(centred=centred)
    for g in range(2):
        own = x[:, 1200 * g : 1200 * (g + 1)]
        expected = np.cov(own.T, bias=True) if centred else own.T @ own / 40
        np.testing.assert_allclose(whole[g], expected, atol=1e-5)
        np.testing.assert_allclose(whole[g], whole[g].T, atol=1e-5)
        np.testing.assert_allclose(whole[g], found.covariance(g, centred=centred), atol=1e-6)
