"""`keep_float`: which nodes the user wants to stay float."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import onnx_ir as ir

from onnxzip.errors import UsageError
from onnxzip.model.walk import all_nodes

KEPT = "kept float as asked (keep_float)"


def name_of(node: ir.Node) -> str:
    """The name a pattern sees and a plan writes: the node's own, or its first output's where it has none."""
    return node.name or next((o.name for o in node.outputs if o.name), "")


def select(model: ir.Model, patterns: Iterable[str]) -> dict[ir.Node, str]:
    """Nodes that any of the patterns names, bodies and functions included, each with its reason.

    Args:
        model: the model.
        patterns: each an operator type, exactly, or a regular expression that must match a whole node name.

    Raises:
        UsageError: a pattern is no regular expression, or it matches nothing; close names are given.
    """
    named = [(node, name_of(node)) for node in all_nodes(model)]
    chosen: dict[ir.Node, str] = {}
    for pattern in patterns:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"keep_float {pattern!r} is not a regular expression: {error}") from error
        found = [n for n, name in named if n.op_type == pattern or (name and expression.fullmatch(name))]
        if not found:
            raise UsageError(
                f"keep_float {pattern!r} matches no node name and no operator type. {_close(pattern, named)}"
            )
        chosen.update(dict.fromkeys(found, KEPT))
    return chosen


def _close(pattern: str, named: list[tuple[ir.Node, str]]) -> str:
    names = sorted({name for _, name in named if name} | {node.op_type for node, _ in named})
    folded = {name.lower(): name for name in reversed(names)}
    matches = difflib.get_close_matches(pattern.lower(), folded, n=3, cutoff=0.5)
    close = [folded[m] for m in matches] or [n for n in names if pattern.lower() in n.lower()][:3]
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return "See the names with `onnxzip inspect`; a pattern must match the whole name, so write .* around a part of it."
