"""The points of an exploration as a picture: size and speed-up over fidelity, the front marked, drawn by matplotlib.

Two panels share the fidelity axis, for three figures do not fit into one. In each, a line joins the points that are best in its own two figures; filled
points are on the front of all three. Bars are the 95 % intervals of the speed-up.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from onnxzip.errors import UsageError
from onnxzip.explored import SAME_DB, Exploration, Point
from onnxzip.report.charts import any_glyph
from onnxzip.report.label_places import places
from onnxzip.report.words import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png")

INK, MUTED, LINE, OTHER, FRONT, MISSED = "#18202b", "#55606e", "#dde2e8", "#a3adb9", "#0f6cbd", "#9b1c24"
_SETTINGS: Any = {"svg.fonttype": "none", "font.family": "DejaVu Sans", "svg.hashsalt": "onnxzip"}


@dataclass(frozen=True)
class Mark:
    """A point in one panel: where, and its interval along x."""

    point: Point
    x: float
    y: float
    interval: tuple[float, float] | None


def check_plot() -> None:
    """Whether a plot can be drawn.

    Raises:
        UsageError: matplotlib is not there.
    """
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError as error:
        raise UsageError("a plot needs matplotlib: pip install 'onnxzip[report]'") from error


def plot(record: Exploration, kind: Literal["svg", "png"] = "svg") -> bytes:
    """Draw it. The same record gives the same bytes.

    Raises:
        UsageError: matplotlib is not there, or no point was judged.
    """
    check_plot()
    import matplotlib as mpl

    points = [p for p in record.points if p.size_ratio is not None and p.same_as is None and _fidelity(record, p)]
    if not points:
        raise UsageError("there is nothing to plot: no point was judged")
    panels = [("size, % of the original (less is better)", lambda p: 100 * (p.size_ratio or 0), None, -1)]
    if any(p.speed is not None for p in points):
        panels.append(("speed-up, × (more is better)", _speedup, _interval, 1))  # type: ignore[arg-type]
    buffer = io.BytesIO()
    with mpl.rc_context(_SETTINGS), any_glyph():
        figure = _figure(record, points, panels)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type")) if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=150, metadata=nothing)
    return buffer.getvalue()


def _figure(record: Exploration, points: Sequence[Point], panels: Sequence[Any]) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6 * len(panels), 5.0), facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.13 / len(panels), right=0.985, top=0.86, bottom=0.13, wspace=0.05)
    figure.text(
        0.012, 0.955, _short(record.source), fontsize=12, fontweight="bold", color=INK, va="center", parse_math=False
    )
    legend = "filled: on the front of size, speed and fidelity · ring: another is better · red: misses the budget · +: original"
    figure.text(0.012, 0.905, f"{size(record.bytes)} · {legend}", fontsize=8, color=MUTED, va="center")
    low, high = _bounds(record, points)
    for axis, (title, value, interval, direction) in zip(axes, panels, strict=True):
        marks = [Mark(p, value(p), _y(record, p), interval(p) if interval else None) for p in points]
        _dress(axis, title, (low, high))
        _budget(axis, record)
        _draw(axis, marks, (_original(direction), _equal(record)))
        _join(axis, marks, direction)
    axes[0].set_yticks([t for t in axes[0].get_yticks() if low <= t <= _equal(record) + 1e-9])
    axes[0].set_ylabel(_words(record), fontsize=9, color=MUTED)
    canvas.draw()
    for axis, (_, value, _, direction) in zip(axes, panels, strict=True):
        ordered = [(p, value(p), _y(record, p)) for p in sorted(points, key=lambda p: not p.on_front)]
        _label(axis, canvas, ordered, (_original(direction), _equal(record)))
    return figure


def _dress(axis: Axes, title: str, bounds: tuple[float, float]) -> None:
    axis.set_ylim(*bounds)
    axis.set_xlabel(title, fontsize=9, color=MUTED)
    axis.grid(color=LINE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.margins(x=0.1)
    axis.tick_params(colors=MUTED, labelsize=8.5, length=0)
    axis.ticklabel_format(useOffset=False)
    for side, spine in axis.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(OTHER)


def _draw(axis: Axes, marks: Sequence[Mark], original: tuple[float, float]) -> None:
    axis.plot([original[0]], [original[1]], marker="+", markersize=11, color=INK, linestyle="none", zorder=2)
    for m in marks:
        ink = MISSED if not m.point.passed else FRONT if m.point.on_front else OTHER
        if m.interval is not None:
            axis.plot(m.interval, [m.y, m.y], color=ink, linewidth=1.4, alpha=0.45, zorder=2)
        face = ink if m.point.on_front else "white"
        axis.plot([m.x], [m.y], marker="o", markersize=7.5, mec=ink, mfc=face, mew=1.6, linestyle="none", zorder=4)


def _join(axis: Axes, marks: Sequence[Mark], direction: int) -> None:
    """The points that no other one beats in this panel: from the best along x on, each must be of more fidelity than those before."""
    best: list[Mark] = []
    for m in sorted(marks, key=lambda m: (-direction * m.x, -m.y)):
        if not best or m.y > best[-1].y:
            best.append(m)
    axis.plot([m.x for m in best], [m.y for m in best], color=FRONT, linewidth=1.2, alpha=0.5, zorder=3)


def _budget(axis: Axes, record: Exploration) -> None:
    limits = record.config.get("budget")
    key, scale = ("min_agreement", 100.0) if _has_decisions(record) else ("min_sqnr_db", 1.0)
    limit = limits.get(key) if isinstance(limits, dict) else None
    if limit is not None and axis.get_ylim()[0] < scale * limit:
        axis.axhline(scale * limit, color=MISSED, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7, zorder=1)


def _label(
    axis: Axes, canvas: Any, points: Sequence[tuple[Point, float, float]], original: tuple[float, float]
) -> None:
    """Names beside the points, those of the front first; a thin line leads to a label that is not close."""
    pixels = canvas.figure.dpi / 72
    where = [tuple(map(float, axis.transData.transform((x, y)))) for _, x, y in points]
    left, up = map(float, axis.transData.transform(original))
    sizes = []
    for p, _, _ in points:
        text = axis.text(0, 0, p.name, fontsize=8)
        extent = text.get_window_extent(canvas.get_renderer())
        text.remove()
        sizes.append((extent.width + 8, extent.height + 2))  # two names side by side are two words
    frame = axis.get_window_extent()
    boxes = places(where, sizes, (frame.x0, frame.y0, frame.x1, frame.y1), 7 * pixels, [(left, up)])  # type: ignore[arg-type]
    back = axis.transData.inverted().transform
    for (point, x, y), (px, py), box in zip(points, where, boxes, strict=True):
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        near = (min(max(px, box[0]), box[2]), min(max(py, box[1]), box[3]))
        if abs(near[0] - px) + abs(near[1] - py) > 12 * pixels:
            end = back(near)
            axis.plot([x, end[0]], [y, end[1]], color=OTHER, linewidth=0.6, zorder=1)
        ink = INK if point.on_front else MUTED
        ground: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}
        across, up = back(middle)
        axis.text(across, up, point.name, fontsize=8, color=ink, ha="center", va="center", zorder=5, bbox=ground)


def _has_decisions(record: Exploration) -> bool:
    return any(p.agreement is not None for p in record.points)


def _fidelity(record: Exploration, point: Point) -> bool:
    return (point.agreement if _has_decisions(record) else point.sqnr_db) is not None


def _y(record: Exploration, point: Point) -> float:
    if _has_decisions(record):
        return 100 * (point.agreement or 0.0)
    return min(SAME_DB, max(point.sqnr_db or 0.0, -20.0))


def _original(direction: int) -> float:
    """Where the original lies along x: all of its size, once its speed."""
    return 100.0 if direction < 0 else 1.0


def _equal(record: Exploration) -> float:
    """Where it lies along y."""
    return 100.0 if _has_decisions(record) else SAME_DB


def _words(record: Exploration) -> str:
    return "same decisions, %" if _has_decisions(record) else f"SQNR, dB (equal: {SAME_DB:.0f})"


def _bounds(record: Exploration, points: Sequence[Point]) -> tuple[float, float]:
    values = [_y(record, p) for p in points] + [_equal(record)]
    room = max(max(values) - min(values), 5.0)  # of a percent or dB: where all are alike, that is what is seen
    return min(values) - 0.14 * room, max(values) + 0.12 * room


def _speedup(point: Point) -> float:
    return 1.0 if point.speed is None else point.speed.speedup


def _interval(point: Point) -> tuple[float, float] | None:
    return None if point.speed is None else (point.speed.low, point.speed.high)


def _short(name: str) -> str:
    return name if len(name) <= 90 else f"…{name[-89:]}"
