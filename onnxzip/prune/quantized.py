"""Weights that are stored as integers, behind a DequantizeLinear: `w = scale · (q − zero point)`.

1. per tensor: the integers shrink.
2. per axis: integers, scales and zero points shrink together where the channels lie on that axis; on another, the integers do.
3. in blocks: a scale serves several channels, so that none can go. Such weights count as not constant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir as ir

from onnxzip.prune.facts import Cut


def dequantized(node: ir.Node, operands: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """What a DequantizeLinear of constants gives, or None when an operand is not constant or it is quantized in blocks."""
    given = [o for o, v in zip(operands, node.inputs, strict=True) if v is not None]
    if any(o is None for o in given):
        return None
    codes, scale = operands[0], operands[1]
    point = operands[2] if len(operands) > 2 else None
    if codes is None or scale is None or (scale.size > 1 and scale.ndim != 1):
        return None  # 3
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[_axis(node, codes.ndim)] = -1
    shifted = codes.astype(np.int64) - (0 if point is None else point.astype(np.int64).reshape(shape))
    return (shifted * scale.reshape(shape).astype(np.float64)).astype(scale.dtype)


def cuts(node: ir.Node, cut: Cut, operands: Sequence[np.ndarray | None]) -> Iterator[tuple[int, Cut]]:
    """How the operands of a DequantizeLinear shrink when its output does."""
    yield 0, cut
    codes, scale = operands[0], operands[1]
    if codes is None or scale is None or scale.size == 1 or cut.groups > 1 or cut.axes != (_axis(node, codes.ndim),):
        return  # 1, 2: on another axis
    for index in range(1, len(operands)):
        if operands[index] is not None:
            yield index, Cut((0,), cut.ids)  # 2


def _axis(node: ir.Node, rank: int) -> int:
    return node.attributes.get_int("axis", 1) % rank if rank else 0
