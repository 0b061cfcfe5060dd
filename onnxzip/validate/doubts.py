"""What weakens a verdict without failing it, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxzip.config import Budget
from onnxzip.records import OutputMetrics
from onnxzip.validate.comparison import CONFIDENCE, Comparison
from onnxzip.validate.exact import EXACT_SQNR_DB, same_numbers
from onnxzip.validate.intervals import quantile, samples_for_share
from onnxzip.validate.limits import shown

FEW = 10
"""Samples below which every figure is doubted."""


def warnings(found: Comparison, budget: Budget, data: str, samples: int) -> Iterator[str]:
    """Few samples, limits that they do not settle, figures without an interval; arguments as for `judge`."""
    if samples < FEW and data != "made up":
        yield f"{samples} {'samples are' if samples > 1 else 'sample is'} few: the figures may be far from those of more data"
    if budget.confidence is None:
        yield from _unsettled(found, budget)
    elif budget.max_abs_error is not None or budget.max_rel_error is not None:
        yield "the largest errors have no interval: their limits are held on these samples, and that is all that is known"


def on_made_up(metrics: Sequence[OutputMetrics]) -> Iterator[str]:
    """What a verdict on made-up inputs does not tell about a lossy step."""
    yield "the inputs were made up, and say little about real ones: give data (-c DATA)"
    for o in metrics:
        if o.sqnr_db is not None and o.sqnr_db >= EXACT_SQNR_DB:
            yield (
                f"output {o.name!r} did not change: what was done does not reach it, or the made-up inputs do not bring it out "
                "(an output that is the same on all of them)"
            )


def _unsettled(found: Comparison, budget: Budget) -> Iterator[str]:
    """Where a limit lies inside the 95 % interval of its figure, the samples cannot tell pass from fail."""
    for o in found.outputs:
        low, high, limit = o.agreement_low, o.agreement_high, budget.min_agreement
        if same_numbers(o):
            continue
        if o.agreement is not None and _between(low, limit, high):
            needed = samples_for_share(o.agreement, limit or 0.0, quantile(CONFIDENCE))
            tail = "" if needed is None else f", about {needed:,} samples would"
            yield (
                f"output {o.name!r}: {o.decisions} decisions put agreement between {low:.3f} and {high:.3f} (95 %), so they do not settle "
                f"the limit {shown(limit)}: give more data{tail}"
            )
        if o.agreement is None and _between(o.sqnr_low, budget.min_sqnr_db, o.sqnr_high):
            yield (
                f"output {o.name!r}: SQNR lies between {o.sqnr_low:.1f} and {o.sqnr_high:.1f} dB (95 %), so the limit "
                f"{shown(budget.min_sqnr_db)} dB is not settled: give more data"
            )
    for a in found.accuracy:
        if a.lost + a.won and _between(a.drop_low, budget.max_accuracy_drop, a.drop_high):
            yield (
                f"output {a.output!r}: {a.decisions} labelled decisions put the loss of accuracy between {a.drop_low:.3f} and {a.drop_high:.3f} (95 %), "
                f"so they do not settle the limit {shown(budget.max_accuracy_drop)}: give more data"
            )


def _between(low: float | None, limit: float | None, high: float | None) -> bool:
    return low is not None and limit is not None and high is not None and low < limit < high
