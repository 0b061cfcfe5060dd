"""The error through the depth as a table for the console."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from onnxzip.records import LayerError
from onnxzip.report.words import decibels, share

MOST = 10
"""Layers shown; all of them are in the JSON."""

_BAR = 12
"""Characters of the bar that says how deep a layer lies."""


def worst(layers: Sequence[LayerError], most: int = MOST) -> Table:
    """The layers with the largest born error, largest first, each with its place in the depth."""
    ranked = sorted(range(len(layers)), key=lambda i: (not layers[i].suspect, _born(layers[i]), i))
    table = Table(
        title=f"Where the error is born: {min(most, len(layers))} of {len(layers)} values", title_justify="left"
    )
    for name in ("depth", "layer", "value"):
        table.add_column(name, overflow="fold")
    for name in ("born here", "share", "gathered"):
        table.add_column(name, justify="right")
    for index in ranked[:most]:
        e = layers[index]
        table.add_row(
            _bar(index, len(layers)),
            Text(e.node),
            Text(e.name),
            _decibels(e.born_db),
            share(e.share),
            _decibels(e.sqnr_db),
            style="red" if e.suspect else None,
        )
    return table


def _born(e: LayerError) -> float:
    return math.inf if e.born_db is None else e.born_db


def _decibels(value: float | None) -> str:
    return "not float" if value is None else decibels(value)


def _bar(index: int, count: int) -> str:
    """How deep a layer lies: from the input on the left to the output on the right.

    >>> _bar(0, 5), _bar(4, 5)
    ('█···········', '████████████')
    """
    filled = 1 + round((_BAR - 1) * index / max(count - 1, 1))
    return "█" * filled + "·" * (_BAR - filled)
