"""Random small models for hypothesis: mixed operators, opsets 9 to 21, dynamic axes, constants, bodies.

Values are float [N, 4, 6] ("N" is dynamic) or what operators make of them; every graph is valid ONNX, and most of its
nodes are there to be removed, folded, merged or fused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.random_blocks import BLOCKS, CHANNELS, LENGTH, turns

OPSETS = (9, 11, 12, 13, 14, 17, 18, 20, 21, 22)


@dataclass
class _Builder:
    """Nodes and constants of one graph under construction. Names are unique in the whole model."""

    opset: int
    draw: Callable[..., object]
    rng: np.random.Generator
    count: list[int] = field(default_factory=lambda: [0])
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def name(self, stem: str) -> str:
        self.count[0] += 1
        return f"{stem}{self.count[0]}"

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: object) -> str:
        names = [self.name("v") for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names[0]

    def constant(self, array: np.ndarray) -> str:
        """An initializer, or a Constant node."""
        name, tensor = self.name("c"), numpy_helper.from_array(np.asarray(array))
        if self.draw(st.booleans()):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            tensor.name = name
            self.weights.append(tensor)
        return name

    def normal(self, *shape: int) -> str:
        return self.constant(self.rng.standard_normal(shape).astype(np.float32))

    def ints(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def number(self, content: float) -> str:
        return self.constant(np.float32(content))

    def squeeze(self, value: str, axis: int) -> str:
        return self.axes("Squeeze", value, axis)

    def unsqueeze(self, value: str, axis: int) -> str:
        return self.axes("Unsqueeze", value, axis)

    def reduce(self, op: str, value: str, axes: list[int], *, keepdims: int) -> str:
        """Axes became an input in opset 13 for sums, in 18 for the others."""
        if self.opset < (13 if op == "ReduceSum" else 18):
            return self.add(op, [value], axes=axes, keepdims=keepdims)
        return self.add(op, [value, self.ints(*axes)], keepdims=keepdims)

    def slice(self, value: str, start: int, end: int, axis: int, step: int = 1) -> str:
        if self.opset < 10 and step == 1:
            return self.add("Slice", [value], starts=[start], ends=[end], axes=[axis])
        if self.opset < 10:  # no steps yet: every second element by its index
            indices = np.arange(0, 2 * LENGTH, step, dtype=np.int64)
            return self.add("Gather", [value, self.constant(indices)], axis=axis)
        return self.add("Slice", [value, *(self.ints(i) for i in (start, end, axis, step))])

    def pad(self, value: str, pads: list[int], content: float) -> str:
        if self.opset < 11:
            return self.add("Pad", [value], pads=pads, value=content)
        return self.add("Pad", [value, self.ints(*pads), self.number(content)])

    def split(self, value: str, sizes: list[int], axis: int) -> list[str]:
        names = [self.name("v") for _ in sizes]
        if self.opset < 13:
            self.nodes.append(helper.make_node("Split", [value], names, axis=axis, split=sizes))
        else:
            self.nodes.append(helper.make_node("Split", [value, self.ints(*sizes)], names, axis=axis))
        return names

    def clip(self, value: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.add("Clip", [value], min=float(low), max=float(high))
        return self.add("Clip", [value, self.number(low), self.number(high)])

    def axes(self, op: str, value: str, *axes: int) -> str:
        """Squeeze, Unsqueeze: axes are an attribute before opset 13, an input from then on."""
        if self.opset < 13:
            return self.add(op, [value], axes=list(axes))
        return self.add(op, [value, self.ints(*axes)])


def _elementwise(b: _Builder, v: str, w: str) -> str:
    op = b.draw(st.sampled_from(["Add", "Mul", "Sub", "Max"]))
    return b.add(op, [v, w])


def _unary(b: _Builder, v: str, w: str) -> str:
    return b.add(
        b.draw(st.sampled_from(["Relu", "Neg", "Identity", "Tanh", "Abs", "Dropout", "Floor", "Sigmoid"])), [v]
    )


def _constant_operand(b: _Builder, v: str, w: str) -> str:
    shape = b.draw(st.sampled_from([(), (1,), (LENGTH,), (CHANNELS, 1), (1, CHANNELS, 1), (CHANNELS, LENGTH)]))
    kind = b.draw(st.sampled_from(["zeros", "ones", "normal", "folded"]))
    if kind == "normal":
        c = b.normal(*shape)
    elif kind == "folded":
        c = b.add("Mul", [b.normal(*shape), b.normal(*shape)])
    else:
        c = b.constant(np.full(shape, float(kind == "ones"), np.float32))
    op = b.draw(st.sampled_from(["Add", "Mul", "Sub"]))
    return b.add(op, [c, v] if b.draw(st.booleans()) else [v, c])


def _linear(b: _Builder, v: str, w: str) -> str:
    groups, pad = b.draw(st.sampled_from([1, 2])), b.draw(st.sampled_from([0, 1]))
    bias = [b.normal(CHANNELS)] if b.draw(st.booleans()) else []
    kernel = 2 * pad + 1
    op = b.draw(st.sampled_from(["Conv", "ConvTranspose"]))
    return b.add(op, [v, b.normal(CHANNELS, CHANNELS // groups, kernel), *bias], group=groups, pads=[pad, pad])


def _matmul(b: _Builder, v: str, w: str) -> str:
    return b.add("MatMul", [v, b.normal(LENGTH, LENGTH)])


def _norm(b: _Builder, v: str, w: str) -> str:
    variance = b.constant(b.rng.random(CHANNELS).astype(np.float32) + 0.5)
    return b.add("BatchNormalization", [v, b.normal(CHANNELS), b.normal(CHANNELS), b.normal(CHANNELS), variance])


def _transposes(b: _Builder, v: str, w: str) -> str:
    inner = b.add("Transpose", [v], perm=[0, 2, 1])
    if b.draw(st.booleans()):
        inner = b.add("Relu", [inner])
    return b.add("Transpose", [inner], perm=[0, 2, 1])


def _reshapes(b: _Builder, v: str, w: str) -> str:
    middle = b.draw(st.sampled_from([(0, -1), (-1, LENGTH), (0, 2, -1), (0, 0, LENGTH)]))
    inner = b.add("Reshape", [v, b.ints(*middle)])
    target = b.draw(st.sampled_from([b.ints(-1, CHANNELS, LENGTH), b.add("Shape", [v])]))
    return b.add("Reshape", [inner, target])


def _squeezes(b: _Builder, v: str, w: str) -> str:
    axis = b.draw(st.sampled_from([0, 1, 3]))
    return b.axes("Squeeze", b.axes("Unsqueeze", v, axis), axis)


def _casts(b: _Builder, v: str, w: str) -> str:
    kind = b.draw(st.sampled_from([TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.FLOAT]))
    return b.add("Cast", [b.add("Cast", [v], to=kind)], to=TensorProto.FLOAT)


def _slice(b: _Builder, v: str, w: str) -> str:
    start, end = b.draw(st.sampled_from([(0, 2**31 - 1), (0, LENGTH), (0, -1)]))
    if b.opset < 10:
        part = b.add("Slice", [v], starts=[start], ends=[end], axes=[2])
    else:
        part = b.add("Slice", [v, b.ints(start), b.ints(end), b.ints(2)])
    return b.add("Add", [v, b.add("ReduceMax", [part], keepdims=1)])


def _shape_arithmetic(b: _Builder, v: str, w: str) -> str:
    size = b.add("Gather", [b.add("Shape", [v]), b.ints(b.draw(st.sampled_from([0, 1, 2])))])
    return b.add("Mul", [v, b.add("Cast", [size], to=TensorProto.FLOAT)])


def _random(b: _Builder, v: str, w: str) -> str:
    noise = [b.add("RandomNormalLike", [v], seed=1.0) for _ in range(2)]
    return b.add("Add", [v, b.add("Mul", [b.add("Sub", noise), b.constant(np.float32(0))])])


def _branches(b: _Builder, v: str, w: str) -> str:
    condition = b.add("Greater", [b.add("ReduceSum", [w], keepdims=0), b.constant(np.float32(0))])
    bodies = {}
    for key in ("then_branch", "else_branch"):
        inner = _Builder(b.opset, b.draw, b.rng, b.count)
        out = _grow(inner, [v, w], b.draw(st.integers(1, 4)), (*_SIMPLE, *BLOCKS))
        if not inner.nodes or out not in inner.nodes[-1].output:
            out = inner.add("Identity", [out])
        bodies[key] = helper.make_graph(inner.nodes, key, [], [_value(out)], inner.weights)
    return b.add("If", [condition], **bodies)


_SIMPLE = (
    _elementwise,
    _unary,
    _constant_operand,
    _linear,
    _matmul,
    _norm,
    _transposes,
    _reshapes,
    _squeezes,
    _casts,
    _slice,
    _shape_arithmetic,
    _random,
)


def _grow(b: _Builder, values: list[str], steps: int, kinds: tuple[Callable[[_Builder, str, str], str], ...]) -> str:
    values = list(values)
    for _ in range(steps):
        kind, v, w = b.draw(st.sampled_from(kinds)), b.draw(st.sampled_from(values)), b.draw(st.sampled_from(values))
        values.append(kind(b, v, w))
    return values[-1]


def _value(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", CHANNELS, LENGTH])


@st.composite
def models(draw: Callable[..., object]) -> onnx.ModelProto:
    """A valid model with inputs x, z: float [N, 4, 6] and one or two outputs."""
    b = _Builder(draw(st.sampled_from(OPSETS)), draw, np.random.default_rng(draw(st.integers(0, 1000))))
    start = ["x", "z"]
    first = _grow(b, start, draw(st.integers(1, 8)), (*_SIMPLE, *BLOCKS, _branches, turns))
    outputs = [b.add(draw(st.sampled_from(["Identity", "Sin"])), [first])]
    if draw(st.booleans()):
        second = _grow(b, [*start, first], draw(st.integers(1, 4)), (*_SIMPLE, *BLOCKS))
        outputs.append(b.add("Identity", [second]))
    graph = helper.make_graph(b.nodes, "random", [_value(v) for v in start], [_value(o) for o in outputs], b.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", b.opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model
