"""A paired stopwatch: original and candidate in one process, one thread, call by call, so that load on the machine hits both.

Per pair i: ratio_i = time of the original / time of the candidate. Reported: the median ratio, and (for 95 % confidence) the 2.5 %
and 97.5 % quantiles of the medians of resampled pairs (percentile bootstrap; Efron, Annals of Statistics 7, 1979), seeded.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

import numpy as np

from onnxzip.progress import SILENT, Observer
from onnxzip.records import Speed
from onnxzip.runtime import Batch, Session

WARM_UP = 3
_RESAMPLES = 500


def measure_speed(
    original: Session,
    candidate: Session,
    data: Iterable[Batch],
    *,
    batches: int = 12,
    min_pairs: int = 15,
    max_pairs: int = 300,
    seconds: float = 2.0,
    seed: int = 0,
    confidence: float = 0.95,
    observer: Observer = SILENT,
) -> Speed:
    """Time both sessions on the first `batches` batches, round and round, for about `seconds`, at least `min_pairs` pairs.

    Args:
        original: the model to compare with, loaded as `candidate` is (same threads and optimization level).
        candidate: the model whose speed is asked for.
        data: batches; only the first `batches` are held in memory.
        batches: how many different batches are used.
        min_pairs: pairs to take even when they take longer than `seconds`.
        max_pairs: pairs after which to stop.
        seconds: time to spend.
        seed: seed of the bootstrap.
        confidence: of the interval.
        observer: told of the step.
    """
    feeds = list(itertools.islice(iter(data), batches))
    for feed in feeds[:WARM_UP]:
        original.run(feed)
        candidate.run(feed)
    ratios: list[float] = []
    with observer.step("measure speed", max_pairs) as done:
        stop = time.perf_counter() + seconds
        for feed in itertools.islice(itertools.cycle(feeds), max_pairs):
            ratios.append(_ratio(original, candidate, feed, swapped=len(ratios) % 2 == 1))
            done()
            if len(ratios) >= min_pairs and time.perf_counter() > stop:
                break
    low, high = _interval(np.asarray(ratios), seed, confidence)
    return Speed(speedup=float(np.median(ratios)), low=low, high=high, pairs=len(ratios))


def _ratio(original: Session, candidate: Session, feed: Batch, *, swapped: bool) -> float:
    """Time of the original / time of the candidate; who goes first alternates, because the first warms the cache."""
    first, second = (candidate, original) if swapped else (original, candidate)
    start = time.perf_counter()
    first.run(feed)
    middle = time.perf_counter()
    second.run(feed)
    end = time.perf_counter()
    ratio = (middle - start) / (end - middle)
    return 1 / ratio if swapped else ratio


def _interval(ratios: np.ndarray, seed: int, confidence: float) -> tuple[float, float]:
    picks = np.random.default_rng(seed).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    beyond = (1 - confidence) / 2
    low, high = np.quantile(np.median(ratios[picks], axis=1), (beyond, 1 - beyond))
    return float(low), float(high)
