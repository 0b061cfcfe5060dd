"""Blocks of random graphs as exporters write them: each is a pattern that some pass rewrites, drawn in many spellings.

Every block takes two values and gives one, all float [N, 4, 6] with a dynamic N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper

CHANNELS, LENGTH = 4, 6
SIZE = CHANNELS * LENGTH


def back(b: Any, v: str) -> str:
    """Any value of N * 24 elements as [N, 4, 6]."""
    return b.add("Reshape", [v, b.ints(-1, CHANNELS, LENGTH)])


def shuffle(b: Any, v: str, w: str) -> str:
    """Reshape, Transpose, Reshape over channels, then perhaps two halves, put together in either order."""
    four = b.add("Reshape", [v, b.ints(-1 if b.draw(st.booleans()) else 0, 2, 2, LENGTH)])
    mixed = b.add("Transpose", [four], perm=b.draw(st.sampled_from([[0, 2, 1, 3], [0, 1, 2, 3], [2, 0, 1, 3]])))
    kind = b.draw(st.sampled_from(["whole", "gather", "slice"]))
    if kind == "whole":
        return back(b, mixed)
    joined = b.add("Reshape", [mixed, b.ints(2, -1, 2, LENGTH)])
    if kind == "gather":
        halves = [b.add("Gather", [joined, b.constant(np.int64(i))], axis=0) for i in (0, 1)]
    else:
        halves = [b.squeeze(b.slice(joined, i, i + 1, 0), 0) for i in (0, 1)]
    if b.draw(st.booleans()):
        halves[0] = b.add("Relu", [halves[0]])
    return back(b, b.add("Concat", halves if b.draw(st.booleans()) else halves[::-1], axis=1))


def computed_target(b: Any, v: str, w: str) -> str:
    """Reshape to [N, 2, 12], whose N is computed, and back by the shape of another value."""
    shape = b.add("Shape", [b.draw(st.sampled_from([v, w]))])
    if b.draw(st.booleans()):
        size = b.unsqueeze(b.add("Gather", [shape, b.constant(np.int64(0))]), 0)
    else:
        size = b.slice(shape, 0, 1, 0)
    target = b.add("Concat", [size, b.ints(2), b.ints(b.draw(st.sampled_from([12, -1])))], axis=0)
    middle = b.add("Reshape", [v, target])
    if b.draw(st.booleans()):
        middle = b.add("Sigmoid", [middle])
    return b.add("Reshape", [middle, b.add("Shape", [w])])


def padded_linear(b: Any, v: str, w: str) -> str:
    left, right = b.draw(st.sampled_from([(1, 1), (2, 0), (0, 2)]))
    value = b.draw(st.sampled_from([0.0, 0.0, 1.0]))
    padded = b.pad(v, [0, 0, left, 0, 0, right], value)
    kind = b.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    if kind == "Conv":
        return b.add("Conv", [padded, b.normal(CHANNELS, CHANNELS, 3)])
    extra = {"count_include_pad": b.draw(st.sampled_from([0, 1]))} if kind == "AveragePool" else {}
    return b.add(kind, [padded], kernel_shape=[3], **extra)


def shortcut(b: Any, v: str, w: str) -> str:
    """Every second step, then channels of zeros: the shortcut of a ResNet without weights."""
    wide = b.add("Concat", [v, w], axis=2)
    strided = b.slice(wide, 0, 2**31 - 1, 2, step=2)
    half = b.slice(strided, 0, 2, 1)
    return b.pad(half, [0, 1, 0, 0, 1, 0], 0.0)


def split_and_join(b: Any, v: str, w: str) -> str:
    parts = b.split(v, [1, 3] if b.draw(st.booleans()) else [2, 2], axis=1)
    if b.draw(st.booleans()):
        parts = [b.add("Relu", [p]) for p in parts]
    return b.add("Concat", parts if b.draw(st.booleans()) else parts[::-1], axis=1)


def expanded(b: Any, v: str, w: str) -> str:
    source = b.draw(st.sampled_from([b.normal(), b.normal(1, LENGTH), b.slice(w, 0, 1, 1)]))
    spread = b.add("Expand", [source, b.add("Shape", [v])])
    return b.add(b.draw(st.sampled_from(["Mul", "Add", "Max"])), [spread, v])


def masked(b: Any, v: str, w: str) -> str:
    mask = b.add("Greater", [w, b.constant(np.float32(0.1))])
    if b.draw(st.booleans()):
        number = b.add("Cast", [mask], to=TensorProto.FLOAT)
        inverse = b.add("Sub", [b.constant(np.float32(1)), number])
        return b.add("Where", [b.add("Cast", [inverse], to=TensorProto.BOOL), b.constant(np.float32(-3)), v])
    if b.draw(st.booleans()):
        mask = b.add("Not", [b.add("Not", [mask])])
    return b.add("Where", [mask, v, b.draw(st.sampled_from([v, w, b.constant(np.float32(0))]))])


def dense(b: Any, v: str, w: str) -> str:
    flat = b.add("Flatten", [v]) if b.draw(st.booleans()) else b.add("Reshape", [v, b.ints(-1, SIZE)])
    if b.draw(st.booleans()):
        out = b.add("Add", [b.add("MatMul", [flat, b.normal(SIZE, SIZE)]), b.normal(SIZE)])
    else:
        out = b.add(
            "Gemm", [flat, b.normal(SIZE, SIZE), b.normal(SIZE)], transB=1, alpha=b.draw(st.sampled_from([1.0, 0.5]))
        )
    if b.draw(st.booleans()):
        out = b.add("Mul", [out, b.normal(SIZE)])
    return back(b, out)


def activation(b: Any, v: str, w: str) -> str:
    """Gelu, HardSwish, Softmax, Sigmoid and Clip, spelled out."""
    kind, c = b.draw(st.sampled_from(["gelu", "hardswish", "softmax", "sigmoid", "clip"])), b.number
    if kind == "gelu":
        inner = b.add("Erf", [b.add("Div", [v, c(np.sqrt(2))])])
        product = b.add("Mul", [v, b.add("Add", [inner, c(1)])])
        return b.add("Mul", [product, c(0.5)])
    if kind == "hardswish":
        return b.add("Div", [b.add("Mul", [v, b.clip(b.add("Add", [v, c(3)]), 0, 6)]), c(6)])
    if kind == "softmax":
        high = b.reduce("ReduceMax", v, [2], keepdims=1)
        raised = b.add("Exp", [b.add("Sub", [v, high])])
        return b.add("Div", [raised, b.reduce("ReduceSum", raised, [2], keepdims=1)])
    if kind == "sigmoid":
        return b.add("Div", [c(1), b.add("Add", [c(1), b.add("Exp", [b.add("Neg", [v])])])])
    return b.clip(b.clip(v, b.draw(st.sampled_from([-1, 0, 1])), 2), 0, b.draw(st.sampled_from([1, 6])))


def layer_norm(b: Any, v: str, w: str) -> str:
    mean = b.reduce("ReduceMean", v, [-1] if b.opset >= 11 else [2], keepdims=1)
    centred = b.add("Sub", [v, mean])
    square = b.add("Pow", [centred, b.number(2)]) if b.draw(st.booleans()) else b.add("Mul", [centred, centred])
    variance = b.reduce("ReduceMean", square, [2], keepdims=1)
    spread = b.add("Sqrt", [b.add("Add", [variance, b.number(1e-5)])])
    scaled = b.add("Mul", [b.add("Div", [centred, spread]), b.normal(LENGTH)])
    return b.add("Add", [scaled, b.normal(LENGTH)])


def norms(b: Any, v: str, w: str) -> str:
    square = b.add("Mul", [v, v]) if b.draw(st.booleans()) else b.add("Pow", [v, b.number(2)])
    total = b.reduce("ReduceSum", square, [1], keepdims=b.draw(st.sampled_from([0, 1])))
    root = b.add("Sqrt", [total])
    if b.draw(st.booleans()):
        root = b.add("Mul", [root, root])
    shaped = b.add("Reshape", [root, b.ints(-1, 1, LENGTH)])
    return b.add("Add", [v, shaped])


def one_hot(b: Any, v: str, w: str) -> str:
    """A table is read through a one-hot matrix, with indices beside the table now and then."""
    ids = b.add("Cast", [b.reduce("ReduceSum", b.add("Floor", [v]), [2], keepdims=0)], to=TensorProto.INT64)
    if b.draw(st.booleans()):
        hot = b.add("OneHot", [ids, b.constant(np.int64(5)), b.constant(np.array([0, 1], np.float32))])
    else:
        same = b.add("Equal", [b.unsqueeze(ids, 2), b.ints(0, 1, 2, 3, 4)])
        hot = b.add("Cast", [same], to=TensorProto.FLOAT)
    rows = b.add("MatMul", [hot, b.normal(5, LENGTH)])
    return b.add("Add", [b.add("Relu", [rows]), b.normal(LENGTH)]) if b.draw(st.booleans()) else rows


def quantized(b: Any, v: str, w: str) -> str:
    """A quantized stretch whose Clip or Relu the saturation may make redundant."""
    if b.opset < 10:
        return b.add("Relu", [v])
    scale, zero = (
        b.number(b.draw(st.sampled_from([0.02, 0.1]))),
        b.constant(np.uint8(b.draw(st.sampled_from([0, 128])))),
    )
    x = b.add("DequantizeLinear", [b.add("QuantizeLinear", [v, scale, zero]), scale, zero])
    x = b.clip(x, 0, b.draw(st.sampled_from([1, 6, 30]))) if b.draw(st.booleans()) else b.add("Relu", [x])
    return b.add("DequantizeLinear", [b.add("QuantizeLinear", [x, scale, zero]), scale, zero])


def siblings(b: Any, v: str, w: str) -> str:
    """Two linear operators read one value; their results are put together, or added."""
    if b.draw(st.booleans()):
        halves = [b.add("Conv", [v, b.normal(2, CHANNELS, 1), b.normal(2)]) for _ in range(2)]
        if b.draw(st.booleans()):
            halves[1] = b.add("Neg", [halves[1]])
        return b.add("Concat", halves, axis=1)
    halves = [b.add("Conv", [v, b.normal(CHANNELS, CHANNELS, 1)]) for _ in range(2)]
    return b.add("Add", halves)


def channels_last(b: Any, v: str, w: str) -> str:
    """A stretch in another layout, between Transposes."""
    there, other = (b.add("Transpose", [x], perm=[0, 2, 1]) for x in (v, w))
    kind = b.draw(st.sampled_from(["add", "concat", "constant", "reduce"]))
    if kind == "add":
        there = b.add("Add", [there, other])
    elif kind == "concat":
        there = b.slice(b.add("Concat", [there, other], axis=b.draw(st.sampled_from([1, 2]))), 0, CHANNELS, 2)
        there = b.slice(there, 0, LENGTH, 1)
    elif kind == "constant":
        there = b.add("Relu", [b.add("Mul", [there, b.normal(CHANNELS)])])
    else:
        there = b.add("Sub", [there, b.reduce("ReduceMean", there, [1], keepdims=1)])
    return b.add("Transpose", [there], perm=[0, 2, 1])


def slices(b: Any, v: str, w: str) -> str:
    long = b.add("Concat", [v, w, b.add("Relu", [v])], axis=2)
    start = b.draw(st.sampled_from([0, 2, LENGTH, 2 * LENGTH]))
    return b.slice(b.slice(long, start, 2**31 - 1, 2), 0, LENGTH, 2)


def turns(b: Any, v: str, w: str) -> str:
    """A Loop of a constant number of turns, or an If whose condition is known."""
    value = helper.make_tensor_value_info
    shape = ["N", CHANNELS, LENGTH]
    if b.draw(st.booleans()):
        count, keep = b.constant(np.int64(b.draw(st.sampled_from([0, 1, 3])))), b.constant(np.bool_(True))
        i, c, x, y, o = (b.name(s) for s in ("i", "c", "x", "y", "o"))
        nodes = [helper.make_node("Add", [x, w], [y]), helper.make_node("Identity", [c], [o])]
        inputs = [value(i, TensorProto.INT64, []), value(c, TensorProto.BOOL, []), value(x, TensorProto.FLOAT, shape)]
        outputs = [value(o, TensorProto.BOOL, []), value(y, TensorProto.FLOAT, shape)]
        return b.add("Loop", [count, keep, v], body=helper.make_graph(nodes, "turn", inputs, outputs))
    branches = {}
    for key, op in (("then_branch", "Relu"), ("else_branch", b.draw(st.sampled_from(["Relu", "Neg"])))):
        out = b.name("p")
        node = helper.make_node(op, [v], [out])
        branches[key] = helper.make_graph([node], key, [], [value(out, TensorProto.FLOAT, shape)])
    return b.add("If", [b.constant(np.bool_(b.draw(st.booleans())))], **branches)


BLOCKS = (
    shuffle,
    computed_target,
    padded_linear,
    shortcut,
    split_and_join,
    expanded,
    masked,
    dense,
    activation,
    layer_norm,
    norms,
    one_hot,
    quantized,
    siblings,
    channels_last,
    slices,
)
"""All but `turns`, which has bodies of its own."""
