"""One-hot products become Gather, and what follows is computed on the table."""

import numpy as np
import pytest

from onnxzip.passes.compute_on_table import compute_on_table
from onnxzip.passes.fold_constants import fold_constants
from onnxzip.passes.one_hot_to_gather import one_hot_to_gather
from onnxzip.passes.runner import run
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)
TABLE = RNG.standard_normal((5, 3)).astype(np.float32)
STRANGE = np.array([[0, 1, 4, 5, -1], [2, 3, -5, -6, 2**31 - 1]], np.int64)
EQUAL = "u = Unsqueeze(i, last) q = Equal(u, numbers) c = Cast<to = 1>(q) y = MatMul(c, table)"
ARRAYS = {"last": np.array([-1], np.int64), "numbers": np.arange(5)[None, None], "table": TABLE}


def one_hot(nodes, x="int64[N,5] i", opset=18, **arrays):
    used = {k: v for k, v in (ARRAYS | arrays).items() if k in nodes}
    return model(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => (float[A,B,C] y) {{ {nodes} }}', **used)


def check(before, expected, indices=STRANGE):
    after, outcome = apply(before, one_hot_to_gather)
    assert outcome.changes == 1
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=0, batch={"i": indices})
    return after


@pytest.mark.parametrize(
    "nodes",
    [
        EQUAL,
        EQUAL.replace("Equal(u, numbers)", "Equal(numbers, u)"),
        EQUAL.replace("Cast<to = 1>(q)", "Where(q, plus, nought)"),
        EQUAL.replace("Unsqueeze(i, last)", "Reshape(i, target)"),
    ],
)
def test_rows_that_do_not_exist_give_zeros(nodes):
    arrays = {"plus": np.float32(1), "nought": np.float32(0), "target": np.array([0, 5, 1], np.int64)}
    after = check(one_hot(nodes, **arrays), ["Clip", "Gather"])
    assert [v.shape.numpy() for v in after.graph.initializers.values() if v.name.endswith("rows")] == [(6, 3)]


def test_int32_and_indices_that_keep_their_axis():
    nodes = EQUAL.replace("u = Unsqueeze(i, last)", "u = Abs(i)")
    rows = {"numbers": np.arange(50, dtype=np.int32), "table": RNG.standard_normal((50, 3)).astype(np.float32)}
    indices = np.clip(STRANGE, -9, 99).astype(np.int32)[..., None]
    check(one_hot(nodes, "int32[N,5,1] i", **rows), ["Abs", "Squeeze", "Clip", "Gather"], indices)


def test_a_range_that_is_proven_needs_no_clip():
    before = one_hot(
        EQUAL.replace("Unsqueeze(i, last)", "Unsqueeze(h, last)").replace(
            "u =", "h = ArgMax<axis = 2, keepdims = 0>(i) u ="
        ),
        "float[N,5,5] i",
    )
    check(before, ["ArgMax", "Gather"], RNG.standard_normal((2, 5, 5)).astype(np.float32))


def test_the_operator():
    nodes = "h = ArgMax<axis = 2, keepdims = 0>(i) o = OneHot(h, depth, values) y = MatMul(o, table)"
    arrays = {"depth": np.array([5], np.int64), "values": np.array([0, 1], np.float32)}
    check(
        one_hot(nodes, "float[N,5,5] i", **arrays),
        ["ArgMax", "Gather"],
        RNG.standard_normal((2, 5, 5)).astype(np.float32),
    )
    check(
        one_hot(
            nodes.replace("o = OneHot", "n = OneHot").replace("y =", "o = Cast<to = 1>(n) y ="),
            "float[N,5,5] i",
            **arrays | {"values": np.array([0, 1])},
        ),
        ["ArgMax", "Gather"],
        RNG.standard_normal((2, 5, 5)).astype(np.float32),
    )
    open_range = "o = OneHot(i, depth, values) y = MatMul(o, table)"
    assert_untouched(one_hot(open_range, **arrays), one_hot_to_gather)  # -1 is the last row there
    assert_untouched(
        one_hot(nodes, "float[N,5,5] i", **arrays | {"values": np.array([0, 2], np.float32)}), one_hot_to_gather
    )


def test_gemm():
    nodes = "u = Unsqueeze(i, last) q = Equal(u, numbers) c = Cast<to = 1>(q) y = Gemm<transB = 1>(c, table, bias)"
    text = f"g (int64[N] i) => (float[A,B] y) {{ {nodes} }}"
    arrays = {"last": ARRAYS["last"], "numbers": np.arange(5), "table": TABLE.T.copy(), "bias": TABLE[0]}
    check(model(text, **arrays), ["Clip", "Gather"], STRANGE.reshape(-1))


def test_gemm_that_adds_a_column():
    nodes = "u = Unsqueeze(i, last) q = Equal(u, numbers) c = Cast<to = 1>(q) y = Gemm(c, table, column)"
    arrays = {"last": ARRAYS["last"], "numbers": np.arange(5), "table": TABLE, "column": TABLE[0].reshape(3, 1)}
    assert_untouched(model(f"g (int64[3] i) => (float[3,3] y) {{ {nodes} }}", **arrays), one_hot_to_gather)


@pytest.mark.parametrize("bounds", ["seven", "lowest", "nine, seven"])
def test_a_clip_may_leave_the_range_of_what_it_clips(bounds):
    nodes = (
        f"h = ArgMax<axis = 1, keepdims = 0>(x) i = Clip(h, {bounds}) o = OneHot(i, depth, values) y = MatMul(o, table)"
    )
    numbers = {"depth": np.int64(5), "values": np.array([0, 1], np.float32), "table": TABLE}
    numbers |= {"seven": np.int64(7), "nine": np.int64(9)}
    used = {k: v for k, v in numbers.items() if k in nodes}
    before = model(f"g (float[N,5] x, int64 lowest) => (float[N,3] y) {{ {nodes} }}", **used)
    after, _ = run(before, strict=True)
    batch = {"x": RNG.standard_normal((2, 5)).astype(np.float32), "lowest": np.array(7)}
    assert_equivalent(before, after, rtol=0, batch=batch)


@pytest.mark.parametrize(
    ("nodes", "arrays"),
    [
        (EQUAL, {"numbers": np.array([0, 1, 2, 4, 3])[None, None]}),
        (EQUAL, {"table": np.full((5, 3), np.inf, np.float32)}),  # 0 * inf is NaN
        (EQUAL.replace("Equal", "Greater"), {}),
        (EQUAL.replace("MatMul(c, table)", "Add(c, table)"), {"table": np.ones((5,), np.float32)}),
        (EQUAL + " z = Relu(c)", {}),
    ],
)
def test_what_is_no_choice_of_rows_is_left_alone(nodes, arrays):
    before = one_hot(nodes, **arrays)
    if "z =" in nodes:
        before.graph.outputs.append(next(n for n in before.graph if n.op_type == "Relu").outputs[0])
    assert_untouched(before, one_hot_to_gather)


def test_old_opsets_are_left_alone():
    nodes = EQUAL.replace("Unsqueeze(i, last)", "Unsqueeze<axes = [2]>(i)")
    assert_untouched(one_hot(nodes, opset=11), one_hot_to_gather)  # Clip of integers came with 12


def test_a_shared_table_is_not_stored_twice():
    shared = one_hot(EQUAL.replace("c, table)", "c, table) z = Relu(table)"), table=np.ones((5, 300), np.float32))
    shared.graph.outputs.append(next(n for n in shared.graph if n.op_type == "Relu").outputs[0])
    assert_untouched(shared, one_hot_to_gather)


def table(nodes, x="int64[N,M] i", y="float[A,B,C] y", opset=18, **arrays):
    axes = {"second": np.array([2]), "minus": np.array([-1]), "first": np.array([1])}
    arrays = (
        axes | {"rows": TABLE, "half": np.float32(0.5), "bias": TABLE[1], "wide": TABLE[2].reshape(1, 1, 3)} | arrays
    )
    used = {k: v for k, v in arrays.items() if k in nodes}
    return model(f'<ir_version: 8, opset_import: ["" : {opset}]> g ({x}) => ({y}) {{ {nodes} }}', **used)


INDICES = {"i": np.array([[0, -1, 3, 3], [1, 2, 4, -5]])}


@pytest.mark.parametrize(
    "nodes",
    [
        "r = Gather(rows, i) y = Tanh(r)",
        "r = Gather(rows, i) a = Add(r, bias) b = Mul(half, a) c = Erf(b) d = Mul(a, c) y = Sub(d, wide)",
        "r = Gather(rows, i) a = Mul(r, r) b = Sigmoid(r) c = Exp(a) y = Div(c, b)",
        "r = Gather(rows, i) y = Softmax<axis = 2>(r)",
        "r = Gather(rows, i) y = LayerNormalization(r, bias, bias)",
        "r = Gather(rows, i) y = LayerNormalization<axis = 2>(r, bias)",
        "r = Gather(rows, i) m = ReduceMean(r, second) y = Sub(r, m)",
        "r = Gather(rows, i) m = ReduceSum(r, minus) y = Div(r, m)",
    ],
)
def test_the_table_is_computed_once(nodes):
    before = table(nodes)
    after, outcome = apply(before, compute_on_table, fold_constants)
    assert outcome.changes
    assert op_types(after) == ["Gather"]
    assert_equivalent(before, after, rtol=1e-7, batch=INDICES)


def test_as_much_as_ends_in_one_value():
    before = table("r = Gather(rows, i) a = Tanh(r) b = Exp(a) s = ReduceSum(b) y = Mul(b, s)")
    after, _ = apply(before, compute_on_table, fold_constants)
    assert op_types(after) == ["Gather", "ReduceSum", "Mul"]
    assert_equivalent(before, after, rtol=1e-6, batch=INDICES)


def test_a_single_index():
    before = table("r = Gather(rows, i) y = Exp(r)", x="int64 i", y="float[3] y")
    after, _ = apply(before, compute_on_table, fold_constants)
    assert op_types(after) == ["Gather"]
    assert_equivalent(before, after, rtol=1e-7, batch={"i": np.array(2)})


def test_a_reduction_of_all_axes_is_not_one_of_the_rows():
    nodes = "r = Gather(rows, i) m = ReduceMax(r) y = Sub(r, m)"
    assert_untouched(table(nodes, x="int64 i", y="float[3] y"), compute_on_table)


@pytest.mark.parametrize(
    ("nodes", "shape"),
    [
        ("r = Gather(rows, i) y = PRelu(bias, r)", "3"),
        ("r = Gather(rows, i) y = LayerNormalization(bias, r)", "3"),
        ("r = Gather(numbers, i) y = Clip(half, r)", ""),
    ],
)
def test_rows_that_an_operator_takes_one_at_a_time(nodes, shape):
    y = f"float[{shape}] y" if shape else "float y"
    assert_untouched(table(nodes, x="int64 i", y=y, numbers=TABLE[0]), compute_on_table)


def test_integers_are_not_divided_by_rows_that_nobody_reads():
    nodes = "r = Gather(counts, i) y = Div(twelve, r)"
    arrays = {"counts": np.arange(15).reshape(5, 3), "twelve": np.int64(12)}
    assert_untouched(table(nodes, y="int64[A,B,C] y", **arrays), compute_on_table)


@pytest.mark.parametrize(
    "nodes",
    [
        "r = Gather<axis = 1>(rows, i) y = Tanh(r)",
        "r = Gather(rows, i) y = Cast<to = 11>(r)",
        "r = Gather(rows, i) a = Tanh(r) y = Concat<axis = 2>(r, a)",
        "r = Gather(rows, i) a = Tanh(r) b = ReduceSum(rows) y = Mul(a, b)",
        "r = Gather(rows, i) y = Softmax<axis = 1>(r)",
        "r = Gather(rows, i) y = Add(r, places)",
        "r = Gather(rows, i) y = CumSum(r, axis)",
        "r = Gather(rows, i) m = ReduceMean(r, first) y = Sub(r, m)",
        "r = Gather(rows, i) m = ReduceMax(r) y = Sub(r, m)",
    ],
)
def test_what_is_not_for_each_row_is_left_alone(nodes):
    y = "double[A,B,C] y" if "11" in nodes else "float[A,B,C] y"
    assert_untouched(table(nodes, y=y, places=np.ones((4, 3), np.float32), axis=np.int64(1)), compute_on_table)


def test_both_in_the_whole_table_of_passes():
    numbers = np.arange(300)[None, None]
    before = one_hot(
        EQUAL.replace("y = MatMul", "m = MatMul") + " a = Add(m, bias) y = Tanh(a)",
        numbers=numbers,
        bias=TABLE[0],
        table=RNG.standard_normal((300, 3)).astype(np.float32),
    )
    after, records = run(before, strict=True)
    assert op_types(after) == ["Clip", "Gather"]
    assert not [r.taken_back for r in records if r.taken_back]
    assert_equivalent(before, after, rtol=1e-7, batch={"i": STRANGE})
