"""A run as a piece of HTML for notebooks: the verdict and the key figures. Needs no extra, and takes the notebook's colours."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from onnxzip.records import RunRecord
from onnxzip.report.figures import banner, cards
from onnxzip.report.shapes import Card

_MARKS = {"passed": "#1a7f37", "failed": "#cf222e"}
"""Colour of the line beside the verdict, dark enough for white and light enough for black."""

_OTHER = "#9a6700"
_CARD = "border:1px solid rgba(128,128,128,.4);border-radius:8px;padding:8px 12px;min-width:9em"
_SMALL = "font-size:85%;opacity:.8"


def fragment(record: RunRecord) -> str:
    """An element without scripts, classes or identifiers."""
    return "".join(_lines(record))


def _lines(record: RunRecord) -> Iterator[str]:
    verdict = banner(record.verdict)
    yield f'<div style="border-left:4px solid {_MARKS.get(verdict["state"], _OTHER)};padding:2px 0 2px 12px;max-width:60em">'
    yield f'<div style="font-size:125%;font-weight:600">{verdict["mark"]} {verdict["word"]}</div>'
    yield from (f"<div><b>{escape(reason)}</b></div>" for reason in record.verdict.problems)
    yield f"<div>{escape(verdict['sentence'])}</div>"
    yield from (f'<div style="{_SMALL}">{escape(warning)}</div>' for warning in record.verdict.warnings)
    yield '<div style="display:flex;flex-wrap:wrap;gap:8px;margin:8px 0">'
    yield from map(_card, cards(record))
    yield "</div>"
    yield from (f"<div>{_stage(s.name, s.summary, kept=s.kept)}</div>" for s in record.stages)
    yield "</div>"


def _card(card: Card) -> str:
    return (
        f'<div style="{_CARD}"><div style="{_SMALL}">{escape(card.label)}</div><div style="font-size:140%;font-weight:600">{escape(card.value)}</div>'
        f'<div style="{_SMALL}">{escape(card.below)}</div></div>'
    )


def _stage(name: str, summary: str, *, kept: bool) -> str:
    return f"{'✓' if kept else '–'} <b>{escape(name)}</b> {escape(summary)}"
