"""Reductions take in what is around them."""

import numpy as np
import pytest

from onnxzip.passes.merge_reduces import merge_reduces
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

HEADER = '<ir_version: 8, opset_import: ["" : {opset}]> '


def axes(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceL2"])
def test_squeezes_around_case_1(op, opset):
    """Squeeze before, Unsqueeze behind, in every form of naming the axes."""
    given = {}

    def node(output, kind, source, number, keep=""):
        as_input = opset >= (18 if kind.startswith("Reduce") and kind != "ReduceSum" else 13)
        if as_input:
            given[f"{output}_axes"] = axes(number)
            return f"{output} = {kind}{f'<{keep}>' if keep else ''}({source}, {output}_axes)"
        return f"{output} = {kind}<axes=[{number}]{',' + keep if keep else ''}>({source})"

    text = HEADER.format(opset=opset) + (
        "g (float[N,1,T] x) => (float[N,1] y) { "
        + node("a", "Squeeze", "x", 1)
        + node("b", op, "a", 1, "keepdims=0")
        + node("y", "Unsqueeze", "b", 1)
        + " }"
    )
    before = model(text, **given)
    after, _ = apply(before, merge_reduces)
    assert op_types(after) == [op]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            "a = ReduceMean<axes=[1],keepdims=0>(x) y = Unsqueeze(a, one)",
            "y = ReduceMean <axes: ints = [1], keepdims: int = 1> (x)",
        ),
        (
            "a = ReduceMean<axes=[1],keepdims=1>(x) y = Squeeze(a, one)",
            "y = ReduceMean <axes: ints = [1], keepdims: int = 0> (x)",
        ),
        (
            "a = ReduceMax<axes=[-1],keepdims=0>(x) y = ReduceMax<axes=[-1],keepdims=0>(a)",
            "y = ReduceMax <axes: ints = [1, 2], keepdims: int = 0> (x)",
        ),
        (
            "a = ReduceMean<axes=[0]>(x) y = ReduceMean<axes=[2]>(a)",
            "y = ReduceMean <axes: ints = [0, 2], keepdims: int = 1> (x)",
        ),
        (
            "a = ReduceMin<axes=[2]>(x) b = ReduceMin<axes=[1]>(a) c = Squeeze(b, both) y = Relu(c)",
            "c = ReduceMin <axes: ints = [1, 2], keepdims: int = 0> (x)\ny = Relu(c)",
        ),
        (
            "a = ReduceMean<keepdims=0>(x) y = Unsqueeze(a, all)",
            "y = ReduceMean <axes: ints = [0, 1, 2], keepdims: int = 1> (x)",
        ),
    ],
)
def test_chains_become_one(nodes, expected):
    before = model(
        HEADER.format(opset=13) + f"g (float[N,3,T] x) => ({_type(nodes)} y) {{ {nodes} }}",
        one=axes(1),
        both=axes(1, 2),
        all=axes(0, 1, 2),
    )
    after, _ = apply(before, merge_reduces)
    assert_nodes(after, expected)
    assert_equivalent(before, after, rtol=1e-6)


def _type(nodes):
    if "Squeeze" in nodes or "keepdims=0>(a)" in nodes:
        return "float[A]" if "both" in nodes or "ReduceMax" in nodes else "float[A,B]"
    return "float[A,B,C]"


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Squeeze(x, one) y = ReduceMean<axes=[1]>(a)",  # the axis may be longer than 1: then it throws
        "a = ReduceMean<axes=[1],keepdims=0>(x) y = Unsqueeze(a, zero)",  # no keepdims says that
        "a = ReduceMean<axes=[1]>(x) b = ReduceMean<axes=[2]>(a) y = Add(a, b)",
        "a = ReduceL2<axes=[1]>(x) y = ReduceMean<axes=[2]>(a)",
        "a = ReduceSumSquare<axes=[1]>(x) y = ReduceSumSquare<axes=[2]>(a)",  # squares of squares
    ],
)
def test_others_are_left_alone(nodes):
    assert_untouched(
        model(HEADER.format(opset=13) + f"g (float[N,M,T] x) => (float y) {{ {nodes} }}", one=axes(1), zero=axes(0)),
        merge_reduces,
    )


def test_integers_are_left_alone_where_a_mean_is_cut_off():
    assert_untouched(
        model(
            HEADER.format(opset=13)
            + "g (int32[N,M,T] x) => (int32[A,B,C] y) { a = ReduceMean<axes=[1]>(x) y = ReduceMean<axes=[2]>(a) }"
        ),
        merge_reduces,
    )


def test_an_axis_of_size_one_is_still_reduced_where_that_matters():
    """ReduceL2 along an axis of size 1 is the absolute value: one axis must stay reduced."""
    before = model(
        HEADER.format(opset=13)
        + "g (float[N,1] x) => (float[N,1] y) { a = ReduceL2<axes=[1],keepdims=0>(x) y = Unsqueeze(a, one) }",
        one=axes(1),
    )
    after, _ = apply(before, merge_reduces)
    assert_nodes(after, "y = ReduceL2 <axes: ints = [1], keepdims: int = 1> (x)")
    assert_equivalent(before, after, rtol=0)
