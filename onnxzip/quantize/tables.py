"""Rows of integer tables, looked up first and scaled afterwards, in standard operators.

A DequantizeLinear before a Gather would be run over the whole table each time.

8 bits:    y = Cast(Gather(q, i)) · Gather(s, i),    a scale for each row.
4 bits:    u = Gather(p, i),    q = Concat(u & 15, u >> 4),    y = Reshape((Cast(q) − Cast(Gather(z, i))) · Gather(s, i)),

with a scale s and zero point z for each block of B, p of shape [rows, D / B, B / 2]: byte j of a block holds its codes j and j + B / 2, for
Gather takes no 4-bit integers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.model.edit import Names, new_node

Store = Callable[[str, NDArray[np.generic]], ir.Value]
"""Gives the initializer with this content."""

FLOAT = int(ir.DataType.FLOAT)


def packed_table(codes: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Codes in 0..15, uint8[rows, D], as uint8[rows, D / size, size / 2]; D is a multiple of `size`."""
    blocks = codes.reshape(len(codes), -1, size)
    half = size // 2
    return np.ascontiguousarray(blocks[:, :, :half] | (blocks[:, :, half:] << 4))


def by_row(numbers: NDArray[np.generic], rank: int) -> NDArray[np.generic]:
    """Scales [rows] of a table of this rank, or [rows, blocks], in the shape that rows of codes are multiplied with."""
    return numbers[:, :, None] if numbers.ndim == 2 else numbers.reshape(-1, *[1] * (rank - 1))


def rows_of_8(codes: ir.Value, scales: ir.Value, rows: ir.Value, names: Names) -> list[ir.Node]:
    """The nodes that look up rows of an int8 table, the last of which gives them.

    Args:
        codes: int8[R, ...].
        scales: float[R, 1, ...].
        rows: the row numbers, of any rank.
        names: for the outputs.
    """
    found = new_node("Gather", [codes, rows], names.fresh("row"))
    cast = new_node("Cast", found.outputs, names.fresh("row"), to=FLOAT)
    scale = new_node("Gather", [scales, rows], names.fresh("row"))
    return [found, cast, scale, new_node("Mul", [cast.outputs[0], scale.outputs[0]], names.fresh("row"))]


def rows_of_4(
    codes: ir.Value, scales: ir.Value, zeros: ir.Value, rows: ir.Value, rank: int, names: Names, store: Store
) -> list[ir.Node]:
    """The nodes that look up rows of a table of 4 bits, the last of which gives them.

    Args:
        codes: uint8[R, D / B, B / 2], see `packed_table`.
        scales: float[R, D / B, 1].
        zeros: uint8[R, D / B, 1].
        rows: the row numbers.
        rank: of `rows`.
        names: for the outputs.
        store: makes constants.
    """

    def add(op: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        node = ir.node(op, list(inputs), attributes=attributes)
        node.outputs[0].name = names.fresh("row")
        made.append(node)
        return node.outputs[0]

    made: list[ir.Node] = []
    pair = add("Gather", codes, rows)
    low = add("BitwiseAnd", pair, store("mask", np.asarray(15, np.uint8)))
    high = add("BitShift", pair, store("shift", np.asarray(4, np.uint8)))
    made[-1].attributes["direction"] = ir.AttrString("direction", "RIGHT")
    code = add("Cast", add("Concat", low, high, axis=-1), to=FLOAT)
    offset = add("Cast", add("Gather", zeros, rows), to=FLOAT)
    scaled = add("Mul", add("Sub", code, offset), add("Gather", scales, rows))
    add("Reshape", scaled, store("shape", np.array([0] * rank + [-1], np.int64)))
    return made
