"""A run as one HTML file that needs nothing else: no script, no font, no picture from anywhere.

Written for people who read it on a desk, on a phone, on paper, in the dark or with a screen reader: headings in order, a table behind each chart, colours
from variables. Names of nodes are the user's text, and are escaped wherever they stand.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import PurePath

from onnxzip.config import Config
from onnxzip.records import OutputMetrics, PassRecord, RunRecord, StageRecord, Verdict
from onnxzip.report.charts import needs_extra
from onnxzip.report.figures import banner, cards
from onnxzip.report.sections import sections
from onnxzip.report.shapes import Table
from onnxzip.report.words import decibels, share


def render(record: RunRecord) -> str:
    """The page.

    Raises:
        UsageError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError as error:
        raise needs_extra() from error
    folder = resources.files("onnxzip.report") / "templates"
    template, style = ((folder / name).read_text("utf-8") for name in ("report.html.j2", "report.css"))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    name = PurePath(record.source).name or record.source
    asked = record.verdict != record.result
    page: str = environment.from_string(template).render(
        record=record,
        name=name,
        heading=Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_.-])", name)),
        style=Markup(style),  # noqa: S704 - our own file
        svg=Markup,
        verdict=banner(record.verdict),
        problems=record.verdict.problems,
        asked_for=asked,
        cards=tuple(cards(record)),
        outputs=(outputs_table(record.result, "How the outputs compare"),),
        asked=outputs_table(record.verdict, "What was asked for") if asked else None,
        worst=worst_table(record.verdict),
        sections=sections(record),
        passes={s.name: passes_table(s) for s in record.stages if s.passes},
        taken_back=tuple(_taken_back(record)),
        settings=settings_table(record.config, changed=False),
        changed=settings_table(record.config, changed=True),
        digests=digests_table(record),
        versions=versions_table(record),
    )
    return page


# Tables


def outputs_table(verdict: Verdict, caption: str) -> Table:
    """One row an output, the worst first."""
    rows = sorted(
        verdict.outputs, key=lambda o: (o.agreement or 2.0, math.inf if o.sqnr_db is None else o.sqnr_db, o.name)
    )
    columns = ("output", "same decisions", "95 %", "SQNR", "cosine", "largest error", "relative")
    return without_empty(Table(caption, columns, tuple(map(_output, rows)), frozenset(range(1, 7))))


def _output(o: OutputMetrics) -> tuple[str, ...]:
    decided = o.agreement is not None and o.agreement_low is not None and o.agreement_high is not None
    return (
        o.name,
        share(o.agreement) if o.agreement is not None else "–",
        f"{100 * (o.agreement_low or 0):.1f} to {100 * (o.agreement_high or 0):.1f}" if decided else "–",
        decibels(o.sqnr_db) if o.sqnr_db is not None else "–",
        f"{o.cosine:.5f}" if o.cosine is not None else "–",
        f"{o.max_abs_error:.3g}",
        f"{o.max_rel_error:.2g}",
    )


def without_empty(table: Table) -> Table:
    """The table without columns that hold nothing."""
    kept = [i for i in range(len(table.columns)) if any(row[i] not in ("", "–") for row in table.rows)]
    columns = tuple(table.columns[i] for i in kept)
    rows = tuple(tuple(row[i] for i in kept) for row in table.rows)
    return Table(table.caption, columns, rows, frozenset(n for n, i in enumerate(kept) if i in table.numbers))


def worst_table(verdict: Verdict) -> Table | None:
    """The samples that suffer most, where they were kept."""
    worst = verdict.worst
    if not worst:
        return None
    decided = any(o.agreement is not None for o in verdict.outputs)
    labelled = any(w.lost is not None for w in worst)
    columns = (
        "sample",
        "batch",
        "row",
        *(("decisions that differ",) if decided else ()),
        "relative error",
        *(("lost by the labels",) if labelled else ()),
    )
    rows = tuple(
        (
            f"{w.index:,}",
            str(w.batch),
            str(w.row),
            *((share(w.disagreement),) if decided else ()),
            f"{100 * math.sqrt(w.error):.3g} %",
            *((("yes" if w.lost else "no") if w.lost is not None else "–",) if labelled else ()),
        )
        for w in worst
    )
    return Table(
        "The worst samples, worst first; counted from 0 in the order of the data",
        columns,
        rows,
        frozenset(range(4 + decided)),
    )


def passes_table(stage: StageRecord) -> Table:
    """What each pass did; those that found nothing are left out, and counted in the caption."""
    shown = [p for p in stage.passes if p.changes or p.taken_back]
    idle = len(stage.passes) - len(shown)
    caption = f"Passes of {stage.name}" + (f"; {idle} more found nothing to do" if idle else "")
    return Table(
        caption, ("pass", "places", "nodes then", "seconds", ""), tuple(map(_pass, shown)), frozenset({1, 2, 3})
    )


def _pass(p: PassRecord) -> tuple[str, ...]:
    return p.name, str(p.changes), f"{p.nodes:,}", f"{p.seconds:.2f}", p.taken_back or ""


def _taken_back(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Passes whose work was undone, and why. (Stages say it themselves.)"""
    for stage in record.stages:
        yield from ((f"{stage.name}: {p.name}", p.taken_back) for p in stage.passes if p.taken_back)


def settings_table(config: Mapping[str, object], *, changed: bool) -> Table:
    """Every setting, or those that are not as they are by default; those of the budget with their path."""
    given, default = _flat(config), _flat(dataclasses.asdict(Config()))
    rows = tuple((k, v) for k, v in given.items() if not changed or v != default.get(k))
    return Table("Settings other than the default" if changed else "Settings", ("setting", "value"), rows)


def _flat(config: Mapping[str, object]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        inner = value if isinstance(value, Mapping) else None
        found |= {key: _setting(value)} if inner is None else {f"{key}.{k}": _setting(v) for k, v in inner.items()}
    return found


def _setting(value: object) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def digests_table(record: RunRecord) -> Table:
    """What was made of what, with what."""
    rows = [("original", record.source, f"SHA-256 {record.source_digest}")]
    if record.details is not None:
        for what, digest in record.details.digests.items():
            part, _, name = what.partition(": ")
            rows.append((part, name or "–", digest))
    return Table("Files and data", ("what", "name", "digest"), tuple(rows))


def versions_table(record: RunRecord) -> Table:
    """Of onnxzip and what it stands on."""
    return Table("Versions", ("package", "version"), tuple(record.versions.items()))
