"""Softmax, LogSoftmax, ReduceMean and Clip that are spelled out."""

import numpy as np
import pytest

from onnxzip.passes.raise_clip import raise_clip
from onnxzip.passes.raise_mean import raise_mean
from onnxzip.passes.raise_softmax import raise_softmax
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent, run
from tests.passes.helpers import apply, assert_untouched

CONSTANTS = {
    "axis1": np.array([1], np.int64),
    "axis2": np.array([2], np.int64),
    "axes12": np.array([1, 2], np.int64),
    "low": np.float32(-1),
    "zero": np.float32(0),
    "six": np.float32(6),
    "eighth": np.float32(1 / 8),
    "eight": np.float32(8),
    "fortyeight": np.float32(48),
    "infinity": np.float32(-np.inf),
    "wide": np.full((1, 1, 1), 0.5, np.float32),
}


def graph(nodes, opset=18, x="float[N,6,8] x", y="float[A,B,C] y"):
    used = {k: v for k, v in CONSTANTS.items() if k in nodes}
    return model(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => ({y}) {{ {nodes} }}', **used)


def check(rule, nodes, expected, rtol, opset=18, **io):
    before = graph(nodes, opset, **io)
    after, outcome = apply(before, rule)
    assert outcome.changes == 1
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=rtol)


SHIFT = "m = ReduceMax<axes = [2]>(x) d = Sub(x, m) e = Exp(d)"


def test_softmax():
    check(raise_softmax, f"{SHIFT} s = ReduceSum(e, axis2) y = Div(e, s)", ["Softmax"], 3e-7, opset=17)
    check(
        raise_softmax, f"{SHIFT} s = ReduceSum(e, axis2) r = Reciprocal(s) y = Mul(r, e)", ["Softmax"], 3e-7, opset=17
    )
    check(raise_softmax, f"{SHIFT} s = ReduceSum<axes = [2]>(e) y = Div(e, s)", ["Softmax"], 3e-7, opset=11)
    first = "m = ReduceMax<axes = [1]>(x) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, axis1) y = Div(e, s)"
    check(raise_softmax, first, ["Softmax"], 3e-7, opset=17)
    assert_untouched(graph(first.replace("ReduceSum(e, axis1)", "ReduceSum<axes = [1]>(e)"), opset=11), raise_softmax)


def test_softmax_with_its_axis_put_back():
    nodes = (
        "m = ReduceMax<axes = [2], keepdims = 0>(x) h = Max(infinity, m) u = Unsqueeze(h, axis2) d = Sub(x, u) e = Exp(d)"
        " s = ReduceSum<keepdims = 0>(e, axis2) v = Unsqueeze(s, axis2) y = Div(e, v)"
    )
    check(raise_softmax, nodes, ["Softmax"], 3e-7, opset=17)


def test_log_softmax():
    check(raise_softmax, f"{SHIFT} s = ReduceSum(e, axis2) l = Log(s) y = Sub(d, l)", ["LogSoftmax"], 3e-7, opset=17)


@pytest.mark.parametrize(
    "nodes",
    [
        "e = Exp(x) s = ReduceSum(e, axis2) y = Div(e, s)",  # overflows where Softmax does not
        f"{SHIFT} s = ReduceSum(e, axis1) y = Div(e, s)",
        f"{SHIFT} s = ReduceSum(e, axis2) y = Div(d, s)",
        f"{SHIFT} s = ReduceSum(d, axis2) y = Div(e, s)",
        "m = ReduceMax<axes = [1, 2]>(x) d = Sub(x, m) e = Exp(d) s = ReduceSum(e, axes12) y = Div(e, s)",
        "s = Softmax<axis = 2>(x) y = Log(s)",  # -inf where LogSoftmax is not
    ],
)
def test_what_is_no_softmax_is_left_alone(nodes):
    assert_untouched(graph(nodes, opset=17), raise_softmax)


def test_means():
    check(raise_mean, "s = ReduceSum(x, axis2) y = Mul(s, eighth)", ["ReduceMean"], 2e-7)
    check(raise_mean, "s = ReduceSum(x, axis2) y = Div(s, eight)", ["ReduceMean"], 2e-7, opset=13)
    check(
        raise_mean,
        "s = ReduceSum<axes = [2], keepdims = 0>(x) y = Div(s, eight)",
        ["ReduceMean"],
        2e-7,
        opset=11,
        y="float[A,B] y",
    )
    check(raise_mean, "s = ReduceSum(x, axes12) y = Div(s, fortyeight)", ["ReduceMean"], 2e-7)


def test_what_is_no_mean_is_left_alone():
    assert_untouched(graph("s = ReduceSum(x, axis1) y = Div(s, eight)"), raise_mean)
    assert_untouched(graph("s = ReduceSum(x, axis2) y = Div(eight, s)"), raise_mean)
    assert_untouched(graph("s = ReduceSum(x, axis2) y = Div(s, eight)", x="float[N,6,M] x"), raise_mean)
    integers = model(
        "g (int64[N,6,8] x) => (int64[A,B,C] y) { s = ReduceSum(x, a) y = Div(s, n) }",
        a=np.array([2], np.int64),
        n=np.int64(8),
    )
    assert_untouched(integers, raise_mean)  # that division truncates


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Max(x, low) y = Min(a, six)",
        "a = Min(six, x) y = Max(low, a)",
        "long_name_as_exporters_write_it = Relu(x) y = Min(long_name_as_exporters_write_it, six)",
        "long_name_as_exporters_write_it = Min(x, six) y = Relu(long_name_as_exporters_write_it)",
        "a = Max(x, low) y = Min(a, wide)",
    ],
)
@pytest.mark.parametrize("opset", [9, 18])
def test_bounds(nodes, opset):
    check(raise_clip, nodes, ["Clip"], 0, opset=opset)
    before = graph(nodes, opset)
    strange = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 5, 6, 7] * 6, np.float32).reshape(1, 6, 8)
    expected, actual = (run(m, {"x": strange})["y"] for m in (before, apply(before, raise_clip)[0]))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Max(x, six) y = Min(a, low)",
        "a = Max(x, low) y = Max(a, six)",
        "a = Max(x, x) y = Min(a, six)",
        "a = Relu(x) y = Relu(a)",
    ],
)
def test_what_is_no_clip_is_left_alone(nodes):
    assert_untouched(graph(nodes), raise_clip)


def test_float64_is_compared_as_such():
    text = "g (double[N,3] x) => (double[A,B] y) {{ s = ReduceSum(x, a) y = Mul(s, {}) }}"
    numbers = {"exact": np.float64(1 / 3), "rounded": np.float64(np.float32(1 / 3))}
    graphs = {k: model(text.format(k), a=np.array([1]), **{k: v}) for k, v in numbers.items()}
    after, _ = apply(graphs["exact"], raise_mean)
    assert op_types(after) == ["ReduceMean"]
    assert_untouched(graphs["rounded"], raise_mean)


def test_log_softmax_in_float64_is_left_alone():
    nodes = f"{SHIFT} s = ReduceSum(e, axis2) l = Log(s) y = Sub(d, l)"
    assert_untouched(graph(nodes, opset=17, x="double[N,6,8] x", y="double[A,B,C] y"), raise_softmax)


@pytest.mark.parametrize(("opset", "expected"), [(9, ["Max", "Min"]), (11, ["Max", "Min"]), (12, ["Clip"])])
def test_bounds_in_float64_need_a_kernel(opset, expected):
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (double[N] x) => (double[N] y) {{ a = Max(x, low) y = Min(a, high) }}'
    before = model(text, low=np.float64(-0.1), high=np.float64(0.1))
    after, _ = apply(before, raise_clip)
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=0)
