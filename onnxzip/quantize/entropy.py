"""The clip that keeps the most information: pure numpy.

    T = argmin KL(P || Q),   KL = sum P log(P / Q)

P: the histogram of |x| in BINS equal bins up to its extreme, cut at T, with all that lies beyond put into the last bin. Q: the same histogram without what
lies beyond, merged into the levels that the codes give and spread evenly again over those bins of each level that are not empty. Both sum up to 1
(Migacz, "8-bit inference with TensorRT", GTC 2017). Four things differ from there:

1. Exact zeros are represented exactly and are not counted (TensorRT's successors overwrite their bin, which a Relu fills).
2. Levels are those of uint8: both signs share one step, so that |x| has 255 T / (min(T, high) + min(T, -low)) of them, rounded: 255 where all
   values have one sign, 128 where the sides are alike. The clip is the same for both signs, as there: -T or `low`, whichever is closer to 0, to T or `high`.
3. The values are centres of bins that are wider than a level far from zero; each is spread over the width of its bin first (WIDTH), as if uniform there.
4. No clip is tried that cuts more than MOST_CUT of the values: where next to nothing lies inside, P and Q are both one bin, and KL is 0.

Sums over a level are differences of prefix sums, so that all candidates are compared at once:

    S KL = sum p log p - sum_levels m log(m / c) - beyond log(q) + S log(inside / S),   m, c: mass and bins in use of a level, q = m / c of the last
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxzip.quantize.qparams import LEVELS

BINS = 4096
CANDIDATES = 256
"""At most so many clips are tried, evenly spread over the bins in use."""

SMALLEST_CLIP = 1 / 16
"""The tightest clip that is tried, relative to the extreme: there a level has one bin."""

MOST_CUT = 0.01
"""The largest share of the values that a clip may cut."""

WIDTH = 1 / 32
"""Width of the bin that a value stands for, relative to the value (see `onnxzip.calibrate.histogram`)."""

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


def entropy_range(values: Array, weights: Array, low: float, high: float) -> tuple[float, float]:
    """The clip of least KL divergence, the same for both signs, within `low` to `high` widened to contain 0.

    Args:
        values: float64[k], ascending.
        weights: their weights, not negative.
        low: the smallest value.
        high: the largest value.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    extreme = max(high, -low)
    used = (values != 0) & (weights > 0)
    if extreme == 0 or not used.any():
        return low, high
    masses = _masses(np.abs(values[used]) / extreme, weights[used])
    ends = candidates(masses)
    clips = ends / BINS
    levels = np.rint(LEVELS * clips / (np.minimum(clips, high / extreme) + np.minimum(clips, -low / extreme)))
    best = float(clips[int(np.argmin(divergences(masses, ends, levels.astype(np.int64))))]) * extreme
    return max(low, -best), min(high, best)


def candidates(masses: Array) -> Numbers:
    """Numbers of bins to keep, ascending: each ends with a bin in use, and the last keeps all of them."""
    ends: Numbers = np.flatnonzero(masses) + 1
    prefix = _prefix(masses)
    enough = (ends >= BINS * SMALLEST_CLIP) & (prefix[ends] >= (1 - MOST_CUT) * prefix[-1])
    ends = ends[enough | (ends == ends[-1])]
    if len(ends) > CANDIDATES:
        ends = ends[np.linspace(0, len(ends) - 1, CANDIDATES).round().astype(np.int64)]
    return ends


def divergences(masses: Array, ends: Numbers, levels: Numbers) -> Array:
    """S KL(P || Q), S = sum of all masses, for each candidate.

    Args:
        masses: float64[b], of the bins of |x|.
        ends: int64[c], how many bins each candidate keeps; the last of them is in use.
        levels: int64[c], into how many levels they are merged.
    """
    prefix, in_use = _prefix(masses), _prefix((masses > 0).astype(np.float64))
    step = np.minimum(np.arange(levels.max() + 1), levels[:, None])
    edges = ends[:, None] * step // levels[:, None]
    mass, count = np.diff(prefix[edges]), np.diff(in_use[edges])
    merged = _times_log(mass) - mass * np.log(np.maximum(count, 1))
    inside, last = prefix[ends], masses[ends - 1]
    beyond = np.maximum(prefix[-1] - inside, 0.0)
    rows, top = np.arange(len(ends)), levels - 1
    own = _prefix(_times_log(masses))[ends] - _times_log(last) + _times_log(last + beyond)
    lost = beyond * np.log(mass[rows, top] / count[rows, top])
    result: Array = own - merged.sum(1) - lost + prefix[-1] * np.log(inside / prefix[-1])
    return result


def _masses(magnitudes: Array, weights: Array) -> Array:
    """The mass of each of BINS bins over 0 to 1; every magnitude is spread over WIDTH, but not beyond halfway to the next one."""
    order = np.argsort(magnitudes, kind="stable")
    centres, weights = magnitudes[order], weights[order]
    halfway = (centres[1:] + centres[:-1]) / 2
    lower = np.maximum(centres * (1 - WIDTH / 2), np.append(0.0, halfway))
    upper = np.minimum(np.minimum(centres * (1 + WIDTH / 2), np.append(halfway, 1.0)), 1.0)
    total = np.cumsum(weights)
    places, sums = np.stack([lower, upper], 1).ravel(), np.stack([total - weights, total], 1).ravel()
    found: Array = np.diff(np.interp(np.arange(BINS + 1) / BINS, places, sums, left=0.0))
    return np.where(found > total[-1] * 1e-15, found, 0.0)  # differences of sums: what is less is rounding


def _prefix(numbers: Array) -> Array:
    return np.append(0.0, np.cumsum(numbers))


def _times_log(numbers: Array) -> Array:
    """X log x, 0 at 0."""
    return numbers * np.log(np.where(numbers > 0, numbers, 1.0))
