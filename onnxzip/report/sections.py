"""The parts of the page that show figures: size, time, what quantization cost, channels. What a run has not gives no part."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Callable, Iterator, Sequence

from onnxzip.records import Details, Facts, Held, LayerError, Range, RunRecord, Sensitivity, Width
from onnxzip.report.charts import Bar, Span, bars, course, parts, spans
from onnxzip.report.shapes import Chart, Section, Table
from onnxzip.report.words import change, decibels, microseconds, short_share, size

MOST = 20
"""Rows of a chart; the table behind it has all."""

LEAST = 0.002
"""A row that is a smaller part of all is summed up with the others at the end."""

BOTH = (("before", "original"), ("after", "result"))


def sections(record: RunRecord) -> tuple[Section, ...]:
    """All parts for which there is something to show, in the order of the page."""
    found = [
        Section("where", "Where bytes and time go", "", (*_sizes(record), *_times(record))),
        Section("loss", "What it cost", _loss_text(record), tuple(_losses(record))),
        Section("channels", "Channels that went", "", tuple(_channels(record))),
    ]
    return tuple(s for s in found if s.charts)


def layers_of(record: RunRecord) -> tuple[LayerError, ...]:
    """The error through the depth, of what was asked for or else of the result."""
    return record.verdict.layers or record.result.layers


# Size


def _sizes(record: RunRecord) -> Iterator[Chart]:
    details = record.details
    if details is None:
        return
    for what, rows in (("layer", details.by_layer), ("operator", details.by_operator)):
        yield _held_chart(f"size-{what}", f"Size by {what}", what, _whole(rows, record.before, record.after))


def _whole(rows: Sequence[Held], before: Facts, after: Facts) -> tuple[Held, ...]:
    """The rows, and one for the rest of the file, so that they add up to it."""
    rest = (before.bytes - sum(r.before for r in rows), after.bytes - sum(r.after for r in rows))
    graph = Held(name="nodes, names, shapes", operator="", before=max(0, rest[0]), after=max(0, rest[1]))
    return tuple(sorted((*rows, graph), key=lambda r: (-max(r.before, r.after), r.name)))


def _held_chart(key: str, title: str, what: str, rows: Sequence[Held]) -> Chart:
    labels = short_names([r.name for r in rows])
    shown = [
        Bar(label, (r.before, r.after), f"{size(r.before)} → {size(r.after)}")
        for label, r in zip(labels, rows, strict=True)
    ]
    cut = _cut(shown, size)
    table = Table(
        title,
        (what, "original", "result", "change")
        if what == "operator"
        else (what, "operator", "original", "result", "change"),
        tuple(
            (
                r.name,
                *([r.operator] if what != "operator" else []),
                size(r.before),
                size(r.after),
                change(r.before, r.after),
            )
            for r in rows
        ),
        frozenset({1, 2, 3} if what == "operator" else {2, 3, 4}),
    )
    top = rows[0]
    text = f"Weights and other constants, by the {what} that reads them."
    described = f"{len(rows)} rows, largest first: {top.name} from {size(top.before)} to {size(top.after)}. All numbers are in the table below."
    return Chart(key, title, text, bars(key, cut, title, described), BOTH, table, 2 * len(cut))


# Time


def _times(record: RunRecord) -> Iterator[Chart]:
    details = record.details
    if details is None or not details.latency:
        return
    rows = details.latency
    shown = [
        Bar(r.operator, (r.before, r.after), f"{microseconds(r.before)} → {microseconds(r.after)}")
        for r in sorted(rows, key=lambda r: -max(r.before, r.after))
    ]
    cut = _cut(shown, microseconds, most=12)
    table = Table(
        "Latency by operator",
        ("operator", "what the runtime made of it", "original", "result", "change"),
        tuple(
            (r.operator, ", ".join(r.kernels), microseconds(r.before), microseconds(r.after), change(r.before, r.after))
            for r in rows
        ),
        frozenset({2, 3, 4}),
    )
    before, after = sum(r.before for r in rows), sum(r.after for r in rows)
    text = (
        f"One run on one thread, as onnxruntime's profile has it: {microseconds(before)} in the original, {microseconds(after)} in the result, in all. "
        "The profile slows both down a little; the speed-up above is measured without it, in pairs."
    )
    described = (
        f"{len(rows)} operators, longest first. In all {microseconds(before)} before and {microseconds(after)} after."
    )
    title = "Latency by operator"
    svg = bars("latency", cut, title, described)
    yield Chart("latency", title, text, svg, BOTH, table, 2 * len(cut))


# What it cost


def _loss_text(record: RunRecord) -> str:
    if record.details is None or not (record.details.ranges or record.details.sensitivity):
        return ""
    taken = next((s for s in record.stages if s.name == "quantize" and not s.kept), None)
    of = " It is about the model that was taken back." if taken is not None else ""
    return f"Seen on {record.details.samples} {record.details.source} samples.{of}"


def _losses(record: RunRecord) -> Iterator[Chart]:
    if layers := [e for e in layers_of(record) if e.sqnr_db is not None]:
        yield _depth_chart(layers)
    details = record.details
    if details is not None and details.sensitivity:
        yield _sensitivity_chart(details)
    if details is not None and details.ranges:
        yield _range_chart(details)


def error_share(sqnr_db: float) -> float:
    """Root of error power over signal power, for an SQNR in dB.

    >>> round(error_share(40.0), 3), error_share(math.inf)
    (0.01, 0.0)
    """
    return 0.0 if sqnr_db == math.inf else 10 ** (-sqnr_db / 20)


def _depth_chart(layers: Sequence[LayerError]) -> Chart:
    values = [100 * error_share(e.sqnr_db) for e in layers if e.sqnr_db is not None]
    born = [0.0 if e.born_db is None else 100 * error_share(e.born_db) for e in layers]
    worst = max(range(len(layers)), key=lambda i: born[i])
    title = "Error through the depth of the network"
    described = f"{len(layers)} layers. At the end the error is {values[-1]:.2g} % of the signal. Most is born in {layers[worst].node}: {born[worst]:.2g} %."
    table = Table(
        title,
        ("layer", "error so far", "SQNR so far", "born here", "share of all"),
        tuple(
            (e.node, f"{v:.2f} %", decibels(e.sqnr_db), f"{b:.2f} %", short_share(e.share))
            for e, v, b in zip(layers, values, born, strict=True)
        ),
        frozenset({1, 2, 3, 4}),
    )
    text = "How far each layer is from the original's: all error so far, and the part that the layer itself adds. In percent of the layer's signal."
    legend = (("after", "so far"), ("before", "born here"))
    return Chart("depth", title, text, course("depth", values, born, "error, %", title, described), legend, table, 12)


def _sensitivity_chart(details: Details) -> Chart:
    rows: Sequence[Sensitivity] = sorted(details.sensitivity, key=lambda s: s.sqnr_db)
    labels = short_names([r.node for r in rows])
    errors = [error_share(r.sqnr_db) for r in rows]
    shown = [Bar(label, (e,), short_share(e)) for label, e in zip(labels, errors, strict=True)]
    title = "Sensitivity by layer"
    table = Table(
        title,
        ("layer", "operator", "error at the output", "SQNR"),
        tuple((r.node, r.operator, short_share(e), decibels(r.sqnr_db)) for r, e in zip(rows, errors, strict=True)),
        frozenset({2, 3}),
    )
    more = f" {details.untried} smaller layers were not tried." if details.untried else ""
    text = f"The error at the outputs when this layer alone is quantized and all others stay float, in percent of the signal. Dearest first.{more}"
    described = f"{len(rows)} layers. The dearest is {rows[0].node} with {short_share(errors[0])}."
    svg = bars("sensitivity", shown[:MOST], title, described)
    return Chart("sensitivity", title, text, svg, (("after", "error at the output"),), table, len(rows[:MOST]))


def _range_chart(details: Details) -> Chart:
    rows: Sequence[Range] = sorted(details.ranges, key=lambda r: (-r.clipped, -_overhang(r)))
    labels = short_names([r.tensor for r in rows])
    title = "Activation ranges and their clips"
    shown = [
        Span(
            label,
            (r.low / _extent(r), r.high / _extent(r)),
            (r.clip_low / _extent(r), r.clip_high / _extent(r)),
            f"{short_share(r.clipped)} clipped" if r.clipped else "nothing clipped",
        )
        for label, r in zip(labels, rows, strict=True)
    ]
    table = Table(
        title,
        ("tensor", "integers", "smallest", "largest", "clip from", "clip to", "clipped"),
        tuple(
            (r.tensor, r.dtype, *(f"{v:.4g}" for v in (r.low, r.high, r.clip_low, r.clip_high)), short_share(r.clipped))
            for r in rows
        ),
        frozenset(range(2, 7)),
    )
    more = (
        f" {details.per_token} more tensors have a scale for each token, which clips nothing."
        if details.per_token
        else ""
    )
    text = (
        f"What the values were (line) and what their integers can stand for (bar), each row by its own largest value. The {details.method} method chose "
        f"the clips.{more}"
    )
    described = f"{len(rows)} tensors, the most clipped first: {rows[0].tensor} loses {short_share(rows[0].clipped)} of its values."
    svg = spans("ranges", shown[:MOST], title, described)
    return Chart(
        "ranges", title, text, svg, (("after", "kept by the integers"), ("ink", "seen")), table, len(rows[:MOST])
    )


def _extent(r: Range) -> float:
    return max(abs(r.low), abs(r.high)) or max(abs(r.clip_low), abs(r.clip_high)) or 1.0


def _overhang(r: Range) -> float:
    """How far the values reach beyond the clip, relative to their extent."""
    return max(r.high - r.clip_high, r.clip_low - r.low) / _extent(r)


# Channels


def _channels(record: RunRecord) -> Iterator[Chart]:
    for stage in record.stages:
        lost = [w for w in stage.widths if w.after < w.before]
        if stage.kept and lost:
            yield _width_chart(stage.name, lost, stage.widths)


def _width_chart(stage: str, lost: Sequence[Width], widths: Sequence[Width]) -> Chart:
    key, exact = f"channels-{stage}", stage == "eliminate"
    rows = sorted(lost, key=lambda w: (w.after - w.before, w.name))
    labels = short_names([_bare(w.name) for w in rows])
    shown = [
        Bar(label, (w.after, w.before - w.after), f"{w.before} → {w.after}")
        for label, w in zip(labels, rows, strict=True)
    ]
    title = "Channels that did nothing" if exact else "Channels that were pruned"
    gone = sum(w.before - w.after for w in rows)
    table = Table(
        f"{title}, and why the rest stayed",
        ("layer", "tied to it", "before", "after", "why the rest stayed"),
        tuple((w.name, ", ".join(w.tied), str(w.before), str(w.after), "; ".join(w.stayed)) for w in widths),
        frozenset({2, 3}),
    )
    how = (
        "They were zero, constant, dead or copies: the numbers stay the same."
        if exact
        else "They cost least; the layers behind were fitted again."
    )
    described = f"{gone} channels went, from {len(rows)} classes of layers. {_bare(rows[0].name)}: {rows[0].before} become {rows[0].after}."
    classes = "one class" if len(rows) == 1 else f"{len(rows)} classes"
    text = f"{gone} channels, in {classes} of layers whose channels go together. {how}"
    legend = (("after", "stayed"), ("lost", "went"))
    return Chart(key, title, text, parts(key, shown[:MOST], title, described), legend, table, len(rows[:MOST]))


def _bare(name: str) -> str:
    """The node of `Conv 'node'`."""
    return name.partition("'")[2].rstrip("'") or name


# Names


def short_names(names: Sequence[str]) -> list[str]:
    """Names for labels: the path that all begin with goes, and all but the first of several that were joined by `;` (TensorFlow).

    What would no longer tell two apart keeps its parts.

    >>> short_names(["net/a/conv", "net/b/conv;net/b/bias"])
    ['a/conv', 'b/conv']
    """
    paths = [n.lstrip("/") for n in names if "/" in n]
    common = f"{posixpath.commonpath(paths)}/" if len(paths) > 1 else ""
    whole = [n.lstrip("/").removeprefix(common) if "/" in n else n for n in names]
    short = [w.partition(";")[0] or w for w in whole]
    return [s if short.count(s) == 1 else w for s, w in zip(short, whole, strict=True)]


def _cut(rows: Sequence[Bar], unit: Callable[[float], str], most: int = MOST) -> list[Bar]:
    """The first rows, and one that sums up the others: those beyond `most`, and those at the end that are next to nothing."""
    total = math.fsum(max(r.values) for r in rows)
    worth = sum(max(r.values) >= LEAST * total for r in rows)
    count = len(rows) if len(rows) <= min(most, worth + 1) else min(most - 1, max(worth, 1))
    shown, rest = list(rows[:count]), rows[count:]
    if not rest:
        return shown
    values = tuple(math.fsum(column) for column in zip(*(r.values for r in rest), strict=True))
    return [*shown, Bar(f"{len(rest)} more together", values, " → ".join(map(unit, values)))]
