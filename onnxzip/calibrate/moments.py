"""First and second moments of rows, summed up batch by batch in float64: what a least-squares fit needs, and no more.

For rows x (split into the groups of a layer) and targets y: `n`, `Σ x`, `Σ x xᵀ`, `Σ y`, `Σ y²`, `Σ x yᵀ`. From them

    mean = Σ x / n,    C = Σ x xᵀ / n − mean meanᵀ (centred) or Σ x xᵀ / n (uncentred).

Sums add up, so parts merge to what one run gives, but for the rounding of float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxzip.calibrate.arrays import Numbers

LIMIT_BYTES = 256 * 2**20
"""Memory for the squares of one pass; layers beyond it wait for another pass."""

WIDEST = int((LIMIT_BYTES / 8) ** 0.5)
"""Rows that are wider than this are known by their variances only."""

STRIPE = 256
"""Columns of wide rows whose products are made at a time."""


def square_bytes(width: int, groups: int = 1) -> int:
    """Memory that the second moments of rows of `width` in `groups` take."""
    each = width // groups
    return 8 * groups * (each * each if each <= WIDEST else each)


@dataclass(eq=False)
class Moments:
    """The sums over rows of `width` in `groups`, with `targets` outputs (0 for none).

    With `single`, everything is float32: half of the time and memory, off by about 1e-6 of the largest moments.

    Attributes:
        count: rows seen.
        total: `Σ x`, shape (groups, width / groups).
        square: `Σ x xᵀ`, shape (groups, width / groups, width / groups); without the last axis when only the diagonal is kept.
        cross: `Σ x yᵀ`, shape (groups, width / groups, targets / groups).
        aim, energy: `Σ y`, `Σ y²`, shape (groups, targets / groups).
    """

    width: int
    groups: int = 1
    targets: int = 0
    single: bool = False

    def __post_init__(self) -> None:
        each, outs = self.width // self.groups, self.targets // self.groups
        self.diagonal = each > WIDEST
        self.count = 0
        kind = np.float32 if self.single else np.float64
        self.total = np.zeros((self.groups, each), kind)
        self.square = np.zeros((self.groups, each) if self.diagonal else (self.groups, each, each), kind)
        self.cross = np.zeros((self.groups, each, outs), kind)
        self.aim = np.zeros((self.groups, outs), kind)
        self.energy = np.zeros((self.groups, outs), kind)

    def add(self, rows: np.ndarray, targets: np.ndarray | None = None) -> None:
        """Add rows (n, width), and their targets (n, targets)."""
        if not len(rows):
            return
        x = self._split(rows)
        self.count += len(rows)
        self.total += x.sum(axis=1)
        if self.diagonal:
            self.square += (x * x).sum(axis=1)
        else:
            self._add_products(x)
        if targets is not None and self.targets:
            y = self._split(targets)
            self.cross += x.swapaxes(1, 2) @ y
            self.aim += y.sum(axis=1)
            self.energy += (y * y).sum(axis=1)

    def _add_products(self, x: Numbers) -> None:
        """`Σ x xᵀ` of rows (groups, n, width / groups); of wide ones by stripes, so that no second matrix of its size is made."""
        each = x.shape[2]
        if each <= STRIPE:
            self.square += x.swapaxes(1, 2) @ x
            return
        for start in range(0, each, STRIPE):
            stop = min(start + STRIPE, each)
            products = x[:, :, start:stop].swapaxes(1, 2) @ x[:, :, start:]
            self.square[:, start:stop, start:] += products
            self.square[:, stop:, start:stop] += products[:, :, stop - start :].swapaxes(1, 2)

    def merge(self, other: Moments) -> None:
        """Add what another part of the rows gave."""
        self.count += other.count
        for name in ("total", "square", "cross", "aim", "energy"):
            mine: Numbers = getattr(self, name)
            mine += getattr(other, name)

    def joined(self, other: Moments) -> Moments:
        """The moments of both; neither is changed."""
        both = Moments(self.width, self.groups, self.targets, single=self.single)
        both.merge(self)
        both.merge(other)
        return both

    def error(self, weights: Numbers, bias: Numbers, group: int) -> float:
        """`Σ |y − W x − b|²` over all rows, summed up from the moments; W of shape (targets, width), of one group."""
        square, cross, total = self.square[group], self.cross[group], self.total[group]
        fit = float((weights * (weights @ square)).sum() - 2 * (weights * cross.T).sum() + self.energy[group].sum())
        mean = weights @ total - self.aim[group]
        return fit + float(2 * bias @ mean + self.count * bias @ bias)

    def covariance(self, group: int, *, centred: bool) -> Numbers:
        """C of one group; its diagonal when only that is kept."""
        second = self.square[group] / self.count
        if not centred:
            return np.asarray(second)
        mean = self.total[group] / self.count
        return np.asarray(second - (mean * mean if self.diagonal else np.outer(mean, mean)))

    def covariances(self, *, centred: bool) -> Numbers:
        """C of all groups, shape (groups, width / groups, width / groups), with no more memory than that. Not where only the diagonal is kept."""
        found = self.square / self.count
        if centred:
            mean = self.total / self.count
            for part in range(0, found.shape[1], STRIPE):
                stripe = slice(part, part + STRIPE)
                found[:, stripe] -= mean[:, stripe, None] * mean[:, None]
        return np.asarray(found)

    def covariance_with_target(self, group: int, *, centred: bool) -> Numbers:
        """`Σ x yᵀ / n`, less the means' product when centred; shape (width / groups, targets / groups)."""
        second = self.cross[group] / self.count
        if not centred:
            return np.asarray(second)
        return np.asarray(second - np.outer(self.total[group], self.aim[group]) / self.count**2)

    def _split(self, rows: np.ndarray) -> np.ndarray:
        """(n, width) as (groups, n, width / groups)."""
        return (
            np.asarray(rows, np.float32 if self.single else np.float64)
            .reshape(len(rows), self.groups, -1)
            .swapaxes(0, 1)
        )


def ridge(covariance: Numbers, count: int, strength: float = 3.0) -> float:
    """`λ = strength · (d / n) · mean diagonal`: as strong as the noise in a covariance of d variables from n rows."""
    diagonal = covariance if covariance.ndim == 1 else np.diagonal(covariance)
    return float(strength * len(diagonal) / max(1, count) * max(float(diagonal.mean()), 1e-30))
