"""The parts of the page that show figures: size, time, what quantization cost, channels. What a run has not gives no part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxzip.records import Facts, Held, RunRecord, Width
from onnxzip.report.charts import Bar, bars, parts
from onnxzip.report.labels import MOST, cut_off, short_names
from onnxzip.report.losses import loss_text, losses
from onnxzip.report.shapes import Chart, Section, Table
from onnxzip.report.words import change, microseconds, size

BOTH = (("before", "original"), ("after", "result"))


def sections(record: RunRecord) -> tuple[Section, ...]:
    """All parts for which there is something to show, in the order of the page."""
    found = [
        Section("where", "Where bytes and time go", "", (*_sizes(record), *_times(record))),
        Section("loss", "What it cost", loss_text(record), tuple(losses(record))),
        Section("channels", "Channels that went", "", tuple(_channels(record))),
    ]
    return tuple(s for s in found if s.charts)


# Size


def _sizes(record: RunRecord) -> Iterator[Chart]:
    details = record.details
    if details is None:
        return
    for what, rows in (("operator", details.by_operator), ("layer", details.by_layer)):
        yield _held_chart(f"size-{what}", f"Size by {what}", what, _whole(rows, record.before, record.after))


def _whole(rows: Sequence[Held], before: Facts, after: Facts) -> tuple[Held, ...]:
    """The rows, and one for the rest of the file, so that they add up to it."""
    rest = (before.bytes - sum(r.before for r in rows), after.bytes - sum(r.after for r in rows))
    graph = Held(name="nodes, names, shapes", operator="", before=max(0, rest[0]), after=max(0, rest[1]))
    return tuple(sorted((*rows, graph), key=lambda r: (-max(r.before, r.after), r.name)))


def _held_chart(key: str, title: str, what: str, rows: Sequence[Held]) -> Chart:
    labels = short_names([r.name for r in rows], [r.operator for r in rows])
    shown = [
        Bar(label, (r.before, r.after), f"{size(r.before)} → {size(r.after)}")
        for label, r in zip(labels, rows, strict=True)
    ]
    cut = cut_off(shown, size)
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
    return Chart(key, title, text, bars(key, cut, title, described), BOTH, table)


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
    cut = cut_off(shown, microseconds, most=12)
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
        "The profile slows both down a little: it says where time goes, not how fast they are."
    )
    described = (
        f"{len(rows)} operators, longest first. In all {microseconds(before)} before and {microseconds(after)} after."
    )
    title = "Latency by operator"
    svg = bars("latency", cut, title, described)
    yield Chart("latency", title, text, svg, BOTH, table)


# Channels


def _channels(record: RunRecord) -> Iterator[Chart]:
    for stage in record.stages:
        if stage.kept and any(w.after < w.before for w in stage.widths):
            yield _width_chart(stage.name, stage.widths)


def _width_chart(stage: str, widths: Sequence[Width]) -> Chart:
    key, exact = f"channels-{stage}", stage == "eliminate"
    lost = [w for w in widths if w.after < w.before]
    rows = list({frozenset((w.name, *w.tied)): w for w in reversed(lost)}.values())  # one of each class, the first
    rows.sort(key=lambda w: (w.after - w.before, w.name))
    labels = short_names([_bare(w.name) for w in rows], [w.name.partition(" ")[0] for w in rows])
    shown = [
        Bar(label + (f" + {len(w.tied)}" if w.tied else ""), (w.after, w.before - w.after), f"{w.before} → {w.after}")
        for label, w in zip(labels, rows, strict=True)
    ]
    title = "Channels that did nothing" if exact else "Channels that were pruned"
    table = Table(
        f"{title}, and why the rest stayed",
        ("layer", "tied to it", "before", "after", "why the rest stayed"),
        tuple((w.name, ", ".join(w.tied), str(w.before), str(w.after), "; ".join(w.stayed)) for w in widths),
        frozenset({2, 3}),
    )
    how = (
        "They were zero, constant, dead or copies: the numbers stay the same."
        if exact
        else "They cost least by the data; the layers behind them were fitted again."
    )
    gone = sum(w.before - w.after for w in lost)
    classes = "one class" if len(rows) == 1 else f"{len(rows)} classes"
    text = f"{gone} channels, in {classes} of layers whose channels go together (+ n: so many more layers). {how}"
    described = f"{gone} channels went, from {len(lost)} layers. {_bare(rows[0].name)}: {rows[0].before} become {rows[0].after}."
    legend = (("after", "stayed"), ("lost", "went"))
    svg = parts(key, shown[:MOST], title, described)
    return Chart(key, title, text, svg, legend, table)


def _bare(name: str) -> str:
    """The node of `Conv 'node'`."""
    return name.partition("'")[2].rstrip("'") or name
