"""How sure a figure is, and how many samples would settle it.

With p successes of n trials, z the normal quantile of the confidence, and a limit L:

    share           Wilson score interval (Wilson, JASA 22, 1927): all L with (p - L)² <= z² L (1 - L) / n. So L lies outside from
                    n = z² L (1 - L) / (p - L)² on.
    paired drop     b decisions that only the original gets right and c that only the candidate does, of n: with p1 = (b + 1) / (n + 2) and
                    p2 = (c + 1) / (n + 2), p1 - p2 ± z sqrt((p1 + p2 - (p1 - p2)²) / (n + 2)) (adjusted Wald; Bonett and Price, Journal of
                    Educational and Behavioral Statistics 37, 2012)
    any other       percentile bootstrap over samples (Efron, Annals of Statistics 7, 1979), seeded; none for fewer than 30 samples, for a few samples
                    that happen to be alike would make it as narrow as one likes

For a share and a paired drop the number of samples follows from these formulas, at the same rates. A bootstrapped interval shrinks with sqrt(n), so one that reaches
d from the figure settles a limit at distance D with about n (d / D)² samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

_Z95 = 1.959964
_RESAMPLES = 500
FEWEST = 30
"""Samples below which nothing is bootstrapped."""

Interval = tuple[float, float]


def quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval.

    >>> round(quantile(0.95), 6)
    1.959964
    """
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(successes: float, trials: int, z: float = _Z95) -> Interval:
    """The Wilson score interval of a share, of 95 % by default; `z` is the normal quantile of each side.

    >>> tuple(round(b, 3) for b in wilson(95, 100))
    (0.888, 0.978)
    """
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def samples_for_share(share: float, limit: float, z: float) -> int | None:
    """The smallest n at which the Wilson interval of `share` does not hold `limit` inside; None where no n does.

    >>> samples_for_share(0.95, 0.9, quantile(0.95))
    139
    >>> wilson(0.95 * 139, 139)[0] > 0.9 > wilson(0.95 * 138, 138)[0]
    True
    """
    if share == limit:
        return None
    return max(1, math.ceil(z**2 * limit * (1 - limit) / (share - limit) ** 2))


def paired_drop(lost: float, won: float, trials: int, z: float) -> Interval:
    """The interval of (lost - won) / trials, of decisions that both models took.

    >>> tuple(round(b, 3) for b in paired_drop(8, 3, 100, quantile(0.95)))
    (-0.02, 0.118)
    """
    first, second = (lost + 1) / (trials + 2), (won + 1) / (trials + 2)
    half = z * math.sqrt(max(first + second - (first - second) ** 2, 0) / (trials + 2))
    return max(-1.0, first - second - half), min(1.0, first - second + half)


def samples_for_drop(lost: float, won: float, trials: int, limit: float, z: float) -> int | None:
    """About how many trials, above `trials`, settle a limit on a paired drop when both models go on to differ as often; None where none would.

    >>> samples_for_drop(0, 0, 60, 0.01, quantile(0.99))  # they never differ: the interval shrinks with n, not with its root
    363
    """
    if trials == 0 or lost - won == limit * trials:
        return None

    def settled(count: int) -> bool:
        low, high = paired_drop(lost * count / trials, won * count / trials, count, z)
        return high <= limit or low > limit

    short, enough = trials, 2 * trials
    while not settled(enough):
        short, enough = enough, 2 * enough
    while enough - short > 1:
        middle = (short + enough) // 2
        short, enough = (short, middle) if settled(middle) else (middle, enough)
    return enough


def samples_for(value: float, low: float, high: float, limit: float, samples: int) -> int | None:
    """About how many samples settle `limit`, when `samples` of them put the figure `value` between `low` and `high`; None where none would."""
    reach, distance = (value - low, value - limit) if value > limit else (high - value, limit - value)
    if distance <= 0 or not math.isfinite(reach) or not math.isfinite(distance):
        return None
    return max(samples + 1, math.ceil(round(samples * (reach / distance) ** 2, 6)))


def resampled(sums: np.ndarray[Any, Any], seed: int = 0) -> np.ndarray[Any, Any]:
    """Sums over samples drawn again and again, float64 [draws, terms], of `sums`, float64 [samples, terms]."""
    rng, count = np.random.default_rng(seed), len(sums)
    return np.stack([sums[rng.integers(0, count, count)].sum(0) for _ in range(_RESAMPLES)])


def spread(values: Sequence[float], confidence: float) -> Interval:
    """The quantiles of bootstrapped values: whole ones of the sample, so that infinite values do no harm."""
    ordered = sorted(values)
    beyond = math.floor(len(ordered) * (1 - confidence) / 2)
    return ordered[beyond], ordered[-1 - beyond]
