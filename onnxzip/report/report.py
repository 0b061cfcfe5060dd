"""The report of one run."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from onnxzip.records import RunRecord, Verdict
from onnxzip.report.console import render

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
        content["result"]["metrics"] = self.record.result.metrics
        return json.dumps(_plain(content), indent=2, allow_nan=False)

    def to_text(self, width: int = 100) -> str:
        """The console table as plain text."""
        return render(self.record, width)


def verdict_json(verdict: Verdict) -> str:
    """A verdict alone as JSON, as it stands in a report."""
    content = {"schema": SCHEMA, **dataclasses.asdict(verdict), "metrics": verdict.metrics}
    return json.dumps(_plain(content), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
