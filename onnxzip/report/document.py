"""Records as JSON: every field, the figures that follow from them, and the version of the layout.

The layout is described by `docs/report.schema.json`, which `tools/write_schema.py` makes from the same dataclasses.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from onnxzip.checked import Checked, CheckRun, Comparison
from onnxzip.records import RunRecord, Verdict

SCHEMA = 1
"""Version of the JSON layout; it grows when a key is renamed or removed."""

KINDS: Mapping[str, type] = {"optimize": RunRecord, "compare": Comparison, "check": CheckRun}
"""Which record each command leaves."""

DERIVED: Mapping[type, tuple[str, ...]] = {
    Verdict: ("metrics",),
    Checked: ("outcome", "accepted", "reasons"),
    CheckRun: ("passed",),
}
"""Properties that stand in the JSON beside the fields."""


def to_json(record: RunRecord | Comparison | CheckRun) -> str:
    """A record as JSON (RFC 8259: infinities and NaN are the strings "inf", "-inf", "nan")."""
    kind = next(k for k, of in KINDS.items() if isinstance(record, of))
    return json.dumps({"schema": SCHEMA, "kind": kind, **plain(record)}, indent=2, allow_nan=False)


def plain(value: Any) -> Any:
    """Records, mappings and sequences, all the way down, as what `json` writes; paths and functions by their names."""
    if dataclasses.is_dataclass(value):
        names = [*(f.name for f in dataclasses.fields(value)), *DERIVED.get(type(value), ())]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if callable(value):
        return f"{value.__module__}:{getattr(value, '__qualname__', type(value).__qualname__)}"
    return value
