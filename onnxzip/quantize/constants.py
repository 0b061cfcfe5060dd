"""Constants that an insertion makes: each content once, and DequantizeLinear of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.model.edit import Names, add_constant, new_node
from onnxzip.quantize.graphs import graph_of
from onnxzip.quantize.schema import Weight

DEFAULT_AXIS = 1
"""Of DequantizeLinear: it needs no bytes."""


class Constants:
    """The constants of a model."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._stored: dict[tuple[ir.Graph, str, tuple[int, ...], bytes], ir.Value] = {}

    def store(self, graph: ir.Graph, hint: str, content: NDArray[np.generic]) -> ir.Value:
        """An initializer of the graph where it is read, with this content, made once: onnxruntime 1.32 fails on some outer ones."""
        content = np.asarray(
            content, order="C"
        )  # ascontiguousarray would make a vector of a scalar, and the fusions want scalars
        key = (graph, content.dtype.name, content.shape, content.tobytes())
        if key not in self._stored:
            self._stored[key] = add_constant(graph, content, self._names.fresh(hint))
        return self._stored[key]

    def integers(self, graph: ir.Graph, hint: str, codes: NDArray[np.generic], entry: Weight) -> ir.Value:
        """An initializer of integers, of 4 bits where the plan says so."""
        return self.store(graph, hint, codes if entry.dtype == "int8" else codes.astype(ir.DataType.UINT4.numpy()))

    def scales(self, before: ir.Node, scales: NDArray[np.generic], entry: Weight) -> ir.Value:
        """The scales of weights; those of half the bytes through a Cast, which the runtime does once, when it loads."""
        if not entry.half:
            return self.store(graph_of(before), "scale", scales)
        half = self.store(graph_of(before), "scale", scales.astype(np.float16))
        cast = new_node("Cast", [half], self._names.fresh("scale"), to=int(ir.DataType.FLOAT))
        graph_of(before).insert_before(before, cast)
        return cast.outputs[0]

    def dequantized(
        self, before: ir.Node, codes: ir.Value, scales: ir.Value, axis: int, zero: ir.Value | None, block: int = 0
    ) -> ir.Value:
        """DequantizeLinear of a constant, per axis or in blocks along it, placed before a node."""
        inputs = [codes, scales] + ([zero] if zero is not None else [])
        node = new_node("DequantizeLinear", inputs, self._names.fresh("dq"), axis=axis)
        if block:
            node.attributes["block_size"] = ir.AttrInt64("block_size", block)
        if axis == DEFAULT_AXIS:
            del node.attributes["axis"]
        graph_of(before).insert_before(before, node)
        return node.outputs[0]
