"""What the page is made of, as plain data: cards, tables, charts, sections. The template only writes them down."""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD = 120.0
"""What stands above and below a picture, in its units."""


@dataclass(frozen=True)
class Card:
    """A key figure: what it is, its value, what stands below; `share` of the original as a bar, where it makes sense (0 to 1)."""

    label: str
    value: str
    below: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """A table: its caption, its columns, those that hold numbers (by index), and its rows as text."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Chart:
    """A picture and the table behind it.

    Attributes:
        key: its identifier in the page.
        title: what it shows.
        text: how to read it, one or two sentences.
        svg: the picture, an element.
        legend: ink and word of each colour.
        table: every number, also those that the picture leaves out.
    """

    key: str
    title: str
    text: str
    svg: str
    legend: tuple[tuple[str, str], ...]
    table: Table

    @property
    def height(self) -> float:
        """How high the picture is, in its own units; all pictures are equally wide."""
        box = re.search(r'viewBox="0 0 \S+ ([0-9.]+)"', self.svg)
        return float(box[1]) if box else 0.0


@dataclass(frozen=True)
class Section:
    """A part of the page with charts in it."""

    key: str
    title: str
    text: str
    charts: tuple[Chart, ...]

    @property
    def columns(self) -> tuple[tuple[Chart, ...], ...]:
        """The charts in two columns of about the same height, in one where there is one chart; on a phone the second follows the first."""
        if len(self.charts) < 2:
            return (self.charts,)
        columns: tuple[list[Chart], list[Chart]] = ([], [])
        for chart in self.charts:
            min(columns, key=lambda c: sum(x.height + HEAD for x in c)).append(chart)
        return tuple(map(tuple, columns))
