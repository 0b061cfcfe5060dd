"""What quantization cost, as charts: the error through the depth, each layer alone, ranges and clips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from onnxzip.records import Details, LayerError, Range, RunRecord, Sensitivity
from onnxzip.report.charts import Bar, Span, bars, course, spans
from onnxzip.report.labels import MOST, short_names
from onnxzip.report.shapes import Chart, Table
from onnxzip.report.words import decibels, samples, short_share


def loss_text(record: RunRecord) -> str:
    """What the charts were taken on, of which model, and what is not shown."""
    details = record.details
    if details is None or not (details.ranges or details.sensitivity or details.layers):
        return ""
    words = [f"Seen on {samples(details.samples, details.source)}."]
    tried = [s for s in record.stages if s.name in ("quantize", "weights")]
    if tried and not any(s.kept for s in tried):
        words.append("It is about the model that was taken back.")
    if details.per_token and not details.ranges:
        words.append(f"All {details.per_token} quantized activations have a scale for each token: nothing is clipped.")
    if details.unseen:
        words.append(f"The depth could not be looked at: {details.unseen}.")
    return " ".join(words)


def losses(record: RunRecord) -> Iterator[Chart]:
    """The charts that there is something for."""
    details = record.details
    seen = details.layers if details is not None else record.verdict.layers
    if layers := [e for e in seen if e.sqnr_db is not None]:
        yield _depth_chart(layers)
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
    text = "How far each layer is from that of the float model: all error so far, and the part that is born in the layer itself. In percent of its signal."
    legend = (("after", "so far"), ("before", "born here"))
    return Chart("depth", title, text, course("depth", values, born, "error, %", title, described), legend, table)


def _sensitivity_chart(details: Details) -> Chart:
    rows: Sequence[Sensitivity] = sorted(details.sensitivity, key=lambda s: s.sqnr_db)
    labels = short_names([r.node for r in rows], [r.operator for r in rows])
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
    return Chart("sensitivity", title, text, svg, (("after", "error at the output"),), table)


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
    return Chart("ranges", title, text, svg, (("after", "kept by the integers"), ("ink", "seen")), table)


def _extent(r: Range) -> float:
    return max(abs(r.low), abs(r.high)) or max(abs(r.clip_low), abs(r.clip_high)) or 1.0


def _overhang(r: Range) -> float:
    """How far the values reach beyond the clip, relative to their extent."""
    return max(r.high - r.clip_high, r.clip_low - r.low) / _extent(r)
