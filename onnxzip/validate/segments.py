"""A model cut at many of its values at once, and the twin of it that says what rounding explains.

Cut: every value v of a list gets an input that its readers read instead of it, and stays an output:

    v1 = f(x)   v2 = g(v1)   v3 = h(v1, v2)      becomes      v1 = f(x)   v2 = g(u1)   v3 = h(u1, u2)

One run then gives what each segment f, g, h makes of the values that are fed, whatever the segments before it do.

Twin: the cut model with each of its number formats moved by one step,

1. codes       integer weights q (8 bits and less): q + 1 or q - 1, at random;
2. activations DequantizeLinear(QuantizeLinear(x)) of one scale and zero point: x itself;
3. halves      weights in float16: w (1 ± 2^-9);
4. fed floats  (by whoever runs it, `jittered`) u (1 ± 2^-20), where there are halves u (1 ± 2^-9).

How far it is from the cut model is the error that rounding explains. Rounding to the nearest code is off by 1/12 of a step squared, so 1 explains 12 times that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxzip.model.constants import array
from onnxzip.model.edit import Names, new_node
from onnxzip.model.walk import graphs_of, is_op

FLOAT_STEP, HALF_STEP = 2.0**-20, 2.0**-9

_CODES = frozenset(ir.DataType[n] for n in ("INT8", "UINT8", "INT4", "UINT4"))


@dataclass(frozen=True)
class Segments:
    """A cut model: the name of the input that stands for each value, and the name of the output that gives it."""

    model: ir.Model
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def cut(model: ir.Model, cuts: Mapping[str, np.dtype[Any]], wanted: Sequence[str]) -> Segments:
    """A copy of `model`, cut at these values of the main graph (float tensors of the given types), that computes the wanted ones (cut or not) and nothing else.

    Weights are shared with the model. Of the model's own inputs only those stay that are needed.
    """
    copy = model.clone()
    values = {o.name or "": o for node in copy.graph for o in node.outputs}
    names, inputs = Names(copy), dict[str, str]()
    for name, dtype in cuts.items():
        given = ir.Value(name=names.fresh(f"{name} given"), type=ir.TensorType(ir.DataType.from_numpy(dtype)))
        for node, index in tuple(values[name].uses()):
            node.replace_input_with(index, given)
        copy.graph.inputs.append(given)
        inputs[name] = given.name or ""
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(values[n] for n in wanted)
    _sweep(copy)
    left = {v.name for v in copy.graph.inputs}
    return Segments(copy, {n: i for n, i in inputs.items() if i in left}, {n: n for n in wanted})


def twin(segments: Segments, *, seed: int = 0) -> Segments:
    """The twin of a cut model."""
    copy, rng = segments.model.clone(), np.random.default_rng(seed)
    for graph in graphs_of(copy):
        for value in graph.initializers.values():
            _move(value, rng)
    outputs = dict(segments.outputs)
    for graph in graphs_of(copy):
        for node in tuple(graph):
            if _is_pair(node):
                _skip(copy, node, outputs)
    _sweep(copy)
    return Segments(copy, segments.inputs, outputs)


def has_halves(model: ir.Model) -> bool:
    """Whether a part of the model computes in float16."""
    kinds = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    return any(v.dtype in kinds for graph in graphs_of(model) for v in graph.initializers.values()) or any(
        is_op(node, "Cast") and node.attributes.get_int("to", 0) in kinds for g in graphs_of(model) for node in g
    )


def jittered(content: np.ndarray[Any, Any], step: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """A float array with every element moved by up to a step of its own size; others as they are."""
    if content.dtype.kind != "f":
        return content
    limit = np.finfo(content.dtype).max  # masks are as large as floats can be
    moved = np.clip(content * (1 + rng.uniform(-step, step, content.shape)), -limit, limit)
    return np.asarray(moved, content.dtype)


def _move(value: ir.Value, rng: np.random.Generator) -> None:
    """Cases 1 and 3, for one initializer."""
    tensor = value.const_value
    if tensor is None or tensor.size <= 1 or any(_is_zero_point(u.node, u.idx) for u in value.uses()):
        return
    if tensor.dtype in _CODES:
        content = tensor.numpy()
        low, high = (-8, 7) if tensor.dtype == ir.DataType.INT4 else (0, 15)
        if tensor.dtype in (ir.DataType.INT8, ir.DataType.UINT8):
            low, high = np.iinfo(content.dtype).min, np.iinfo(content.dtype).max
        moved = np.clip(content.astype(np.int16) + rng.choice((-1, 1), content.shape), low, high)
        value.const_value = ir.tensor(moved.astype(content.dtype), dtype=tensor.dtype, name=tensor.name)
    elif tensor.dtype == ir.DataType.FLOAT16:
        value.const_value = ir.tensor(jittered(tensor.numpy(), HALF_STEP, rng), dtype=tensor.dtype, name=tensor.name)


def _is_zero_point(node: ir.Node, index: int) -> bool:
    """Whether a node reads its zero point there."""
    return index == 2 and is_op(node, "QuantizeLinear", "DequantizeLinear")


def _is_pair(node: ir.Node) -> bool:
    """Case 2."""
    if not is_op(node, "DequantizeLinear"):
        return False
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    if before is None or not is_op(before, "QuantizeLinear"):
        return False
    return _same(node.inputs[1], before.inputs[1]) and _same(_third(node), _third(before))


def _third(node: ir.Node) -> ir.Value | None:
    return node.inputs[2] if len(node.inputs) > 2 else None


def _same(left: ir.Value | None, right: ir.Value | None) -> bool:
    if left is right:
        return True
    a, b = array(left), array(right)
    return a is not None and b is not None and bool(np.array_equal(a, b))


def _skip(copy: ir.Model, node: ir.Node, outputs: dict[str, str]) -> None:
    """Let readers, and the outputs of the model, have what goes into a pair."""
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    source = before.inputs[0] if before is not None else None
    value = node.outputs[0]
    if source is None or node.graph is None:
        return
    if value.is_graph_output():
        same = new_node("Identity", [source], Names(copy).fresh(f"{value.name} unrounded"))
        node.graph.insert_after(node, same)
        for index, output in enumerate(node.graph.outputs):
            if output is value:
                node.graph.outputs[index] = same.outputs[0]
        if value.name in outputs:
            outputs[value.name or ""] = same.outputs[0].name or ""
        source = same.outputs[0]
    for user, index in tuple(value.uses()):
        if user is not source.producer():
            user.replace_input_with(index, source)


def _sweep(model: ir.Model) -> None:
    """Drop nodes and weights that nothing needs, and inputs of that kind."""
    RemoveUnusedNodesPass()(model)
    for value in tuple(model.graph.inputs):
        if not value.uses() and not value.is_graph_output():
            model.graph.inputs.remove(value)
