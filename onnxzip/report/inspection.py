"""An inspection as tables, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.inspected import Inspection
from onnxzip.records import Facts
from onnxzip.report.words import change, size

SLOTS, OPERATORS, WEIGHTS, REASONS = 10, 14, 8, 3
"""How many of each are shown unless all are asked for: together they fit on a screen."""

_LONGEST = 150
"""Characters of one line, unless everything is asked for."""


def to_json(found: Inspection) -> str:
    """The whole record."""
    return json.dumps({"schema": 2, **dataclasses.asdict(found)}, indent=2)


def show(found: Inspection, *, everything: bool = False) -> RenderableType:
    """Interface, operators, weights, what could be gained and what stays: a screenful, or everything."""

    def some(lines: Sequence[str], limit: int) -> list[str]:
        if everything:
            return list(lines)
        shown = [line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…" for line in lines[:limit]]
        return shown + ([f"… and {len(lines) - limit} more (--all)"] if len(lines) > limit else [])

    parts: list[RenderableType] = [_head(found), Text(_origin(found))]
    parts += map(Text, some(list(_interface(found)), SLOTS))
    if found.dynamic:
        parts += map(Text, some([f"dynamic {n}: {', '.join(places)}" for n, places in found.dynamic.items()], SLOTS))
    operators = [f"{count} {name}" for name, count in found.facts.operators.items()]
    parts.append(Text("operators: " + ", ".join(some(operators, OPERATORS))))
    if found.weights:
        parts += [_weights(found, None if everything else WEIGHTS), *map(Text, _weight_lines(found))]
    parts.append(_gains(found))
    if everything:
        parts += [Text(f"int8 would take {name}") for name in found.quantizable]
    for stage, reasons in (
        ("rewrite", found.rewrite_leaves),
        ("prune", found.prune_leaves),
        ("int8", found.left_float),
    ):
        parts += (Text(line, style="dim") for line in some([f"{stage} leaves {r}" for r in reasons], REASONS))
    if found.refused:
        parts.append(Text(f"`optimize` would refuse this model: {found.refused}", style="bold red"))
    parts += (Text(f"note: {n}", style="dim") for n in found.notes)
    return Group(*parts)


def _head(found: Inspection) -> Text:
    f = found.facts
    return Text(f"{found.source}: {size(f.bytes)}, {f.nodes:,} nodes, {f.parameters:,} parameters", style="bold")


def _origin(found: Inspection) -> str:
    sets = ", ".join(
        f"{domain} {version}" if domain else f"opset {version}" for domain, version in found.opsets.items()
    )
    return f"{sets}; IR version {found.ir_version}; written by {found.producer or 'an unnamed producer'}"


def _interface(found: Inspection) -> Iterator[str]:
    for word, slots in (("input", found.inputs), ("default", found.defaults), ("output", found.outputs)):
        yield from (f"{word:7s} {slot}" for slot in slots)


def _weights(found: Inspection, limit: int | None) -> RenderableType:
    shown = found.weights[:limit]
    title = "Weights" if len(shown) == len(found.weights) else "Largest weights"
    table = Table(title=title, title_justify="left")
    table.add_column("name")
    table.add_column("type")
    table.add_column("elements", justify="right")
    table.add_column("size", justify="right")
    table.add_column("read by", justify="right")
    for weight in shown:
        readers = f"{weight.readers} node{'s' if weight.readers != 1 else ''}"
        table.add_row(
            Text(weight.name),
            Text(weight.type),
            f"{weight.elements:,}",
            size(weight.bytes),
            f"{readers}, copy of {weight.copy_of}" if weight.copy_of else readers,
        )
    return table


def _weight_lines(found: Inspection) -> Iterator[str]:
    hidden = len(found.weights) - WEIGHTS
    if hidden > 0:
        total = sum(w.bytes for w in found.weights)
        yield f"{len(found.weights)} weights, {size(total)} (--all shows each, --json too)"
    yield "bytes by type: " + ", ".join(f"{name} {size(count)}" for name, count in found.types.items())
    tied = [w for w in found.weights if w.readers > 1]
    copies = [w for w in found.weights if w.copy_of]
    if tied or copies:
        yield f"tied: {len(tied)} weights are read by several nodes; {len(copies)} are stored again ({size(sum(w.bytes for w in copies))})"


def _gains(found: Inspection) -> RenderableType:
    before, rewritten, pruned = found.facts, found.after_rewrite, found.after_prune
    table = Table(title="What could be gained", title_justify="left")
    table.add_column("stage")
    table.add_column("needs")
    table.add_column("gain")
    table.add_row("rewrite", "nothing", _rewrite_gain(found, before, rewritten))
    if pruned is None:
        gain = "could not be found out"
    else:
        parameters = change((rewritten or before).parameters, pruned.parameters)
        gain = f"{found.removable_channels} channels that do nothing, parameters {parameters}"
    table.add_row("prune", "nothing", gain)
    table.add_row(
        "int8",
        "calibration data (-c)",
        f"{len(found.quantizable)} nodes in integers, {len(found.left_float)} stay float",
    )
    return table


def _rewrite_gain(found: Inspection, before: Facts, rewritten: Facts | None) -> str:
    if rewritten is None:
        return "could not be found out"
    saved = before.bytes - rewritten.bytes
    lines = [
        f"{before.nodes} nodes become {rewritten.nodes}, {f'{size(saved)} less' if saved > 0 else 'size the same'}"
    ]
    lines += [f"  {p.changes} × {p.name}" for p in found.passes if p.changes]
    return "\n".join(lines)
