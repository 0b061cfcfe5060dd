"""Types and shapes of every value, inferred by onnx, kept beside the graph and never written into it.

Declared shapes of inner values are not trusted: exporters freeze axes there that are dynamic in truth. Only the
interface and what follows from it counts; for operators of other domains, which inference cannot see through, the
declaration is all there is and is used.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping

import onnx
import onnx_ir as ir

from onnxzip.model.constants import array
from onnxzip.model.opset import opset_of
from onnxzip.model.proto import model_proto, node_proto
from onnxzip.model.walk import ONNX_DOMAINS, all_nodes, is_op

Dim = int | str | None
"""A known size, the name of a symbolic axis (equal names are equal sizes), or None for unknown."""

_INVENTED = "unk__"
"""How onnx's inference begins the names that it gives to sizes that it does not know."""

_PROPAGATED_TILE = 2**16
"""Repeats of a constant Tile above which no data is propagated."""

_SLICE_COPIES_SYMBOLS = 10
"""In this opset inference gives a sliced axis the name of the whole one: names cannot be trusted where there is a Slice."""

_AXES_COUNT_BACK_SINCE = 11
"""From this opset on inference knows that a Squeeze or Unsqueeze may count its axes from the end."""

_SQUEEZE_SORTED = 11
"""Before this opset inference misreads the axes of a Squeeze that are not in order."""

_PROPAGATED_BYTES = 1024
"""Larger initializers cannot be shapes or indices that inference propagates; it gets their type only."""


class Shapes:
    """The types of all values, as inferred once, and of values that were added since, inferred when asked for.

    Valid while each name means what it meant: an edit that changes what a value holds must give it a new name.
    Where inference fails, shapes are unknown, and rewrites that need them stay away.
    """

    def __init__(self, model: ir.Model) -> None:
        self._opsets = dict(model.graph.opset_imports)
        self._trust_names = not _copies_symbols(model)
        self._types: dict[str, onnx.TypeProto] = {}
        self._dims: dict[str, tuple[Dim, ...] | None] = {}
        self.refine: Callable[[ir.Value], tuple[Dim, ...] | None] | None = None
        """Asked where inference does not know a size: see `onnxzip.model.symbols`."""
        for name, kind in _infer(model):
            known = self._types.setdefault(name, kind)
            if known is not kind and known != kind:
                self._types[name] = onnx.TypeProto()  # bodies beside each other may share names: nothing is known then

    def of(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """The shape of a tensor, or None when even the rank is unknown."""
        shape = self.inferred(value)
        if value is None or self.refine is None or (shape is not None and not any(map(is_invented, shape))):
            return shape
        return self.refine(value)

    def inferred(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """The shape as far as onnx knows it."""
        name = "" if value is None else value.name or ""
        if name not in self._dims:
            self._dims[name] = self._read(self._tensor(value))
        return self._dims[name]

    def _read(self, tensor: onnx.TypeProto.Tensor | None) -> tuple[Dim, ...] | None:
        if tensor is None or not tensor.HasField("shape"):
            return None
        named = self._trust_names
        return tuple(
            d.dim_value if d.HasField("dim_value") else (named and d.dim_param) or None for d in tensor.shape.dim
        )

    def rank(self, value: ir.Value | None) -> int | None:
        """The number of axes, or None."""
        shape = self.of(value)
        return None if shape is None else len(shape)

    def static(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The shape when every axis is a known number, else None."""
        shape = self.of(value)
        sizes = tuple(d for d in shape or () if isinstance(d, int))
        return sizes if shape is not None and len(sizes) == len(shape) else None

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The element type of a tensor, or None."""
        tensor = self._tensor(value)
        return ir.DataType(tensor.elem_type) if tensor is not None and tensor.elem_type else None

    def _tensor(self, value: ir.Value | None) -> onnx.TypeProto.Tensor | None:
        if value is None or value.name is None:
            return None
        if value.name not in self._types:
            self._add(value)
        kind = self._types[value.name]
        return kind.tensor_type if kind.HasField("tensor_type") else None

    def _add(self, value: ir.Value) -> None:
        """Infer the type of a value that was not there at first: nodes that it comes from, nearest to the known ones first."""
        pending = [value]
        while pending:
            current = pending[-1]
            node = current.producer()
            unknown = [] if node is None else [v for v in node.inputs if v is not None and v.name not in self._types]
            if unknown:
                pending += unknown
                continue
            pending.pop()
            if node is None:
                self._types[current.name or ""] = _type_of_constant(current)
                continue
            inferred = _infer_node(node, self._types, self._opsets)
            for output in node.outputs:
                self._types.setdefault(output.name or "", inferred.get(output.name or "", onnx.TypeProto()))


def is_invented(dim: Dim) -> bool:
    """Whether inference does not know this size, named or not."""
    return dim is None or (isinstance(dim, str) and dim.startswith(_INVENTED))


def forget(model: ir.Model) -> None:
    """Drop the declared shapes of inner values: after an edit that changes sizes they would be wrong."""
    for node in all_nodes(model):
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None


def _infer(model: ir.Model) -> Iterator[tuple[str, onnx.TypeProto]]:
    proto = _for_inference(model)
    # Inference refuses a graph it cannot make sense of, with many types of error: then the declared types are all that is known.
    with contextlib.suppress(Exception):
        propagate = not any(_is_large_tile(n) for n in all_nodes(model))
        if any(_is_misread(n, opset_of(model)) for n in all_nodes(model)):
            raise onnx.shape_inference.InferenceError  # node by node, then
        proto = onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=False, data_prop=propagate)
    yield from _types_of(proto.graph)


def _type_of_constant(value: ir.Value) -> onnx.TypeProto:
    tensor = value.const_value
    if tensor is None:
        return onnx.TypeProto()
    return onnx.helper.make_tensor_type_proto(tensor.dtype, tensor.shape.numpy())


def _infer_node(
    node: ir.Node, types: Mapping[str, onnx.TypeProto], opsets: Mapping[str, int]
) -> dict[str, onnx.TypeProto]:
    """Types of the outputs of one node, by name; empty where inference cannot tell."""
    given = [v for v in node.inputs if v is not None and v.name]
    data = {
        v.name or "": onnx.numpy_helper.from_array(content)
        for v in given
        if (content := array(v)) is not None and content.nbytes <= _PROPAGATED_BYTES
    }
    version = next((v for d, v in opsets.items() if d in ONNX_DOMAINS), 1)
    if _is_misread(node, version):
        return {}
    imports = [onnx.helper.make_opsetid(domain, v) for domain, v in opsets.items()]
    try:  # every operator's inference throws errors of its own
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
        known = {v.name or "": types[v.name or ""] for v in given}
        return dict(
            onnx.shape_inference.infer_node_outputs(schema, node_proto(node), known, data, opset_imports=imports)
        )
    except Exception:  # noqa: BLE001 - then nothing is known
        return {}


def _is_large_tile(node: ir.Node) -> bool:
    """Inference that propagates data computes a Tile, however large its result is."""
    repeats = array(node.inputs[1]) if is_op(node, "Tile") and len(node.inputs) > 1 else None
    return repeats is not None and math.prod(repeats.reshape(-1).tolist()) > _PROPAGATED_TILE


def _is_misread(node: ir.Node, opset: int) -> bool:
    """Whether inference gets the shape wrong: before opset 11 it takes axes as they are, while runtimes count back."""
    if opset >= _AXES_COUNT_BACK_SINCE or not is_op(node, "Squeeze", "Unsqueeze", "Slice"):
        return False
    return min(node.attributes.get_ints("axes", ()), default=0) < 0


def _for_inference(model: ir.Model) -> onnx.ModelProto:
    """The model with the types of large weights in their place, and nothing that standard nodes declare.

    Not even of outputs: the shape that is declared for an output is a promise that runtimes do not hold exporters to.
    Nor of the inputs of bodies: what a Loop carries may change its shape at every turn.
    """

    def declared(value: ir.Value) -> tuple[ir.TypeProtocol | None, ir.Shape | None]:
        node = value.producer()
        if node is not None:
            return (None, None) if node.domain in ONNX_DOMAINS else (value.type, value.shape)
        if not value.is_graph_input():
            tensor = value.const_value
            return (value.type, value.shape) if tensor is None else (ir.TensorType(tensor.dtype), _shape_of(tensor))
        return value.type, value.shape if value.graph is model.graph else None

    proto = model_proto(model, _small, declared)
    # in older versions inference looks at initializers only where they are inputs too
    proto.ir_version = max(proto.ir_version, 4)
    if opset_of(model) < _SQUEEZE_SORTED:
        _sort_squeezed(proto.graph)
    _copy_outer_constants(proto.graph, ChainMap(), itertools.count())
    return proto


def _copy_outer_constants(
    graph: onnx.GraphProto, outer: ChainMap[str, onnx.TensorProto], numbers: Iterator[int]
) -> None:
    """Inference reads axes and sizes only where they are constants of the very graph that the node stands in."""
    defaults = {i.name for i in graph.input}  # a caller may give other values
    here = outer.new_child({t.name: t for t in graph.initializer if t.name not in defaults})
    copies: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name in outer and name not in copies:
                copies[name] = f"{name} in body {next(numbers)}"
                copy = graph.initializer.add()
                copy.CopyFrom(outer[name])
                copy.name = copies[name]
            if name in outer:
                node.input[index] = copies[name]
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _copy_outer_constants(body, here, numbers)


def _sort_squeezed(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Squeeze" and attribute.name == "axes":
                attribute.ints[:] = sorted(attribute.ints)
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                _sort_squeezed(body)


def _copies_symbols(model: ir.Model) -> bool:
    """Whether sizes of the same name may be different ones."""
    return opset_of(model) == _SLICE_COPIES_SYMBOLS and any(is_op(n, "Slice") for n in all_nodes(model))


def _small(value: ir.Value, tensor: ir.TensorProtocol) -> ir.TensorProtocol | None:
    return tensor if tensor.nbytes <= _PROPAGATED_BYTES else None


def _shape_of(tensor: ir.TensorProtocol) -> ir.Shape:
    return ir.Shape(tensor.shape.numpy())


def _types_of(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TypeProto]]:
    for tensor in graph.initializer:
        yield tensor.name, onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name, value.type
    for node in graph.node:
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _types_of(body)
