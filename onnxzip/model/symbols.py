"""What is in shapes, as far as it follows from the graph: sizes as polynomials over the axes of the interface.

Three questions are answered about a value, each lazily and once:

- `content`: the elements of a small integer or boolean tensor (a shape, an index, an end), each a `Size` or unknown;
- `shape`: the sizes of its axes, also where onnx's inference gives up (a computed target of a Reshape or Expand);
- `grid`: a tensor of integers of any size whose element at (i, j, ...) is offset + i * a + j * b + ... (Range and the like).

What is said holds in every run that the model itself survives: a Reshape that fails has no result to be right about.
Symbols are sizes, so never negative, and may be 0. Equal names of axes are equal sizes.
The answers stay true while each value computes what it computed: make a new value where that changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.elements import Elements, Extent, Grid, elements
from onnxzip.model.shapes import Dim, Shapes, is_invented
from onnxzip.model.sizes import ZERO, Size
from onnxzip.model.symbol_contents import CONTENT_RULES
from onnxzip.model.symbol_grids import GRID_RULES, UNIFORM_RULES
from onnxzip.model.symbol_shapes import SHAPE_RULES

ELEMENTS = 64
"""Larger tensors are data, not shapes."""

_INPUTS = 64
"""Nodes with more inputs are not looked into."""

_INTEGERS = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})


class _NeededError(Exception):
    """A rule asks something that is not answered yet."""

    def __init__(self, question: tuple[str, ir.Value]) -> None:
        self.question = question


class Symbols:
    """The answers about one graph. No recursion: a chain may be as long as it likes."""

    def __init__(self, shapes: Shapes, opset: int) -> None:
        self.raw = shapes
        self.opset = opset
        # by name, as `Shapes`: an edit that changes what a value holds gives it a new one
        self._answers: dict[tuple[str, ir.Value | str], Any] = {}
        self._axes: dict[tuple[ir.Value | str, int], Size] = {}
        self._aliases: dict[str, Size] = {}

    def content(self, value: ir.Value | None) -> Elements | None:
        """The elements of a small tensor of integers or booleans, or None where nothing is known about it."""
        found: Elements | None = self._ask("content", value)
        return found

    def sizes(self, value: ir.Value | None) -> Extent | None:
        """The elements of a shape-like tensor (one axis or none), when every one of them is known."""
        found = self.content(value)
        if found is None or found.ndim > 1:
            return None
        items = tuple(found.reshape(-1))
        return None if any(i is None for i in items) else items

    def size(self, value: ir.Value | None) -> Size | None:
        """The element of a tensor that holds exactly one."""
        found = self.content(value)
        single: Size | None = found.reshape(-1)[0] if found is not None and found.size == 1 else None
        return single

    def shape(self, value: ir.Value | None) -> Extent | None:
        """The sizes of all axes, or None when even the rank is unknown."""
        found: Extent | None = self._ask("shape", value)
        return found

    def grid(self, value: ir.Value | None) -> Grid | None:
        """The tensor as a grid, or None."""
        found: Grid | None = self._ask("grid", value)
        return found

    def uniform(self, value: ir.Value | None) -> Size | None:
        """What every element of a tensor of integers or booleans is, whatever its shape; None when that is not one thing."""
        found: Size | None = self._ask("uniform", value)
        return found

    def dims(self, value: ir.Value) -> tuple[Dim, ...] | None:
        """The shape in the words of `Shapes`: numbers and names, where equal names are equal sizes."""
        found = self.shape(value)
        return None if found is None else tuple(s.name for s in found)

    def axis(self, value: ir.Value, index: int) -> Size:
        """A symbol for an axis that nothing is known about."""
        return self._axes.setdefault((value.name or value, index), Size.of(f"=axis {len(self._axes)}"))

    def _ask(self, kind: str, value: ir.Value | None) -> Any:
        """The answer, if there is one already; else the rule that asks waits until there is."""
        if value is None:
            return None
        question = (kind, value)
        if _key(question) in self._answers:
            return self._answers[_key(question)]
        if self._waiting:
            raise _NeededError(question)
        return self._solve(question)

    _waiting = False

    def _solve(self, question: tuple[str, ir.Value]) -> Any:
        pending, self._waiting = [question], True
        try:
            while pending:
                current = pending[-1]
                if _key(current) not in self._answers:
                    try:
                        self._answers[_key(current)] = self._answer(*current)
                    except _NeededError as needed:
                        pending.append(needed.question)
                        continue
                pending.pop()
        finally:
            self._waiting = False
        return self._answers[_key(question)]

    def _answer(self, kind: str, value: ir.Value) -> Any:
        node = value.producer()
        if node is not None and (len(node.inputs) > _INPUTS or node.domain not in ("", "ai.onnx")):
            node = None
        try:
            return {"content": self._content, "shape": self._shape, "grid": self._grid, "uniform": self._uniform}[kind](
                value, node
            )
        except (ValueError, IndexError, OverflowError):  # the model is invalid here: nothing is known
            return None

    def _content(self, value: ir.Value, node: ir.Node | None) -> Elements | None:
        if self.raw.dtype(value) not in _INTEGERS:
            return None
        constant = array(value)
        if constant is not None:
            return elements(constant) if constant.size <= ELEMENTS else None
        static = [s.known for s in self.shape(value) or (Size.of("?"),)]
        small = None not in static and math.prod(s or 0 for s in static) <= ELEMENTS
        if None not in static and not small:
            return None
        found = _rule(CONTENT_RULES, self, node, value)
        if found is None or found.size > ELEMENTS:
            return np.full([s or 0 for s in static], None, object) if small else None
        return found if all(i is None or i.sane or i.known is not None for i in found.flat) else None

    def _shape(self, value: ir.Value, node: ir.Node | None) -> Extent | None:
        raw = self.raw.inferred(value)
        if raw is not None and not any(is_invented(d) for d in raw):
            return self._named(value, raw)
        if node is None:
            return None if raw is None else self._named(value, raw)
        found = _rule(SHAPE_RULES, self, node, value)
        if found is None:
            for source in node.inputs:
                self.shape(source)  # what onnx invented a name for may be better known there
            return None if raw is None else self._named(value, raw)
        found = tuple(s if s.sane else self.axis(value, i) for i, s in enumerate(found))
        if raw is None or len(raw) != len(found):
            return None if raw is not None else found
        for name, better in zip(raw, found, strict=True):
            if isinstance(name, str) and is_invented(name):
                self._aliases.setdefault(name, better)
        return tuple(
            b if is_invented(d) else self._one(value, i, d) for i, (d, b) in enumerate(zip(raw, found, strict=True))
        )

    def _named(self, value: ir.Value, raw: tuple[Dim, ...]) -> Extent:
        return tuple(self._one(value, i, d) for i, d in enumerate(raw))

    def _one(self, value: ir.Value, index: int, dim: Dim) -> Size:
        if dim is None or (isinstance(dim, str) and dim.startswith("=")):
            return self.axis(value, index)
        return self._aliases.get(dim, Size.of(dim)) if isinstance(dim, str) else Size.of(dim)

    def _grid(self, value: ir.Value, node: ir.Node | None) -> Grid | None:
        single = self.size(value)
        shape = self.shape(value)
        if single is not None and shape is not None:
            return Grid(single, (ZERO,) * len(shape), shape)
        if self.raw.dtype(value) not in _INTEGERS or shape is None:
            return None
        grid: Grid | None = _rule(GRID_RULES, self, node, value)
        return grid

    def _uniform(self, value: ir.Value, node: ir.Node | None) -> Size | None:
        if self.raw.dtype(value) not in _INTEGERS:
            return None
        constant = array(value)
        if constant is not None:
            first = constant.reshape(-1)[:1]
            return Size.of(int(first[0])) if constant.size and bool((constant == first).all()) else None
        found = self.content(value)
        if found is not None and found.size and all(i is not None and i == found.flat[0] for i in found.flat):
            single: Size = found.flat[0]
            return single
        same: Size | None = _rule(UNIFORM_RULES, self, node, value)
        return same


def _key(question: tuple[str, ir.Value]) -> tuple[str, ir.Value | str]:
    kind, value = question
    return kind, value.name or value


Rule = Callable[[Any, ir.Node, ir.Value], Any]


def _rule(rules: Mapping[str, Rule], symbols: Symbols, node: ir.Node | None, value: ir.Value) -> Any:
    rule = rules.get(node.op_type) if node is not None else None
    return None if rule is None or node is None else rule(symbols, node, value)
