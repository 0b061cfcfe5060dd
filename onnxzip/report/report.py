"""The report of one run."""

from __future__ import annotations

from dataclasses import dataclass

from onnxzip.records import RunRecord
from onnxzip.report import document, html, junit, markdown
from onnxzip.report.console import render
from onnxzip.report.fragment import fragment


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

    def to_html(self) -> str:
        """One HTML page that needs nothing else. With `Config.details` it has charts of size, time, ranges and sensitivity.

        Raises:
            UsageError: jinja2 or matplotlib is not installed (`pip install 'onnxzip[report]'`).
        """
        return html.render(self.record)

    def to_fragment(self) -> str:
        """A piece of HTML for notebooks: the verdict, the key figures, what each stage did."""
        return fragment(self.record)
