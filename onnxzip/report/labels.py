"""Labels of charts: names short enough, rows few enough."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Sequence

from onnxzip.report.charts import Bar

MOST = 20
"""Rows of a chart; the table behind it has all."""

LEAST = 0.002
"""A row that is a smaller part of all is summed up with the others at the end."""


def short_names(names: Sequence[str], operators: Sequence[str] = ()) -> list[str]:
    """Names for labels. What would no longer tell two apart stays.

    1. The path that all begin with goes.
    2. Of several names that were joined by `;` (TensorFlow) the first stays.
    3. The operator goes that exporters put at the end.
    4. The operator comes before what is a number only.

    >>> short_names(["net/a/conv/Conv", "net/b/conv/Conv;net/b/bias"], ["Conv", "Conv"])
    ['a/conv', 'b/conv']
    """
    paths = [n.lstrip("/") for n in names if "/" in n]
    common = f"{posixpath.commonpath(paths)}/" if len(paths) > 1 else ""
    found = [n.lstrip("/").removeprefix(common) if "/" in n else n for n in names]
    ends = [f"/{o}" for o in operators] or [""] * len(names)
    found = _where_unique(found, [n.partition(";")[0] for n in found])
    found = _where_unique(found, [n.removesuffix(end) for n, end in zip(found, ends, strict=True)])
    return [f"{end[1:]} {n}" if end and n.isdecimal() else n for n, end in zip(found, ends, strict=True)]


def _where_unique(names: Sequence[str], shorter: Sequence[str]) -> list[str]:
    """The shorter names, but for those that are empty or the same as another's."""
    return [s if s and shorter.count(s) == 1 else n for n, s in zip(names, shorter, strict=True)]


def cut_off(rows: Sequence[Bar], unit: Callable[[float], str], most: int = MOST) -> list[Bar]:
    """The first rows, and one that sums up the others: those beyond `most`, and those at the end that are next to nothing."""
    total = math.fsum(max(r.values) for r in rows)
    worth = sum(max(r.values) >= LEAST * total for r in rows)
    count = len(rows) if len(rows) <= min(most, worth + 1) else min(most - 1, max(worth, 1))
    shown, rest = list(rows[:count]), rows[count:]
    if not rest:
        return shown
    values = tuple(math.fsum(column) for column in zip(*(r.values for r in rest), strict=True))
    return [*shown, Bar(f"{len(rest)} more together", values, " → ".join(map(unit, values)))]
