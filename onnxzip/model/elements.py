"""What rules about symbolic sizes share: elements of small tensors, grids, and whom they ask (see `onnxzip.model.symbols`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.sizes import ONE, ZERO, Size

Elements = np.ndarray
"""An array of `Size` or None objects."""

Extent = tuple[Size, ...]
"""The sizes of all axes of a tensor."""


@dataclass(frozen=True)
class Grid:
    """Integers that grow evenly along each axis."""

    offset: Size
    strides: Extent
    shape: Extent

    @property
    def low(self) -> int | None:
        """A bound from below of all elements."""
        return self.offset.low if all(s.low is not None and s.low >= 0 for s in self.strides) else None

    @property
    def counts_up(self) -> bool:
        """Whether its elements in order are 0, 1, 2, ..."""
        expected = ONE
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != ONE and stride != expected:
                return False
            expected *= size
        return self.offset == ZERO


class Asks(Protocol):
    """What a rule may ask about the inputs of its node; see `Symbols` for what the answers mean."""

    opset: int

    def content(self, value: ir.Value | None) -> Elements | None:
        """Elements of a small tensor."""

    def size(self, value: ir.Value | None) -> Size | None:
        """The only element of a tensor."""

    def sizes(self, value: ir.Value | None) -> Extent | None:
        """All elements of a shape-like tensor."""

    def shape(self, value: ir.Value | None) -> Extent | None:
        """Sizes of the axes."""

    def grid(self, value: ir.Value | None) -> Grid | None:
        """Integers that grow evenly."""

    def uniform(self, value: ir.Value | None) -> Size | None:
        """What all elements are."""

    def axis(self, value: ir.Value, index: int) -> Size:
        """A symbol for an axis that nothing is known about."""


def axes_of(asks: Asks, node: ir.Node, input_since: int) -> list[int] | None:
    """The axes that a node works on: an attribute, from opset `input_since` on the second input. None when not known."""
    if asks.opset < input_since:
        axes = node.attributes.get_ints("axes")
        return None if axes is None else list(axes)
    found = array(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if found is None else [int(a) for a in found.reshape(-1)]


def positive(axes: list[int], rank: int) -> list[int]:
    """Axes counted from the front, in order.

    Raises:
        ValueError: there is no such axis, or one is named twice.
    """
    found = sorted(a + rank if a < 0 else a for a in axes)
    if len(set(found)) != len(found) or any(not 0 <= a < rank for a in found):
        raise ValueError(f"axes {axes} of {rank}")
    return found


def elements(content: np.ndarray) -> Elements:
    """Known numbers as elements."""
    result = np.empty(content.shape, object)
    for index, number in enumerate(content.reshape(-1).tolist()):
        result.flat[index] = Size.of(int(number))
    return result


def numbers(content: Elements | None) -> np.ndarray | None:
    """Elements as known numbers, or None when one of them is not."""
    if content is None or any(i is None or i.known is None for i in content.flat):
        return None
    return np.array([i.known for i in content.flat], np.int64).reshape(content.shape)
