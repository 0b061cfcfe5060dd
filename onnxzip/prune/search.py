"""The largest ratio whose pruned and re-fitted model a judge accepts, by bisection over a grid of ratios.

Ranking is done once; each ratio that is tried costs a re-fit and a judgement, five at most. Bisection takes it that a model
from which more was removed is no better; where that fails, what is found is still accepted, if perhaps not the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxzip.calibrate.gather import ROWS
from onnxzip.progress import SILENT, Observer
from onnxzip.prune.lossy import BY, rank, refit, shrink
from onnxzip.prune.reduction import Reduction
from onnxzip.records import Width
from onnxzip.runtime import Batch

GRID = (0.02, 0.05, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
"""The ratios that `search` tries some of."""

Judge = Callable[[ir.Model], tuple[bool, float]]
"""Whether a candidate is good enough, and by how much, for the record. It should look at data that no re-fit saw."""


@dataclass(frozen=True, eq=False)
class Found:
    """The outcome of a search.

    Attributes:
        model, record: the best model that was accepted and its record; None when none was.
        tried: each candidate, as the part that went, whether it was accepted, and the judge's figure.
        why: why there is none.
    """

    model: ir.Model | None
    record: Reduction | None
    tried: tuple[tuple[float, bool, float], ...]
    why: str = ""


def search(
    model: ir.Model,
    data: Iterable[Batch],
    accept: Judge,
    *,
    by: str = BY[0],
    round_to: int = 8,
    grid: Sequence[float] = GRID,
    rows: int = ROWS,
    observer: Observer = SILENT,
) -> Found:
    """The largest ratio of a grid whose pruned and re-fitted model is accepted, found by bisection.

    Args:
        model: the model. It is not changed.
        data: what to rank and re-fit on.
        accept: the judge.
        by: see `shrink`.
        round_to: see `shrink`.
        grid: ratios, ascending.
        rows: see `rank`.
        observer: follows it.
    """
    ranking = rank(model, data, rows=rows, observer=observer)
    low, high = 0, len(grid)
    best: tuple[ir.Model, Reduction] | None = None
    tried: list[tuple[float, bool, float]] = []
    seen: dict[tuple[Width, ...], bool] = {}
    while low < high:
        middle = (low + high) // 2
        shrunk = shrink(model, ranking, ratio=grid[middle], by=by, round_to=round_to)
        if not shrunk.record.removed:
            return Found(None, None, tuple(tried), "no channel can go at all")
        if shrunk.record.widths in seen:  # steps are coarse: several ratios come to the same
            good = seen[shrunk.record.widths]
        else:
            candidate = refit(model, shrunk, data, rows=rows, observer=observer)
            good, score = accept(candidate[0])
            tried.append((shrunk.record.reached, good, score))
            seen[shrunk.record.widths] = good
            best = candidate if good else best
        low, high = (middle + 1, high) if good else (low, middle)
        if good and shrunk.record.reached < grid[middle]:
            break  # this is all that can go
    if best is None:
        return Found(None, None, tuple(tried), f"even {min(t[0] for t in tried):.1%} fewer {by} cost too much")
    return Found(*best, tuple(tried))
