"""Verdicts as Markdown in GitHub's dialect: for the summary of a workflow step, a comment or a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from onnxzip.checked import CheckRun, Comparison
from onnxzip.records import RunRecord, Verdict
from onnxzip.report import checks as rows
from onnxzip.report.console import headline, run_rows, verdict_rows

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
"""What Markdown, its tables, HTML and formulas would read as their own."""


def run(record: RunRecord) -> str:
    """One `optimize`: the verdict, before and after, what each stage did."""
    parts = [f"## onnxzip: {_text(record.source)}", *_conclusion(record.verdict)]
    parts.append(_table(("", "original", "result", ""), run_rows(record)))
    if record.verdict != record.result:
        parts += ["What was asked for:", _table(("", "original", "candidate", ""), verdict_rows(record.verdict))]
    stages = [(s.name, "kept" if s.kept else "left", f"{s.seconds:.1f} s", s.summary) for s in record.stages]
    parts.append(_table(("stage", "", "time", "what it did"), stages))
    return _document([*parts, *_folded("Notes", record.notes)])


def comparison(record: Comparison) -> str:
    """One `compare`: the verdict and its figures."""
    parts = [f"## onnxzip: {_text(record.candidate)} for {_text(record.original)}", *_conclusion(record.verdict)]
    return _document([*parts, _table(("", "original", "candidate", ""), verdict_rows(record.verdict))])


def checks(record: CheckRun) -> str:
    """One `check`: a table with a row for each model."""
    mark = _mark(record.passed)
    table = [(*rows.row(m), "; ".join(m.reasons)) for m in record.models]
    warnings = [f"{m.name}: {w}" for m in record.models if m.verdict is not None for w in m.verdict.warnings]
    parts = [
        f"## {mark} onnxzip check: {rows.headline(record)}",
        _table((*rows.COLUMNS, "why"), table),
        *_folded("Warnings", warnings),
    ]
    return _document(parts)


def _conclusion(verdict: Verdict) -> Iterator[str]:
    yield f"{_mark(verdict.passed)} **{_text(headline(verdict))}**"
    lines = [f"{verdict.outcome}: {r}" for r in verdict.problems] + [f"warning: {w}" for w in verdict.warnings]
    if lines:
        yield "\n".join(f"- {_text(line)}" for line in lines)


def _mark(good: bool) -> str:  # noqa: FBT001 - a predicate's answer, not a switch
    return "✅" if good else "❌"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table. Cells are plain text: what would break a row or be read as Markdown is escaped."""
    lines = [[_text(cell) for cell in row] for row in (head, *body)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    content = "\n".join(f"- {_text(line)}" for line in lines)
    return [f"<details><summary>{title} ({len(lines)})</summary>\n\n{content}\n\n</details>"]


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _document(parts: Iterable[str]) -> str:
    return "\n\n".join(parts) + "\n"
