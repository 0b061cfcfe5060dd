"""A plan put into a model: mechanical, deterministic, nothing is decided here.

What each role of a planned node means:
 1. conv, gemm   reads its weights through DequantizeLinear(int8), its bias through DequantizeLinear(int32).
 2. matmul       reads its weights through DequantizeLinear(int8).
 3. row_bias     (an Add) its constant row gets the shape [1, 1, N].
 4. int32_bias   (an Add behind a MatMul) its constant row is read through DequantizeLinear(int32).
 5. token        (a MatMul) reads its weights through DequantizeLinear(int8), its activation x as DQ(Q(x / m)) with m = max |x| of each
                 row, and its result is multiplied by m: one scale for each token, in standard operators. A smoothed x is divided
                 by its factors first.
 6. stored       reads its weights through DequantizeLinear(int8), and computes in float.
 7. table        Gather(float table, i) becomes Mul(Cast(Gather(int8 table, i)), Gather(row scales, i)).
 8. join, pass   read their activations through the DQ of their sites.
 9. biased       reads what it multiplies through the DQ of sites, its bias through DequantizeLinear(int32) in the scale of the product.
Each site gets one QuantizeLinear and one DequantizeLinear (a constant is stored in integers and gets the latter); "all" readers, a graph output included, or the planned ones read the latter.

Few bytes: a float weight that nobody reads any more goes; equal scales and zero points are stored once; the zero points of
weights and biases, all 0, are omitted unless the plan asks for them (DequantizeLinear defaults to 0); new names are short.
Zero points of activations are written even when they are 0, and scalars are scalars, not vectors of one: without the one
onnxruntime 1.32 does not fuse MaxPool and Gemm, without the other not Add.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.errors import UsageError
from onnxzip.model.constants import array
from onnxzip.model.edit import Names, add_constant, new_node, replace
from onnxzip.model.opset import opset_of, raise_opset
from onnxzip.model.walk import is_op
from onnxzip.quantize.fit import find_nodes, find_sites
from onnxzip.quantize.groups import is_parameter
from onnxzip.quantize.packed import unpack
from onnxzip.quantize.qparams import QParams, bias_scales, quantize_activation, quantize_bias
from onnxzip.quantize.rescale import rescaled
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site
from onnxzip.quantize.targets import target_row
from onnxzip.quantize.tokens import normalized, smoothed
from onnxzip.quantize.weights import IntegerWeight, bias_of, integer_weights, row_of, site_of

PER_AXIS_OPSET = 13
"""First opset whose DequantizeLinear has an axis."""

DEFAULT_AXIS = 1
"""Its default, which needs no bytes."""

BIASED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

FACTOR = "factor"
"""Readers of a site that is quantized once more."""

READERS = frozenset({"conv", "gemm", "matmul", "token", "join", "pass", "biased"})
"""Roles that read quantized activations."""


def insert(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """A quantized copy of `model`. Its opset is raised to the target's (13 mostly) where it is lower; a plan without nodes gives a plain copy.

    Raises:
        UsageError: the plan does not fit the model; the node or tensor is named.
        ModelError: the opset cannot be raised.
    """
    if not plan.nodes:
        return model.clone()
    result = rescaled(model, plan.equalized)
    result = raise_opset(result, max(PER_AXIS_OPSET, target_row(plan.target).min_opset))
    _Inserter(result, plan).run()
    return result


class _Inserter:
    """The state of one insertion: the graph, what the plan's names stand for in it, and what is stored already."""

    def __init__(self, model: ir.Model, plan: QuantPlan) -> None:
        self.graph, self.plan, self.names, self.opset = model.graph, plan, Names(model), opset_of(model)
        self.nodes = find_nodes(model, plan)
        self.values = find_sites(model, plan)
        self.sites = {s.tensor: s for s in plan.sites if s.readers != FACTOR}
        self.row = target_row(plan.target)
        self.weights = integer_weights(plan, self.nodes, self.row)
        self.stored: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
        self.dequantized: dict[str, ir.Value] = {}

    def run(self) -> None:
        """Biases look at float weights and at sites by name, so they come before both are redirected."""
        position = {node: i for i, node in enumerate(self.graph)}
        planned = sorted(self.plan.nodes, key=lambda p: position[self.nodes[p.output]])
        for entry in planned:
            self._bias(entry, self.nodes[entry.output])
        for entry in planned:
            if entry.role == "table":
                self._table(entry, self.nodes[entry.output])
            elif entry.weight:
                self._weight(entry, self.nodes[entry.output])
        readers = {self.nodes[p.output] for p in planned if p.role in READERS}
        products = {s.tensor: self._products(s, readers) for s in self.plan.sites if s.readers == FACTOR}
        for site in self.sites.values():
            self._site(site, self.values[site.tensor], readers)
        for site in self.plan.sites:
            if site.readers == FACTOR:
                self._factor(site, products[site.tensor])
        self._sweep()

    # Constants

    def _store(self, hint: str, content: NDArray[np.generic]) -> ir.Value:
        """An initializer with this content, made once."""
        content = np.asarray(
            content, order="C"
        )  # ascontiguousarray would make a vector of a scalar, and the fusions want scalars
        key = (content.dtype.str, content.shape, content.tobytes())
        if key not in self.stored:
            self.stored[key] = add_constant(self.graph, content, self.names.fresh(hint))
        return self.stored[key]

    def _dequantize(
        self, before: ir.Node, codes: ir.Value, scales: NDArray[np.float32], axis: int, zero: ir.Value | None
    ) -> ir.Value:
        """DequantizeLinear of a constant, per axis, placed before a node."""
        inputs = [codes, self._store("scale", scales)] + ([zero] if zero is not None else [])
        node = new_node("DequantizeLinear", inputs, self.names.fresh("dq"), axis=axis)
        if axis == DEFAULT_AXIS:
            del node.attributes["axis"]
        self.graph.insert_before(before, node)
        return node.outputs[0]

    # Weights and biases

    def _weight(self, entry: PlannedNode, node: ir.Node) -> None:
        if entry.weight not in self.dequantized:
            weight = self.weights[entry.weight][1]
            zero = self._store("zero", np.zeros(len(weight.scales), np.int8)) if weight.entry.zero_points else None
            self.dequantized[entry.weight] = self._dequantize(
                node, self._codes(entry.weight), weight.scales, weight.entry.axis, zero
            )
        node.replace_input_with(1, self.dequantized[entry.weight])

    def _codes(self, name: str) -> ir.Value:
        return self._store("weight", self.weights[name][1].codes)

    def _bias(self, entry: PlannedNode, node: ir.Node) -> None:
        if entry.role == "row_bias":
            index, row = row_of(node, entry)
            node.replace_input_with(index, self._store("bias", row.reshape(1, 1, -1)))
            return
        if entry.role == "biased":
            self._product_bias(node)
            return
        if entry.op not in BIASED:
            return
        bias, site = bias_of(node, entry, self.plan), site_of(node, self.sites)
        if bias is None:
            return
        if site is None or entry.role not in self.row.integer_bias:
            if entry.bias:
                _set_input(node, 2, self._store("bias", bias))
            return
        scales = bias_scales(site.scale, self.weights[entry.weight][1].scales)
        codes = self._store("bias", quantize_bias(bias.reshape(-1), scales))
        reader, index = node, 2
        if entry.op == "MatMul":
            reader = next(u.node for u in node.outputs[0].uses())
            index = next(i for i, v in enumerate(reader.inputs) if v is not node.outputs[0])
        _set_input(reader, index, self._dequantize(reader, codes, scales, 0, None))

    def _product_bias(self, node: ir.Node) -> None:
        """The bias of a node in role biased, in the product of the scales of its first two inputs."""
        bias = array(node.inputs[2]) if len(node.inputs) > 2 else None
        data, factor = (self.sites.get("" if v is None else v.name or "") for v in node.inputs[:2])
        if bias is None:
            return
        if data is None or factor is None:
            raise UsageError(
                f"the plan does not fit the model: {node.op_type} {node.name!r} in role 'biased' needs sites for both of its inputs"
            )
        scales = bias_scales(data.scale, np.asarray(factor.scale, np.float32))
        codes = self._store("bias", quantize_bias(bias, scales))
        dequantize = new_node("DequantizeLinear", [codes, self._store("scale", scales)], self.names.fresh("dq"))
        self.graph.insert_before(node, dequantize)
        node.replace_input_with(2, dequantize.outputs[0])

    def _table(self, entry: PlannedNode, node: ir.Node) -> None:
        weight: IntegerWeight = self.weights[entry.weight][1]
        rows, fresh = node.inputs[1], self.names.fresh
        rank = weight.codes.ndim
        scales = self._store("scale", weight.scales.reshape(-1, *[1] * (rank - 1)))
        codes = new_node("Gather", [self._codes(entry.weight), rows], fresh("row"))
        cast = new_node("Cast", [codes.outputs[0]], fresh("row"), to=int(ir.DataType.FLOAT))
        scale = new_node("Gather", [scales, rows], fresh("row"))
        product = new_node("Mul", [cast.outputs[0], scale.outputs[0]], fresh("row"))
        self.graph.insert_before(node, [codes, cast, scale, product])
        replace(node.outputs[0], product.outputs[0])
        self.graph.remove(node, safe=True)

    # Activations

    def _pair(self, before: ir.Value, site: Site) -> list[ir.Node]:
        """Q and DQ of a value; of a constant DQ alone."""
        zero = np.asarray(site.zero_point, site.dtype)
        inputs = [self._store("scale", np.asarray(site.scale, np.float32)), self._store("zero", zero)]
        content, nodes = array(before), list[ir.Node]()
        if content is None:
            nodes.append(new_node("QuantizeLinear", [before, *inputs], self.names.fresh("q")))
            codes = nodes[0].outputs[0]
        else:
            q = QParams(site.scale, site.zero_point, site.dtype)
            codes = self._store("weight", quantize_activation(content, q))
        return [*nodes, new_node("DequantizeLinear", [codes, *inputs], self.names.fresh("dq"))]

    def _site(self, site: Site, value: ir.Value, readers: set[ir.Node]) -> None:
        everyone = site.readers == "all"
        uses = [u for u in value.uses() if (everyone or u.node in readers) and not is_parameter(u.node, u.idx)]
        if not uses and not (everyone and value.is_graph_output()):
            return  # a plan edited by hand: nobody reads it
        nodes: list[ir.Node] = []
        before, magnitude = value, None
        if site.smooth:
            nodes.append(smoothed(before, self._factors(site, uses[0].node), self.names, self._store))
            before = nodes[-1].outputs[0]
        if site.per_token:
            steps, magnitude = normalized(before, self.opset, self.names, self._store)
            nodes += steps
            before = steps[-1].outputs[0]
        nodes += self._pair(before, site)
        dequantize = nodes[-1]
        self._place(value, nodes)
        for use in uses:
            use.node.replace_input_with(use.idx, dequantize.outputs[0])
            if magnitude is not None:
                self._scale_back(use.node, magnitude)
        if everyone and value.is_graph_output():
            replace_output(self.graph, value, dequantize.outputs[0])

    def _products(self, site: Site, readers: set[ir.Node]) -> list[ir.Node]:
        """The nodes that read a tensor as their second factor."""
        return [u.node for u in self.values[site.tensor].uses() if u.idx == 1 and u.node in readers]

    def _factor(self, site: Site, products: list[ir.Node]) -> None:
        """Q and DQ once more, for these nodes."""
        before = products[0].inputs[1] if products else None
        if before is None:
            return
        pair = self._pair(before, site)
        self._place(before, pair)
        for node in products:
            node.replace_input_with(1, pair[-1].outputs[0])

    def _factors(self, site: Site, reader: ir.Node) -> NDArray[np.float32]:
        """The factors of a smoothed activation; its readers hold their integer weights already."""
        weights = reader.inputs[1]
        codes = None if weights is None or (node := weights.producer()) is None else array(node.inputs[0])
        columns = 0 if codes is None else codes.shape[0]
        return unpack(site.smooth, np.float32, (columns,), f"the smoothing of tensor {site.tensor!r}")

    def _scale_back(self, node: ir.Node, magnitude: ir.Value) -> None:
        """Multiply the result of a MatMul by the magnitudes of its rows."""
        result = node.outputs[0]
        product = new_node("Mul", [result, magnitude], self.names.fresh("token"))
        self.graph.insert_after(node, product)
        for use in tuple(result.uses()):
            if use.node is not product:
                use.node.replace_input_with(use.idx, product.outputs[0])
        if result.is_graph_output():
            replace_output(self.graph, result, product.outputs[0])

    def _place(self, value: ir.Value, nodes: list[ir.Node]) -> None:
        producer = value.producer()
        if producer is not None:
            self.graph.insert_after(producer, nodes)
        else:
            self.graph.insert_before(next(iter(self.graph)), nodes)

    def _sweep(self) -> None:
        """Drop the float constants that nobody reads any more."""
        for node in reversed(self.graph):
            if is_op(node, "Constant") and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                self.graph.remove(node, safe=True)
        for name, value in tuple(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del self.graph.initializers[name]


def replace_output(graph: ir.Graph, old: ir.Value, new: ir.Value) -> None:
    """Let `new` be the graph output that `old` was, under its name. `old` keeps its readers, under a new name."""
    name, spare = old.name, new.name
    for index, output in enumerate(graph.outputs):
        if output is old:
            graph.outputs[index] = new
    old.name, new.name = spare, name
    new.type, new.shape = old.type, old.shape


def _set_input(node: ir.Node, index: int, value: ir.Value) -> None:
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)
