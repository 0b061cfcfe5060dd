"""Chains that only change the shape, and Reshapes whose target is computed."""

import numpy as np
import pytest

from onnxzip.passes.context import Allowed, Context
from onnxzip.passes.remove_dead import remove_dead
from onnxzip.passes.simplify_reshapes import simplify_reshapes
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

I64 = np.int64
ZERO, ONE, MINUS = np.array(0, I64), np.array(1, I64), np.array([-1], I64)
FIRST, HEADS = np.array([0], I64), np.array([2, 3], I64)
SIZES = "s = Shape(x) a = Gather(s, zero) b = Gather(s, one) n = Unsqueeze(a, first) m = Unsqueeze(b, first)"


def rewritten(text, sizes=(0, 1, 2, 3), **arrays):
    before = model(text, **arrays)
    after, outcome = apply(before, simplify_reshapes)
    assert outcome.changes > 0
    after, _ = apply(after, remove_dead)
    assert_equivalent(before, after, rtol=0, sizes=sizes)
    return after


def target(graph, op="Reshape"):
    node = next(n for n in graph.graph if n.op_type == op)
    return node.inputs[1].const_value.numpy().tolist()


def test_case_4_axes_that_stay_are_copied():
    after = rewritten(
        f"g (float[N,S,6] x) => (float[A,B,C,D] y) {{ {SIZES} t = Concat<axis=0>(n, m, heads) r = Relu(x) y = Reshape(r, t) }}",
        zero=ZERO, one=ONE, first=FIRST, heads=HEADS,
    )  # fmt: skip
    assert op_types(after) == ["Relu", "Reshape"]
    assert target(after) == [0, 0, 2, 3]


def test_case_4_the_rest_where_nothing_else_can_be_0():
    after = rewritten(
        f"g (float[N,S,6] x) => (float[A,B] y) {{ {SIZES} c = Mul(n, m) t = Concat<axis=0>(c, six) y = Reshape(x, t) }}",
        zero=ZERO, one=ONE, first=FIRST, six=np.array([6], I64),
    )  # fmt: skip
    assert op_types(after) == ["Reshape"]
    assert target(after) == [-1, 6]


def test_case_4_minus_one_of_the_original_fails_alike():
    after = rewritten(
        f"g (float[N,S,6] x) => (float[A,B,C] y) {{ {SIZES} d = Concat<axis=0>(n, minus, three) y = Reshape(x, d) }}",
        sizes=(1, 2), zero=ZERO, one=ONE, first=FIRST, minus=MINUS, three=np.array([3], I64),
    )  # fmt: skip
    assert target(after) == [0, -1, 3]


def test_an_empty_batch_keeps_minus_one_away():
    text = f"""g (float[N,S,6] x) => (float[A,B,C] y) {{
        {SIZES} d = Mul(m, two) t = Concat<axis=0>(n, d, three) y = Reshape(x, t) }}"""
    assert_untouched(
        model(text, zero=ZERO, one=ONE, first=FIRST, two=np.array([2], I64), three=np.array([3], I64)),
        simplify_reshapes,
    )


def test_two_unknown_sizes_are_left_alone():
    assert_untouched(
        model("g (float[N,S,6] x, float[M,K] w) => (float[A,B] y) { t = Shape(w) y = Reshape(x, t) }"),
        simplify_reshapes,
    )
    assert_untouched(
        model(
            f"g (float[N,S,6] x) => (float[A,B,C] y) {{ {SIZES} t = Concat<axis=0>(m, n, six) y = Reshape(x, t) }}",
            zero=ZERO, one=ONE, first=FIRST, six=np.array([6], I64),
        ),
        simplify_reshapes,
    )  # fmt: skip


def test_a_target_that_others_read_stays():
    assert_untouched(
        model(
            f"g (float[N,S,6] x) => (float[A,B,C,D] y, int64[4] u) {{ {SIZES} t = Concat<axis=0>(n, m, heads) y = Reshape(x, t) u = Neg(t) }}",
            zero=ZERO, one=ONE, first=FIRST, heads=HEADS,
        ),
        simplify_reshapes,
    )  # fmt: skip


def test_never_more_bytes_unless_nodes_are_preferred():
    before = model("g (float[M,4] z) => (float[A,B] y) { s = Shape(z) y = Reshape(z, s) }")
    assert_untouched(before, simplify_reshapes)
    copy = before.clone()
    assert simplify_reshapes(copy, Context(copy, Allowed(prefer="nodes"))).changes == 1
    assert op_types(copy)[-1] == "Reshape"


@pytest.mark.parametrize("opset", [11, 13, 21])
def test_cases_2_and_3_axes_of_size_1(opset):
    axes = "<axes=[{}]>({})" if opset < 13 else "({1}, a{0})"
    header = f'<ir_version: 8, opset_import: ["" : {opset}]>\n'
    arrays = {} if opset < 13 else {f"a{i}": np.array([i], I64) for i in range(4)}
    first, second, third = (f"Unsqueeze{axes.format(i, v)}" for i, v in ((1, "x"), (1, "p"), (3, "q")))
    after = rewritten(
        header + f"g (float[N,S] x) => (float[A,B,C,D,E] y) {{ p = {first} q = {second} r = {third} y = Relu(r) }}",
        **arrays,
    )
    assert op_types(after) == ["Unsqueeze", "Relu"]
    first, second = (f"Squeeze{axes.format(i, v)}" for i, v in ((1, "x"), (2, "p")))
    after = rewritten(
        header + f"g (float[N,1,S,1] x) => (float[A,B] y) {{ p = {first} q = {second} y = Relu(q) }}", **arrays
    )
    assert op_types(after) == ["Squeeze", "Relu"]


def test_case_1_and_a_gather_that_counts_up():
    text = """g (bool[N,S] w) => (bool[A,B,C,D] y) {
        s = Shape(w) n = Gather(s, zero) m = Gather(s, one) rows = Range(zero, n, one) columns = Range(zero, m, one)
        r = Unsqueeze(rows, behind) k = Mul(r, m) i = Add(k, columns) f = Reshape(w, minus) g = Gather(f, i)
        e = Unsqueeze(g, both) y = Not(e) }"""
    after = rewritten(
        text, sizes=(1, 2, 3), zero=ZERO, one=ONE, behind=np.array([1], I64), minus=MINUS, both=np.array([1, 2], I64)
    )
    assert op_types(after) == ["Unsqueeze", "Not"]
    swapped = text.replace("k = Mul(r, m)", "k = Mul(r, n)")
    copy, _ = apply(
        model(swapped, zero=ZERO, one=ONE, behind=np.array([1], I64), minus=MINUS, both=np.array([1, 2], I64)),
        simplify_reshapes,
    )
    assert "Gather" in op_types(copy)[3:]


def test_the_middle_of_a_chain_that_others_read_stays():
    assert_untouched(
        model(
            "g (float[N,S] x) => (float[A,B,C,D] y, float[A,B,C] z) { p = Unsqueeze(x, one) y = Unsqueeze(p, one) z = Relu(p) }",
            one=np.array([1], I64),
        ),
        simplify_reshapes,
    )
