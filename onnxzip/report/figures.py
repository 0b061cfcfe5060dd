"""The verdict in a word and a sentence, and the key figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from onnxzip.records import RunRecord, Verdict
from onnxzip.report.shapes import Card
from onnxzip.report.words import change, decibels, samples, share, size

_STATES = {
    "passed": ("Passed", "✓"),
    "structure": ("Passed in structure only", "!"),
    "undecided": ("Not decided", "?"),
    "failed": ("Failed", "✗"),
}


def banner(verdict: Verdict) -> dict[str, str]:
    """State, word, mark and sentence of a verdict."""
    state = state_of(verdict)
    word, mark = _STATES[state]
    return {"state": state, "word": word, "mark": mark, "sentence": _sentence(verdict, state)}


def state_of(verdict: Verdict) -> str:
    """passed, structure (no numbers behind it), undecided or failed."""
    if verdict.outcome == "undecided":
        return "undecided"
    if not verdict.passed:
        return "failed"
    return "passed" if verdict.verified else "structure"


def _sentence(verdict: Verdict, state: str) -> str:
    if state == "structure" or not verdict.verified:
        return "Numbers could not be compared."
    compared = f"Compared with the original on {samples(verdict.samples, verdict.data)}"
    return f"{compared}: every limit of the budget holds." if state == "passed" else f"{compared}."


def cards(record: RunRecord) -> Iterator[Card]:
    """The key figures, those of the model that is returned."""
    before, after, result = record.before, record.after, record.result
    ratio = after.bytes / before.bytes if before.bytes else 1.0
    yield Card(
        "Size", size(after.bytes), f"{change(before.bytes, after.bytes)} · was {size(before.bytes)}", min(1.0, ratio)
    )
    if (s := result.speed) is not None:
        yield Card(
            "Speed",
            f"{s.speedup:.2f}×",
            f"95 %: {s.low:.2f} to {s.high:.2f} · {s.pairs} paired runs",
            min(1.0, 1 / s.speedup),
        )
    yield from map(_accuracy, result.accuracy)
    deciding = [o for o in result.outputs if o.agreement is not None]
    if deciding:
        worst = min(deciding, key=lambda o: o.agreement or 0.0)
        low, high = (100 * (v or 0.0) for v in (worst.agreement_low, worst.agreement_high))
        yield Card(
            "Same decisions",
            share(worst.agreement or 0.0),
            f"95 %: {low:.1f} to {high:.1f} · {worst.decisions:,} decisions",
        )
    floats = [o for o in result.outputs if o.sqnr_db is not None]
    if floats:
        least = min(floats, key=lambda o: math.inf if o.sqnr_db is None else o.sqnr_db)
        which = f" · output {least.name}" if len(result.outputs) > 1 else ""
        yield Card("Fidelity (SQNR)", decibels(least.sqnr_db), f"largest error {least.max_abs_error:.2g}{which}")
    now, then = _count(after.parameters), _count(before.parameters)
    below = "as before" if now == then else f"{change(before.parameters, after.parameters)} · was {then}"
    yield Card("Parameters", now, below)
    yield Card("Nodes", f"{after.nodes:,}", f"was {before.nodes:,} · opset {after.opset}")


def _accuracy(a: Any) -> Card:
    below = f"was {share(a.original)} · by {a.decisions:,} labels"
    return Card("Accuracy", share(a.candidate), below)


def _count(value: int) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return str(value)
