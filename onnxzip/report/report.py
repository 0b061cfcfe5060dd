"""The report of one run."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from onnxzip.records import RunRecord
from onnxzip.report import html
from onnxzip.report.console import render
from onnxzip.report.fragment import fragment

SCHEMA = 1
"""Version of the JSON layout; it grows when a key is renamed or removed."""


@dataclass(frozen=True)
class Report:
    """One run, ready to be shown. `record` is the plain data behind it."""

    record: RunRecord

    def to_json(self) -> str:
        """The whole record as JSON (RFC 8259: infinities and NaN are the strings "inf", "-inf", "nan")."""
        content = {"schema": SCHEMA, **dataclasses.asdict(self.record)}
        content["verdict"]["metrics"] = self.record.verdict.metrics
        return json.dumps(_plain(content), indent=2, allow_nan=False)

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


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
