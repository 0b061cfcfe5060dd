"""Random models full of shape arithmetic: computed targets, masks of Range and comparison, sizes that come several ways.

Every node is computed with numpy while the graph grows, at one size of the axes, so that most graphs run at that size. At
others they may fail; then there is nothing to compare.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (11, 13, 14, 17, 21)
AXES = ("N", "S", "M")
SIZES = ((2, 3, 2), (1, 1, 1), (3, 1, 2), (0, 3, 1), (2, 0, 2), (4, 4, 3), (5, 2, 0))
INPUTS = {"x": ("N", "S", 4), "w": ("N", "S"), "z": ("M", 4), "u": ("S",)}


def shaped(sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A batch at these sizes of the axes."""
    rng, known = np.random.default_rng(sum(sizes)), dict(zip(AXES, sizes, strict=True))
    shapes = {k: [known.get(d, d) for d in shape] for k, shape in INPUTS.items()}
    return {k: rng.integers(-3, 4, shape).astype(np.float32) for k, shape in shapes.items()}


class _Builder:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.opset = self.random.choice(OPSETS)
        self.values: dict[str, np.ndarray] = dict(shaped(SIZES[0]))
        self.known = set[str]()
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def pick(self, kind: str, rank: int | None = None) -> str:
        """An earlier value of a kind of numbers, of a rank. Later ones are more likely."""
        fits = [n for n, v in self.values.items() if v.dtype.kind == kind and rank in (None, v.ndim)]
        return fits[max(self.random.randrange(len(fits)), self.random.randrange(len(fits)))]

    def constant(self, content: object, dtype: type = np.int64) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(content, dtype), name))
        self.known.add(name)
        return name

    def add(self, op: str, inputs: list[str], result: np.ndarray, **attributes: object) -> str:
        if result.size > 2000 or result.ndim > 6:
            raise ValueError("too large")
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.values[name] = result
        return name

    def axes(self, op: str, value: str, axes: list[int], result: np.ndarray) -> str:
        if self.opset < 13:
            return self.add(op, [value], result, axes=axes)
        return self.add(op, [value, self.constant(axes)], result)


def _shape(b: _Builder) -> None:
    name = b.pick("f")
    shape, start = b.values[name].shape, b.random.randrange(-2, 3)
    if b.opset >= 15 and b.random.random() < 0.5:
        b.add("Shape", [name], np.array(shape[start:], np.int64), start=start)
    else:
        b.add("Shape", [name], np.array(shape, np.int64))


def _size(b: _Builder) -> None:
    name = b.pick("f")
    b.add("Size", [name], np.array(b.values[name].size, np.int64))


def _gather(b: _Builder) -> None:
    vector = b.pick("i", 1)
    length = len(b.values[vector])
    index = b.random.choice([b.random.randrange(-length, length), [b.random.randrange(length)]])
    b.add("Gather", [vector, b.constant(index)], np.take(b.values[vector], index, 0), axis=0)


def _slice(b: _Builder) -> None:
    name = b.pick(b.random.choice("iif"))
    if b.values[name].ndim == 0:
        raise ValueError
    end = b.pick("i", 1) if b.random.random() < 0.3 else b.constant([b.random.choice([1, 2, 2**62, -1])])
    start = b.random.choice([0, 0, 1, -1, -2])
    stop = next(iter(b.values.get(end, np.array([0]))), 0)
    if end in b.values and b.values[end].shape != (1,):
        raise ValueError
    if end not in b.values:
        stop = int(numpy_helper.to_array(b.weights[-1])[0])
    b.add("Slice", [name, b.constant([start]), end, b.constant([0])], b.values[name][start:stop])


def _unsqueeze(b: _Builder) -> None:
    name = b.pick(b.random.choice("iib"))
    axis = b.random.randrange(b.values[name].ndim + 1)
    b.axes("Unsqueeze", name, [axis], np.expand_dims(b.values[name], axis))


def _squeeze(b: _Builder) -> None:
    name = b.pick(b.random.choice("if"))
    axis = b.random.randrange(b.values[name].ndim)
    b.axes("Squeeze", name, [axis], np.squeeze(b.values[name], axis))


def _concat(b: _Builder) -> None:
    parts = [b.pick("i", 1) for _ in range(b.random.randrange(1, 4))]
    if b.random.random() < 0.4:
        parts.append(b.constant([b.random.choice([-1, 0, 1, 4])]))
    arrays = [b.values[p] if p in b.values else numpy_helper.to_array(b.weights[-1]) for p in parts]
    b.add("Concat", parts, np.concatenate(arrays), axis=0)


def _arithmetic(b: _Builder) -> None:
    op = b.random.choice(["Add", "Sub", "Mul", "Mul", "Div", "Min", "Max"] if b.opset >= 12 else ["Add", "Sub", "Mul"])
    function: Callable[..., np.ndarray] = {
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.floor_divide, "Min": np.minimum, "Max": np.maximum,
    }[op]  # fmt: skip
    first, number = b.pick("i"), b.random.choice([0, 1, 2, 3])
    if b.random.random() < 0.5 or op == "Div":
        number = max(number, 1) if op == "Div" else number
        second, array = b.constant(b.random.choice([number, [number]])), np.array(number)
    else:
        second = b.pick("i")
        array = b.values[second]
    if op == "Div" and (b.values[first] < 0).any():
        raise ValueError
    result = function(b.values[first], array)
    if second in b.known and numpy_helper.to_array(b.weights[-1]).ndim > b.values[first].ndim:
        result = result.reshape(1)
    b.add(op, [first, second], result)


def _compare(b: _Builder) -> None:
    op = b.random.choice(["Equal", "Less", "Greater", *(["GreaterOrEqual", "LessOrEqual"] if b.opset >= 12 else [])])
    function: Callable[..., np.ndarray] = {
        "Equal": np.equal, "Less": np.less, "Greater": np.greater,
        "GreaterOrEqual": np.greater_equal, "LessOrEqual": np.less_equal,
    }[op]  # fmt: skip
    first, number = b.pick("i"), b.random.choice([-1, 0, 1, 3])
    if b.random.random() < 0.6:
        b.add(op, [first, b.constant(number)], function(b.values[first], number))
    else:
        second = b.pick("i")
        b.add(op, [first, second], function(b.values[first], b.values[second]))


def _logic(b: _Builder) -> None:
    op = b.random.choice(["And", "Or", "Not"])
    first, second = b.pick("b"), b.pick("b")
    if op == "Not":
        b.add("Not", [first], ~b.values[first])
    else:
        function = np.logical_and if op == "And" else np.logical_or
        b.add(op, [first, second], function(b.values[first], b.values[second]))


def _where(b: _Builder) -> None:
    kind = b.random.choice("iff")
    condition, first, second = b.pick("b"), b.pick(kind), b.pick(kind)
    if b.random.random() < 0.4:
        second, array = b.constant(1, np.int64 if kind == "i" else np.float32), np.array(1)
    else:
        array = b.values[second]
    result = np.where(b.values[condition], b.values[first], array)
    b.add("Where", [condition, first, second], result.astype(b.values[first].dtype))


def _constant_of_shape(b: _Builder) -> None:
    target, dtype = b.pick("i", 1), b.random.choice([np.int64, np.float32, np.bool_])
    value = numpy_helper.from_array(np.ones(1, dtype))
    b.add("ConstantOfShape", [target], np.ones(b.values[target], dtype), value=value)


def _range(b: _Builder) -> None:
    limit, start = b.pick("i", 0), b.random.choice([0, 0, 1])
    result = np.arange(start, int(b.values[limit]))
    b.add("Range", [b.constant(start), limit, b.constant(1)], result)


def _reshape(b: _Builder) -> None:
    name, target = b.pick(b.random.choice("ffib")), b.pick("i", 1)
    if b.random.random() < 0.3:
        target = b.add("Concat", [b.pick("i", 1), b.constant([-1])], np.append(b.values[target], -1), axis=0)
        b.values[target] = np.append(b.values[b.nodes[-1].input[0]], -1)
    sizes = [b.values[name].shape[i] if d == 0 else int(d) for i, d in enumerate(b.values[target])]
    b.add("Reshape", [name, target], b.values[name].reshape(sizes))


def _flatten(b: _Builder) -> None:
    name = b.pick(b.random.choice("fib"))
    axis = b.random.randrange(b.values[name].ndim + 1)
    shape = b.values[name].shape
    sizes = (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
    b.add("Flatten", [name], b.values[name].reshape(sizes), axis=axis)


def _expand(b: _Builder) -> None:
    name, target = b.pick(b.random.choice("fbi")), b.pick("i", 1)
    shape = np.broadcast_shapes(b.values[name].shape, tuple(b.values[target].tolist()))
    b.add("Expand", [name, target], np.broadcast_to(b.values[name], shape))


def _take(b: _Builder) -> None:
    name, index = b.pick("f"), b.pick("i")
    b.add("Gather", [name, index], np.take(b.values[name], b.values[index], 0), axis=0)


def _floats(b: _Builder) -> None:
    op = b.random.choice(["Add", "Mul", "Relu", "Cast"])
    first, second = b.pick("f"), b.pick("f")
    if op == "Cast":
        name = b.pick(b.random.choice("bi"))
        b.add("Cast", [name], b.values[name].astype(np.float32), to=TensorProto.FLOAT)
    elif op == "Relu":
        b.add("Relu", [first], np.maximum(b.values[first], 0))
    else:
        function = np.add if op == "Add" else np.multiply
        b.add(op, [first, second], function(b.values[first], b.values[second]))


_STEPS = [
    *(_shape, _shape, _size, _gather, _gather, _slice, _unsqueeze, _unsqueeze, _squeeze, _concat, _concat, _arithmetic),
    *(
        _arithmetic,
        _compare,
        _compare,
        _logic,
        _where,
        _constant_of_shape,
        _range,
        _range,
        _reshape,
        _reshape,
        _reshape,
    ),
    *(_flatten, _expand, _expand, _take, _floats, _floats, _floats),
]


def random_model(seed: int) -> onnx.ModelProto:
    """A model whose outputs are some of its values."""
    b = _Builder(seed)
    for _ in range(b.random.randrange(15, 60)):
        state = len(b.nodes), len(b.weights), dict(b.values)
        try:
            with np.errstate(all="raise"):
                b.random.choice(_STEPS)(b)
        except (ValueError, IndexError, FloatingPointError, OverflowError, TypeError, RuntimeError, MemoryError):
            del b.nodes[state[0] :], b.weights[state[1] :]
            b.values = state[2]
    kinds = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
    made = [n for n in b.values if n not in INPUTS] or ["x"]
    read = {i for node in b.nodes for i in node.input}
    ends = [n for n in made if n not in read]
    chosen = list(dict.fromkeys([*b.random.sample(ends, min(4, len(ends))), made[-1]]))
    outputs = [
        helper.make_tensor_value_info(n, kinds[b.values[n].dtype.kind], [None] * b.values[n].ndim) for n in chosen
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in INPUTS.items()]
    graph = helper.make_graph(b.nodes, "g", inputs, outputs, b.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", b.opset)], ir_version=8)
