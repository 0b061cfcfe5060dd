"""The samples on which a candidate differs most from the original.

For each float output, with r and c the elements of one sample: error = Σ (r - c)² / max(Σ r², 1 % of the mean of Σ r² over the samples), so that samples on which the
original is all but zero do not come first. Samples are ordered by, first, whether an error is infinite, then the
share of decisions that differ (the largest over the outputs), then the error (the largest over the outputs), then their position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxzip.records import WorstSample
from onnxzip.validate.decisions import Array
from onnxzip.validate.metrics import Accumulator, Unit

SMALLEST = 0.01
"""A sample's signal counts as at least this part of the mean."""

KEPT = 10
"""How many are kept."""


def worst_samples(
    outputs: Sequence[Accumulator], positions: Sequence[Array], lost: Sequence[Array] | None = None, count: int = KEPT
) -> tuple[WorstSample, ...]:
    """The worst samples, worst first; those without any difference are not among them.

    Args:
        outputs: one accumulator an output, all of the same batches.
        positions: where the samples of each batch stand in the data, int64 [rows].
        lost: which samples of each batch the original has right and the candidate wrong, bool [rows]; None without labels.
        count: how many at most.
    """
    found: list[tuple[tuple[bool, float, float, int], WorstSample]] = []
    means = {a.name: a.mean_signal for a in outputs}
    for batch, places in enumerate(positions):
        units = [(a, a.units[batch]) for a in outputs]
        errors = {a.name: _spread(_errors(u, means[a.name]), len(places)) for a, u in units if a.is_float}
        error = np.max([np.zeros(len(places)), *errors.values()], axis=0)
        wrong = np.max([np.zeros(len(places)), *(_spread(_wrong(a, u), len(places)) for a, u in units)], axis=0)
        differ = np.flatnonzero((error > 0) | (wrong > 0))
        by_rows = any(len(u.sums) > 1 for _, u in units)
        for row in differ if by_rows else differ[:1]:  # where no output has rows, a batch is one sample
            sample = WorstSample(
                index=int(places[row]),
                batch=batch,
                row=int(row),
                disagreement=float(wrong[row]),
                error=float(error[row]),
                errors={name: float(e[row]) for name, e in errors.items()},
                lost=None if lost is None else bool(lost[batch][row]),
            )
            found.append(((not np.isinf(error[row]), -wrong[row], -error[row], sample.index), sample))
        found = sorted(found, key=lambda f: f[0])[:count]
    return tuple(sample for _, sample in found)


def _errors(unit: Unit, mean: float) -> Array:
    """Relative squared error of each sample; infinite where the original is zero everywhere and the candidate is not."""
    signal, noise = np.maximum(unit.sums[:, 0], SMALLEST * mean), unit.sums[:, 1]
    error = np.divide(noise, signal, out=np.full(len(noise), np.inf), where=signal > 0)
    return np.where(noise == 0, 0.0, error)


def _wrong(output: Accumulator, unit: Unit) -> Array:
    if output.decided is None:
        return np.zeros(1)
    return unit.wrong.get(output.decided[0], np.zeros(1))


def _spread(values: Array, rows: int) -> Array:
    """One figure a sample, where there is but one for the batch."""
    return values if len(values) == rows else np.full(rows, values.max(initial=0))
