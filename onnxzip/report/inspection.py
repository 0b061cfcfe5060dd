"""An inspection as tables, and as JSON."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxzip.records import Inspection
from onnxzip.report.words import change, size


def to_json(found: Inspection) -> str:
    """The whole record."""
    return json.dumps({"schema": 1, **dataclasses.asdict(found)}, indent=2)


def show(found: Inspection) -> RenderableType:
    """Interface, operators, weights, and what could be gained."""
    f = found.facts
    head = Text(
        f"{found.source}: {size(f.bytes)}, {f.nodes:,} nodes, {f.parameters:,} parameters, opset {f.opset}",
        style="bold",
    )
    return Group(
        head,
        _interface(found),
        _operators(found),
        _weights(found),
        _gains(found),
        *(Text(f"note: {n}", style="dim") for n in found.notes),
    )


def _interface(found: Inspection) -> RenderableType:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for word, slots in (("input", found.inputs), ("default", found.defaults), ("output", found.outputs)):
        for slot in slots:
            table.add_row(word, Text(slot))
    return table


def _operators(found: Inspection) -> RenderableType:
    return Text("operators: " + ", ".join(f"{count} {name}" for name, count in found.facts.operators.items()))


def _weights(found: Inspection) -> RenderableType:
    table = Table(title="Largest weights", title_justify="left")
    table.add_column("name")
    table.add_column("type")
    table.add_column("size", justify="right")
    table.add_column("read by", justify="right")
    for weight in found.largest:
        table.add_row(
            Text(weight.name),
            Text(weight.type),
            size(weight.bytes),
            f"{weight.readers} node{'s' if weight.readers != 1 else ''}",
        )
    return table


def _gains(found: Inspection) -> RenderableType:
    before, rewritten, pruned = found.facts, found.after_rewrite, found.after_prune
    table = Table(title="What could be gained", title_justify="left")
    table.add_column("stage")
    table.add_column("needs")
    table.add_column("gain")
    table.add_row(
        "rewrite",
        "nothing",
        f"{before.nodes} nodes become {rewritten.nodes}, size {change(before.bytes, rewritten.bytes)}",
    )
    table.add_row(
        "prune",
        "nothing",
        f"{found.removable_channels} channels that do nothing, parameters {change(rewritten.parameters, pruned.parameters)}",
    )
    table.add_row(
        "int8",
        "calibration data (-c)",
        f"{len(found.quantizable)} nodes in integers, {len(found.left_float)} stay float",
    )
    return table
