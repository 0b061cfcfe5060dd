"""The report of one run."""

from __future__ import annotations

from dataclasses import dataclass

from onnxzip.records import RunRecord
from onnxzip.report import document, junit, markdown
from onnxzip.report.console import render


@dataclass(frozen=True)
class Report:
    """One run, ready to be shown. `record` is the plain data behind it."""

    record: RunRecord

    def to_json(self) -> str:
        """The whole record as JSON (RFC 8259: infinities and NaN are the strings "inf", "-inf", "nan")."""
        return document.to_json(self.record)

    def to_markdown(self) -> str:
        """The report as Markdown of GitHub, for the summary of a step or a comment."""
        return markdown.run(self.record)

    def to_junit(self) -> str:
        """The verdict as JUnit XML: one test case."""
        return junit.run(self.record)

    def to_text(self, width: int = 100) -> str:
        """The console table as plain text."""
        return render(self.record, width)
