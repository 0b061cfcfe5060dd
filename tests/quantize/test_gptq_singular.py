"""Rounding where the data does not tell the columns of a layer apart."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.quantize.gptq import round_rows
from tests.quantize.audit import normal

SCALES = np.full((1, 4), 0.01, np.float32)


def test_moments_that_are_singular_but_for_rounding_are_damped_until_they_are_not() -> None:
    """Three rows of 32 columns, summed up in float32: some eigenvalues come out below 0 by more than the usual damping."""
    rows = normal(3, 32).astype(np.float64)
    moments = rows.T @ rows - 0.01 * np.eye(32)
    assert np.linalg.eigvalsh(moments)[0] < -0.001 * np.trace(moments) / 32
    weights = normal(4, 32)
    codes = round_rows(weights[None].astype(np.float64), moments[None], SCALES)
    assert np.isfinite(codes).all()
    assert np.abs(codes[0] * 0.01 - weights).max() < 0.1
    lost, plain = (rows @ (weights - q * 0.01).T for q in (codes[0], np.clip(np.rint(weights / 0.01), -127, 127)))
    assert (lost**2).sum() <= 2 * (plain**2).sum()


def test_what_is_positive_definite_is_damped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, tries = normal(500, 32).astype(np.float64), []
    real = np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda m: tries.append(1) or real(m))
    round_rows(normal(4, 32)[None].astype(np.float64), (rows.T @ rows)[None] / 500, SCALES)
    assert tries == [1]


def test_what_is_no_second_moment_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        round_rows(normal(4, 8)[None].astype(np.float64), -1e6 * np.eye(8)[None], SCALES)
