"""Slices of Slices and Concats, Slices that become a Split, Gathers that keep or drop their axis."""

import numpy as np
import pytest

from onnxzip.passes.merge_gathers import merge_gathers
from onnxzip.passes.merge_slices import merge_slices
from onnxzip.passes.split_slices import split_slices
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

FAR = 2**63 - 1


def graph(nodes, opset=18, result="A,B,C", **arrays):
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N,6,8] x) => (float[{result}] y) {{ {nodes} }}'
    used = {k: np.array(v, np.int64) for k, v in arrays.items()}
    return model(text, **used)


def rewritten(before, rule, expected):
    after, outcome = apply(before, rule)
    assert outcome.changes > 0
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=0)
    return after


def two(first, second, opset=18):
    names = ("starts", "ends", "axes", "steps")
    one = {f"{k}0": [v] for k, v in zip(names, first, strict=True)}
    other = {f"{k}1": [v] for k, v in zip(names, second, strict=True)}
    nodes = "a = Slice(x, starts0, ends0, axes0, steps0) y = Slice(a, starts1, ends1, axes1, steps1)"
    return graph(nodes, opset, **one, **other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 5, 1, 1), (2, 7, 2, 1)),
        ((1, 5, 1, 1), (1, FAR, 1, 1)),
        ((0, FAR, 2, 2), (1, -1, -1, 2)),
        ((-5, -1, 2, 1), (1, 3, 2, 1)),
        ((1, FAR, 0, 1), (0, 1, 0, 1)),
        ((0, 2, 0, 1), (1, FAR, 1, 1)),
        ((7, -9, 2, -1), (0, 3, 1, 1)),
    ],
)
def test_a_slice_of_a_slice_is_one(first, second):
    rewritten(two(first, second), merge_slices, ["Slice"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((-1, FAR, 0, 1), (0, 1, 0, 1)),  # counted from an end that is not known
        ((0, FAR, 0, 2), (1, FAR, 0, 1)),
        ((1, FAR, 2, 1), (6, -9, 2, -1)),  # backwards to the start: an end that no number says
    ],
)
def test_ranges_that_do_not_compose_are_left_alone(first, second):
    assert_untouched(two(first, second), merge_slices)


def test_slices_with_attributes_merge_too():
    nodes = "a = Slice<axes=[1], starts=[1], ends=[5]>(x) y = Slice<axes=[2,1], starts=[0,-2], ends=[4,9]>(a)"
    after = rewritten(graph(nodes, 9), merge_slices, ["Slice"])
    assert_nodes(after, "y = Slice <starts: ints=[3,0], ends: ints=[5,4], axes: ints=[1,2]> (x)")


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (6, 12, ["Sin", "Cos", "Concat", "Relu", "Relu"]),
        (-6, FAR, ["Sin", "Cos", "Concat", "Relu", "Relu"]),
    ],
)
def test_a_slice_of_a_concat_is_the_part(start, end, expected):
    nodes = "s = Sin(x) c = Cos(x) a = Concat<axis=-2>(s, c) b = Slice(a, starts, ends, axes) d = Relu(a) r = Relu(b) y = Concat<axis=1>(d, r)"
    before = graph(nodes, starts=[start], ends=[end], axes=[1])
    rewritten(before, merge_slices, [*expected, "Concat"])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(7, 10, ["Sin", "Slice"]), (6, 18, ["Sin", "Concat"]), (0, 6, ["Sin"])],
)
def test_a_concat_that_only_a_slice_reads_goes(start, end, expected):
    nodes = "s = Sin(x) a = Concat<axis=1>(x, s, s) b = Slice(a, starts, ends, axes) y = Relu(b)"
    before = graph(nodes, starts=[start], ends=[end], axes=[1])
    after, outcome = apply(before, merge_slices)
    assert outcome.changes > 0
    assert len(op_types(after)) <= 3
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("start", "end", "axis"),
    [(3, 9, 1), (0, 6, 2), (7, 7, 1)],
)
def test_slices_across_the_parts_of_a_concat_are_left_alone(start, end, axis):
    nodes = "s = Sin(x) a = Concat<axis=1>(x, s) y = Slice(a, starts, ends, axes)"
    assert_untouched(graph(nodes, starts=[start], ends=[end], axes=[axis]), merge_slices)


@pytest.mark.parametrize("opset", [10, 12, 13, 18])
def test_slices_that_take_an_axis_apart_are_a_split(opset):
    nodes = """b = Slice(x, two, five, axes) a = Slice(x, zero, two, axes) c = Slice(x, five, far, axes)
        d = Concat<axis=1>(c, a) y = Concat<axis=1>(d, b)"""
    before = graph(nodes, opset, zero=[0], two=[2], five=[5], far=[FAR], axes=[1])
    rewritten(before, split_slices, ["Split", "Concat", "Concat"])


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Slice(x, zero, two, axes) b = Slice(x, five, far, axes) y = Concat<axis=1>(a, b)",
        "a = Slice(x, zero, five, axes) b = Slice(x, two, far, axes) y = Concat<axis=1>(a, b)",
        "a = Slice(x, zero, two, first) b = Slice(x, two, far, first) y = Concat<axis=1>(a, b)",
        "a = Slice(x, zero, two, axes) b = Slice(x, two, far, both) y = Concat<axis=1>(a, b)",
    ],
)
def test_slices_that_do_not_are_left_alone(nodes):
    arrays = {"zero": [0], "two": [2], "five": [5], "far": [FAR], "axes": [1], "first": [0], "both": [2]}
    used = {k: v for k, v in arrays.items() if f" {k})" in nodes or f" {k}," in nodes}
    assert_untouched(graph(nodes, **used), split_slices)


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize(("index", "axis", "given"), [(2, 1, 1), (-1, 2, -1), (0, -3, 0)])
def test_gather_and_unsqueeze_are_a_gather(opset, index, axis, given):
    unsqueeze = f"Unsqueeze<axes=[{given}]>(a)" if opset < 13 else "Unsqueeze(a, axes)"
    arrays = {"i": index} | ({} if opset < 13 else {"axes": [given]})
    before = graph(f"a = Gather<axis={axis}>(x, i) y = {unsqueeze}", opset, **arrays)
    rewritten(before, merge_gathers, ["Gather"])


@pytest.mark.parametrize(("start", "end"), [(2, 3), (-1, FAR), (-3, -2), (5, 6)])
def test_slice_and_squeeze_are_a_gather(start, end):
    nodes = "a = Slice(x, starts, ends, axes) y = Squeeze(a, axes)"
    text = f"g (float[N,6,32] x) => (float[A,B] y) {{ {nodes} }}"
    lists = {"starts": start, "ends": end, "axes": 1}
    before = model(text, **{name: np.array([number], np.int64) for name, number in lists.items()})
    rewritten(before, merge_gathers, ["Gather"])


def test_single_numbers_far_apart_are_left_to_slice():
    nodes = "a = Slice(x, starts, ends, axes) y = Squeeze(a, axes)"
    assert_untouched(graph(nodes, result="A,B", starts=[2], ends=[3], axes=[2]), merge_gathers)


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        ("a = Gather<axis=1>(x, i) y = Unsqueeze(a, axes)", {"i": 1, "axes": [2]}),
        (
            "a = Gather<axis=1>(x, i) s = Size(a) f = Cast<to=1>(s) b = Unsqueeze(a, axes) y = Add(b, f)",
            {"i": 1, "axes": [1]},
        ),
        ("a = Gather<axis=1>(x, i) y = Unsqueeze(a, axes)", {"i": 1, "axes": [0, 1]}),
        ("a = Slice(x, i, j, axes) b = Squeeze(a, axes) y = Relu(b)", {"i": [1], "j": [1], "axes": [1]}),
        ("a = Slice(x, i, j, axes) b = Squeeze(a, axes) y = Relu(b)", {"i": [-1], "j": [0], "axes": [1]}),
    ],
)
def test_other_gathers_are_left_alone(nodes, arrays):
    rank = {"[0, 1]": "A,B,C,D"}.get(str(arrays["axes"]), "A,B" if "Squeeze(a, axes) y" in nodes else "A,B,C")
    assert_untouched(graph(nodes, result=rank, **arrays), merge_gathers)
