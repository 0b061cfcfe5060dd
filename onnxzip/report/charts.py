"""Charts as SVG that stands in a page: drawn by matplotlib, then made to follow the page's colours and fonts.

Colours are drawn as codes that no palette holds and become CSS variables, so that a chart is right in light, in dark and in print. Text stays
text. All charts are narrow, with labels above their bars: as legible on a phone as beside each other on a desk. The same numbers give the same bytes.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onnxzip.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.4
"""Inches; 72 units of the picture each."""

_INKS = {name: f"#01{i:02x}fe" for i, name in enumerate(("ink", "muted", "line", "before", "after", "lost"), start=1)}
"""Stand-ins for the variables of the page."""

_SETTINGS = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that text is laid out alike everywhere
}

LABEL, VALUE, BAR = 9.4, 8.8, 0.12
"""Sizes of text in points, and height of a bar in inches."""


@dataclass(frozen=True)
class Bar:
    """One row: a label, and one bar for each value; `text` stands at the end of the label's line."""

    label: str
    values: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Span:
    """What was seen and what is kept of it, both relative to the largest magnitude of the row."""

    label: str
    seen: tuple[float, float]
    kept: tuple[float, float]
    text: str


def bars(key: str, rows: Sequence[Bar], title: str, description: str) -> str:
    """Rows of bars, one below the other: the first in the colour of the original where there are two."""
    count = max(len(r.values) for r in rows)
    inks = ("before", "after") if count == 2 else ("after",)
    largest = max((v for r in rows for v in r.values), default=0.0) or 1.0

    def draw(axes: Axes, top: float, row: Bar) -> None:
        for i, (value, ink) in enumerate(zip(row.values, inks, strict=False)):
            _bar(axes, top + i * (BAR + 0.03), 0.0, value / largest, ink)

    return _rows(key, rows, draw, count * (BAR + 0.03), title, description)


def parts(key: str, rows: Sequence[Bar], title: str, description: str) -> str:
    """Rows of one bar in two parts: what stayed, then what went."""
    largest = max((sum(r.values) for r in rows), default=0.0) or 1.0

    def draw(axes: Axes, top: float, row: Bar) -> None:
        kept, gone = row.values
        _bar(axes, top, 0.0, kept / largest, "after")
        _bar(axes, top, kept / largest, gone / largest, "before", hatch="////")

    return _rows(key, rows, draw, BAR, title, description)


def spans(key: str, rows: Sequence[Span], title: str, description: str) -> str:
    """Rows of a thick bar, what is kept, and a thin line with ends, what was seen; zero is in the middle, or at the left."""
    left = -1.0 if any(min(*r.seen, *r.kept) < 0 for r in rows) else 0.0

    def place(value: float) -> float:
        return (min(max(value, -1.5), 1.5) - 1.5 * left) / (1.5 - 1.5 * left)

    def draw(axes: Axes, top: float, row: Span) -> None:
        low, high = map(place, row.kept)
        _bar(axes, top, low, high - low, "after", alpha=0.55)
        middle = top + BAR / 2
        low, high = map(place, row.seen)
        axes.plot([low, high], [middle, middle], color=_INKS["ink"], linewidth=1.2, marker="|", markersize=6)
        axes.plot([place(0.0)] * 2, [top - 0.02, top + BAR + 0.02], color=_INKS["muted"], linewidth=0.6)

    return _rows(key, rows, draw, BAR, title, description)


def course(key: str, values: Sequence[float], born: Sequence[float], unit: str, title: str, description: str) -> str:
    """A line through the depth of the network over bars for what each layer adds. What no error reaches but that of rounding (masks, shapes) is no point of the line."""
    figure, axes = _figure(2.6)
    from matplotlib.ticker import MaxNLocator

    axes.set_position((0.11, 0.16, 0.87, 0.78))
    places = range(1, len(values) + 1)
    axes.bar(places, born, width=0.8, color=_INKS["before"])
    axes.plot(
        places, values, color=_INKS["after"], linewidth=1.8, marker="o" if len(values) <= 40 else "", markersize=3
    )
    axes.set_xlim(0.3, len(values) + 0.7)
    axes.set_ylim(0, (max((*values, *born), default=0.0) or 1.0) * 1.08)
    axes.set_ylabel(unit, fontsize=VALUE, color=_INKS["muted"])
    axes.set_xlabel("layer, from input to output", fontsize=VALUE, color=_INKS["muted"])
    axes.tick_params(colors=_INKS["muted"], labelsize=VALUE, length=0)
    axes.grid(axis="y", color=_INKS["line"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_INKS["line"])
    return _finish(figure, key, title, description)


def _rows(
    key: str, rows: Sequence[Any], draw: Callable[[Any, float, Any], None], thick: float, title: str, description: str
) -> str:
    """Labels, texts and whatever `draw` draws, one row below the other. Lengths across are shares of the width, those down are inches."""
    pitch = 0.2 + thick + 0.1
    height = pitch * len(rows)
    figure, axes = _figure(height)
    axes.set_position((0, 0, 1, 1))
    axes.set_xlim(-0.004, 1.004)
    axes.set_ylim(height, 0)
    axes.axis("off")
    for i, row in enumerate(rows):
        top = i * pitch
        room = WIDTH * 72 - _width(row.text, VALUE) - 12
        axes.text(0, top + 0.15, _shorten(row.label, room), fontsize=LABEL, color=_INKS["ink"], parse_math=False)
        axes.text(1, top + 0.15, row.text, fontsize=VALUE, color=_INKS["muted"], ha="right", parse_math=False)
        draw(axes, top + 0.2, row)
    return _finish(figure, key, title, description)


def _bar(axes: Axes, top: float, left: float, width: float, ink: str, *, hatch: str = "", alpha: float = 1.0) -> None:
    """A bar; what is not nothing can be seen."""
    shown = max(width, 0.003) if width > 0 else 0.0
    style: dict[str, Any] = {"color": _INKS[ink], "linewidth": 0, "alpha": alpha}
    if hatch:
        style = {"facecolor": "none", "edgecolor": _INKS["lost"], "linewidth": 0.8, "hatch": hatch}
    axes.barh(top + BAR / 2, shown, height=BAR, left=left, **style)


def _width(text: str, points: float) -> float:
    """How wide a text is, in units of the picture. The font is a wide one, so that others fit as well."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_SETTINGS["font.family"], size=points)
    with any_glyph():
        width: float = text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]
    return width


def _shorten(label: str, room: float) -> str:
    """The label on one line; without its middle, where it is too wide: what tells layers apart is mostly at an end."""
    label = " ".join(label.split())
    wide = _width(label, LABEL)
    if wide <= room:
        return label
    kept, shown = int(len(label) * room / wide) + 3, label
    while kept > 8 and _width(shown, LABEL) > room:
        kept -= 1
        shown = f"{label[: kept // 2]}…{label[len(label) - kept + kept // 2 :]}"
    return shown


def _figure(height: float) -> tuple[Figure, Axes]:
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise needs_extra() from error
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    return figure, axes


def needs_extra() -> UsageError:
    """What to say where jinja2 or matplotlib is not there."""
    return UsageError("an HTML report needs jinja2 and matplotlib: pip install 'onnxzip[report]'")


@contextlib.contextmanager
def any_glyph() -> Iterator[None]:
    """No warning of characters that matplotlib's font lacks: names are the user's text, and in SVG the reader's own font draws them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


def _finish(figure: Figure, key: str, title: str, description: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": key}), any_glyph():
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    return _inline(buffer.getvalue(), key, title, description)


def _inline(svg: str, key: str, title: str, description: str) -> str:
    """An element for a page: sized by it, coloured by it, named for screen readers, its identifiers nobody else's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    for name, code in _INKS.items():
        svg = svg.replace(code, f"var(--{name})")
    svg = re.sub(r" font-family: [^;\"]*;|\s*<defs>\s*</defs>| transform=\"rotate\(-0 [^\"]*\"", "", svg)
    used = set(re.findall(r"#([\w.-]+)", svg))
    svg = re.sub(r'\s+id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{key}-", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view[0] if view else ""} role="img" '
        f'aria-labelledby="{key}-title {key}-desc"><title id="{key}-title">{html.escape(title)}</title>'
        f'<desc id="{key}-desc">{html.escape(description)}</desc>'
    )
    return head + re.sub(r"\s*\n\s*", "\n", svg[svg.index(">") + 1 :]).strip()
