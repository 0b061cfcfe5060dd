"""A plan put into a model: mechanical, deterministic, nothing is decided here.

What each role of a planned node means:
 1. conv, gemm   reads its weights through DequantizeLinear(int8), its bias through DequantizeLinear(int32) where the target asks for that.
 2. matmul       reads its weights through DequantizeLinear(int8).
 3. row_bias     (an Add) its constant row gets the shape [1, 1, N].
 4. int32_bias   (an Add behind a MatMul) its constant row is read through DequantizeLinear(int32).
 5. token        (a MatMul) reads its weights through DequantizeLinear(int8), its activation x as DQ(Q(x / m)) with m = max |x| of each
                 row, and its result is multiplied by m: one scale for each token, in standard operators. A smoothed x is divided
                 by its factors first.
 6. stored       reads its weights through DequantizeLinear(int8, or uint4 in blocks), a Conv for onnxruntime's CPU through what runs once (`at_load`),
                 and computes in float. Weights that only Gemms with transB read are stored transposed: onnxruntime makes MatMulNBits of DQ and MatMul, or DQ and Gemm.
 7. table        Gather(float table, i) becomes a Gather of integers, scaled afterwards (`onnxzip.quantize.tables`).
 8. join, pass   read their activations through the DQ of their sites.
 9. biased       reads what it multiplies through the DQ of sites, its bias through DequantizeLinear(int32) in the scale of the product.
Each site gets one QuantizeLinear and one DequantizeLinear in its own graph, and one in each body where a planned node reads it from outside, where all read it the latter alone (a constant is stored in integers and gets the latter); "all" readers, a graph output included, or the planned ones read the latter.

All is put into the graph, main or body, in which the planned node stands. Few bytes: a float weight that nobody reads any more goes; equal scales and zero points are stored once in a graph; the zero points of
weights and biases, all 0, are omitted unless the plan asks for them (DequantizeLinear defaults to 0); new names are short.
Zero points of activations are written even when they are 0, and scalars are scalars, not vectors of one: without the one onnxruntime 1.32 does not fuse MaxPool and Gemm, without the other not Add.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxzip.errors import UsageError
from onnxzip.model.constants import array
from onnxzip.model.edit import Names, new_node, replace
from onnxzip.model.opset import opset_of, raise_opset
from onnxzip.quantize.at_load import at_load, made_at_load
from onnxzip.quantize.constants import Constants
from onnxzip.quantize.fit import find_nodes, find_sites
from onnxzip.quantize.graphs import dequantize_again, graph_of, owner, place, replace_output, set_input, sweep
from onnxzip.quantize.groups import is_parameter
from onnxzip.quantize.packed import unpack
from onnxzip.quantize.qparams import QParams, bias_scales, quantize_activation, quantize_bias
from onnxzip.quantize.rescale import rescaled
from onnxzip.quantize.schema import PlannedNode, QuantPlan, Site
from onnxzip.quantize.tables import by_row, packed_table, rows_of_4, rows_of_8
from onnxzip.quantize.targets import BLOCK_IR, needed_opset, target_row
from onnxzip.quantize.tokens import normalized, smoothed
from onnxzip.quantize.weights import (
    IntegerWeight,
    Nearest,
    bias_of,
    integer_weights,
    row_of,
    site_of,
    table_ranks,
    transposed,
)

BIASED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

FACTOR = "factor"
"""Readers of a site that is quantized once more."""

READERS = frozenset({"conv", "gemm", "matmul", "token", "join", "pass", "biased"})
"""Roles that read quantized activations."""


def insert(model: ir.Model, plan: QuantPlan, nearest: Nearest | None = None) -> ir.Model:
    """A quantized copy of `model`, its opset raised to the target's (13 mostly, 21 for blocks). A plan without nodes gives a plain copy.

    Args:
        model: the float model of the plan.
        plan: the plan.
        nearest: weights of this model that were rounded before; what is new is added.

    Raises:
        UsageError: the plan does not fit the model; the node or tensor is named.
        ModelError: the opset cannot be raised.
    """
    if not plan.nodes:
        return model.clone()
    result = rescaled(model, plan.equalized)
    blocks = any(w.block for w in plan.weights)
    result = raise_opset(result, needed_opset(plan.target, blocks=blocks))
    result.ir_version = max(result.ir_version, BLOCK_IR if blocks else 0)
    _Inserter(result, plan, nearest).run()
    return result


class _Inserter:
    """The state of one insertion: the graph, what the plan's names stand for in it, and what is stored already."""

    def __init__(self, model: ir.Model, plan: QuantPlan, nearest: Nearest | None) -> None:
        self.graph, self.plan, self.names, self.opset = model.graph, plan, Names(model), opset_of(model)
        self.graphs = (model.graph, *model.graph.subgraphs())
        self.nodes = find_nodes(model, plan)
        self.values = find_sites(model, plan)
        self.sites = {s.tensor: s for s in plan.sites if s.readers != FACTOR}
        self.row = target_row(plan.target)
        self.weights = integer_weights(plan, self.nodes, self.row, nearest)
        self.turned = transposed(plan, self.nodes)
        self.at_load = at_load(plan, self.row)
        self.ranks = table_ranks(model, plan, self.nodes)
        self.constants = Constants(self.names)
        self.dequantized: dict[tuple[ir.Graph, str], ir.Value] = {}

    def run(self) -> None:
        """Biases look at float weights and at sites by name, so they come before both are redirected."""
        position = {node: i for i, node in enumerate(self.graph.all_nodes())}
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
        for graph in self.graphs:
            sweep(graph)

    # Weights and biases

    def _weight(self, entry: PlannedNode, node: ir.Node) -> None:
        turned, key = entry.weight in self.turned, (graph_of(node), entry.weight)
        if key not in self.dequantized and entry.weight in self.at_load:
            self.dequantized[key] = made_at_load(node, self.weights[entry.weight][1], self.constants, self.names)
        if key not in self.dequantized:
            weight = self.weights[entry.weight][1]
            zeros: NDArray[np.generic] | None = weight.zeros
            if weight.entry.zero_points:
                zeros = np.zeros(len(weight.scales), np.int8)
            codes, scales, axis = weight.codes, weight.scales, weight.entry.axis
            if turned:
                codes, scales, zeros, axis = codes.T, scales.T, None if zeros is None else zeros.T, 1 - axis
            block = weight.entry.block
            self.dequantized[key] = self.constants.dequantized(
                node,
                self.constants.integers(key[0], "weight", codes, weight.entry),
                self.constants.scales(node, scales, weight.entry),
                1 - axis if block else axis,
                None if zeros is None else self.constants.integers(key[0], "zero", zeros, weight.entry),
                block,
            )
        node.replace_input_with(1, self.dequantized[key])
        if turned:
            del node.attributes["transB"]

    def _bias(self, entry: PlannedNode, node: ir.Node) -> None:
        if entry.role == "row_bias":
            index, row = row_of(node, entry)
            node.replace_input_with(index, self.constants.store(graph_of(node), "bias", row.reshape(1, 1, -1)))
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
                set_input(node, 2, self.constants.store(graph_of(node), "bias", bias))
            return
        scales = bias_scales(site.scale, self.weights[entry.weight][1].scales)
        codes = self.constants.store(graph_of(node), "bias", quantize_bias(bias.reshape(-1), scales))
        reader, index = node, 2
        if entry.op == "MatMul":
            reader = next(u.node for u in node.outputs[0].uses())
            index = next(i for i, v in enumerate(reader.inputs) if v is not node.outputs[0])
        set_input(
            reader,
            index,
            self.constants.dequantized(reader, codes, self.constants.store(graph_of(reader), "scale", scales), 0, None),
        )

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
        graph = graph_of(node)
        codes = self.constants.store(graph, "bias", quantize_bias(bias, scales))
        dequantize = new_node(
            "DequantizeLinear", [codes, self.constants.store(graph, "scale", scales)], self.names.fresh("dq")
        )
        graph.insert_before(node, dequantize)
        node.replace_input_with(2, dequantize.outputs[0])

    def _table(self, entry: PlannedNode, node: ir.Node) -> None:
        weight: IntegerWeight = self.weights[entry.weight][1]
        rows, graph = node.inputs[1], graph_of(node)
        assert rows is not None  # noqa: S101 # for mypy: Gather has no optional input
        store = partial(self.constants.store, graph)
        scales = self.constants.scales(node, by_row(weight.scales, weight.codes.ndim), weight.entry)
        if weight.zeros is None:
            made = rows_of_8(store("weight", weight.codes), scales, rows, self.names)
        else:
            codes = store("weight", packed_table(weight.codes.astype(np.uint8), weight.entry.block))
            zeros = store("zero", by_row(weight.zeros, weight.codes.ndim))
            made = rows_of_4(codes, scales, zeros, rows, self.ranks[entry.output], self.names, store)
        graph.insert_before(node, made)
        replace(node.outputs[0], made[-1].outputs[0])
        graph.remove(node, safe=True)

    # Activations

    def _pair(self, before: ir.Value, site: Site, graph: ir.Graph) -> list[ir.Node]:
        """Q and DQ of a value; of a constant DQ alone."""
        zero = np.asarray(site.zero_point, site.dtype)
        inputs = [
            self.constants.store(graph, "scale", np.asarray(site.scale, np.float32)),
            self.constants.store(graph, "zero", zero),
        ]
        content, nodes = array(before), list[ir.Node]()
        if content is None:
            nodes.append(new_node("QuantizeLinear", [before, *inputs], self.names.fresh("q")))
            codes = nodes[0].outputs[0]
        else:
            q = QParams(site.scale, site.zero_point, site.dtype)
            codes = self.constants.store(graph, "weight", quantize_activation(content, q))
        return [*nodes, new_node("DequantizeLinear", [codes, *inputs], self.names.fresh("dq"))]

    def _site(self, site: Site, value: ir.Value, readers: set[ir.Node]) -> None:
        everyone = site.readers == "all"
        uses = [u for u in value.uses() if (everyone or u.node in readers) and not is_parameter(u.node, u.idx)]
        if not uses and not (everyone and value.is_graph_output()):
            return  # a plan edited by hand: nobody reads it
        own, source = owner(value), value
        here = [u for u in uses if u.node.graph is own or (everyone and u.node not in readers)]
        if here or everyone:
            source = self._quantize(site, value, here, own)
        if everyone and value.is_graph_output():
            replace_output(own, value, source)
        inside = [u for u in uses if u not in here]
        for graph in dict.fromkeys(graph_of(u.node) for u in inside):
            there = [u for u in inside if u.node.graph is graph]
            if everyone:
                dequantize_again(source, there, graph, partial(self.constants.store, graph), self.names)
            else:
                self._quantize(site, value, there, graph)

    def _quantize(self, site: Site, value: ir.Value, uses: Sequence[tuple[ir.Node, int]], graph: ir.Graph) -> ir.Value:
        """Q and DQ of a value in a graph, which these uses read; what DQ gives."""
        nodes: list[ir.Node] = []
        before, magnitude, store = value, None, partial(self.constants.store, graph)
        if site.smooth:
            nodes.append(smoothed(before, self._factors(site, uses[0][0]), self.names, store))
            before = nodes[-1].outputs[0]
        if site.per_token:
            steps, magnitude = normalized(before, self.opset, self.names, store)
            nodes += steps
            before = steps[-1].outputs[0]
        nodes += self._pair(before, site, graph)
        dequantize = nodes[-1]
        place(value, nodes, graph)
        for node, index in uses:
            node.replace_input_with(index, dequantize.outputs[0])
            if magnitude is not None:
                self._scale_back(node, magnitude)
        return dequantize.outputs[0]

    def _products(self, site: Site, readers: set[ir.Node]) -> list[ir.Node]:
        """The nodes that read a tensor as their second factor."""
        return [u.node for u in self.values[site.tensor].uses() if u.idx == 1 and u.node in readers]

    def _factor(self, site: Site, products: list[ir.Node]) -> None:
        """Q and DQ once more, for these nodes."""
        before = products[0].inputs[1] if products else None
        if before is None:
            return
        pair = self._pair(before, site, owner(before))
        place(before, pair, owner(before))
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
        graph = graph_of(node)
        graph.insert_after(node, product)
        for use in tuple(result.uses()):
            if use.node is not product:
                use.node.replace_input_with(use.idx, product.outputs[0])
        if result.is_graph_output():
            replace_output(graph, result, product.outputs[0])
