"""What plans of one model have in common, so that a plan that differs a little from the last one costs little."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import onnx_ir as ir

from onnxzip.model.shapes import Shapes
from onnxzip.quantize.candidates import Placement
from onnxzip.quantize.placement import place
from onnxzip.quantize.row import TargetRow
from onnxzip.quantize.weights import Nearest

REMEMBERED = 8
"""Plans and placements that are kept: those of the methods that are compared, and the next ones."""

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(eq=False)
class Known:
    """What is known of a model that does not change, for one target and the same statistics.

    Attributes:
        model: the model.
        row: the target.
        clips: ranges by tensors, method and grid.
        nearest: weights that were rounded.
    """

    model: ir.Model
    row: TargetRow
    clips: dict[tuple[object, ...], tuple[float, float]] = field(default_factory=dict)
    nearest: Nearest = field(default_factory=dict)
    _placements: dict[tuple[tuple[ir.Node, str], ...], Placement] = field(default_factory=dict)

    @cached_property
    def shapes(self) -> Shapes:
        """The shapes of all values."""
        return Shapes(self.model)

    def placed(self, keep: Mapping[ir.Node, str]) -> Placement:
        """Where integers run, given the nodes that stay float and why."""
        return remembered(self._placements, tuple(keep.items()), lambda: place(self.model, self.row, keep))


def remembered(cache: dict[Key, Value], key: Key, make: Callable[[], Value]) -> Value:
    """What was made for a key before, or is made now; the last `REMEMBERED` are kept.

    >>> cache = {"a": 1}
    >>> remembered(cache, "a", lambda: 2), remembered(cache, "b", lambda: 2)
    (1, 2)
    """
    if key not in cache:
        while len(cache) >= REMEMBERED:
            del cache[next(iter(cache))]
        cache[key] = make()
    return cache[key]
