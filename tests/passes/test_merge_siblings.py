"""Siblings that are concatenated become one."""

import numpy as np
import pytest

from onnxzip.passes.context import Allowed
from onnxzip.passes.merge_siblings import merge_siblings
from onnxzip.passes.runner import run
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(text, expected, **arrays):
    before = model(text, **arrays)
    after, outcome = apply(before, merge_siblings)
    assert outcome.changes > 0
    assert op_types(after) == expected
    assert_equivalent(before, after, rtol=1e-6)
    return after


def test_convs_concatenated_on_channels():
    after = check(
        """g (float[N,3,8,8] x) => (float[N,9,8,8] y) {
            a = Conv<pads=[1,1,1,1]>(x, u, b) c = Conv<pads=[1,1,1,1]>(x, v) y = Concat<axis=1>(a, c)
        }""",
        ["Conv"],
        u=normal(4, 3, 3, 3),
        v=normal(5, 3, 3, 3),
        b=normal(4),
    )
    assert_nodes(after, "y = Conv <pads: ints = [1, 1, 1, 1]> (x, a_weight, a_bias)")


def test_neighbours_among_others_and_activations():
    check(
        """g (float[N,3,8,8] x) => (float[N,C,8,8] y) {
            s = Sin(x) a = Conv(x, u) c = Conv(x, v) p = Clip(a, z) q = Clip(c, z) d = Conv(x, w)
            y = Concat<axis=-3>(s, p, q, d, x)
        }""",
        ["Sin", "Conv", "Conv", "Clip", "Concat"],
        u=normal(4, 3, 1, 1),
        v=normal(5, 3, 1, 1),
        w=normal(2, 3, 1, 1),
        z=np.float32(0),
    )


def test_convs_concatenated_on_an_axis_of_size_1():
    check(
        """g (float[N,1,1,30] x) => (float[N,40,2,11] y) {
            real_part = Conv<strides=[1,2]>(x, u, b) imaginary_part = Conv<strides=[1,2]>(x, v, d)
            y = Concat<axis=2>(real_part, imaginary_part)
        }""",
        ["Conv", "Reshape"],
        u=normal(40, 1, 1, 10),
        v=normal(40, 1, 1, 10),
        b=normal(40),
        d=normal(40),
    )


@pytest.mark.parametrize("trans", [0, 1])
def test_gemms(trans):
    check(
        f"""g (float[N,4] x) => (float[N,8] y) {{
            a = Gemm<transB={trans}>(x, u, b) c = Gemm<transB={trans}>(x, v) y = Concat<axis=1>(a, c)
        }}""",
        ["Gemm"],
        u=normal(3, 4) if trans else normal(4, 3),
        v=normal(5, 4) if trans else normal(4, 5),
        b=normal(1, 3),
    )


def test_matmuls():
    check(
        "g (float[N,7,4] x) => (float[N,7,8] y) { a = MatMul(x, u) c = MatMul(x, v) y = Concat<axis=2>(a, c) }",
        ["MatMul"],
        u=normal(4, 3),
        v=normal(4, 5),
    )


SHARED = """g (float[N,3,8] x) => (float[N,8,8] y, float[N,8,4] z) {{
    a = Conv(x, u, b) c = Conv(x, v, b) y = Concat<axis=1>({first})
    d = Conv<strides=[2]>(x, u, b) e = Conv<strides=[2]>(x, v, b) z = Concat<axis=1>({second})
}}"""


def test_shared_weights_are_merged_for_all():
    after = check(
        SHARED.format(first="a, c", second="d, e"),
        ["Conv", "Conv"],
        u=normal(4, 3, 1),
        v=normal(4, 3, 1),
        b=np.zeros(4, np.float32),
    )
    assert list(after.graph.initializers) == ["a_weight"]


def test_shared_weights_in_another_order_are_left_alone():
    arrays = {"u": normal(400, 3, 1), "v": normal(400, 3, 1), "b": np.zeros(400, np.float32)}
    before = model(
        SHARED.format(first="a, c", second="e, d").replace("8,8] y", "800,8] y").replace("8,4] z", "800,4] z"), **arrays
    )
    assert_untouched(before, merge_siblings)
    after, _ = run(before, (merge_siblings,), allowed=Allowed(prefer="nodes"))
    assert op_types(after) == ["Conv", "Conv"]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes",
    [
        "a = Conv(x, u) c = Conv(t, v) y = Concat<axis=1>(a, c)",
        "a = Conv(x, u) c = Conv<strides=[1]>(x, v) y = Concat<axis=1>(a, c)",
        "a = Conv(x, u) c = Conv(x, v) y = Concat<axis=2>(a, c)",
        "a = Conv(x, u) c = Conv(x, v) y = Concat<axis=0>(a, c)",
        "a = Conv(x, u) c = Conv(x, v) d = Relu(a) y = Concat<axis=1>(d, c)",
        "a = Conv(x, u) c = Conv(x, v) d = LeakyRelu<alpha=0.1>(a) e = LeakyRelu<alpha=0.2>(c) y = Concat<axis=1>(d, e)",
        "a = Conv(x, u) c = Conv(x, v) d = Concat<axis=1>(a, c) y = Concat<axis=1>(d, a)",
        "a = Conv<group=3>(x, w) c = Conv<group=3>(x, w) d = Relu(c) y = Concat<axis=1>(a, c, d)",
    ],
)
def test_others_are_left_alone(nodes):
    assert_untouched(
        model(
            f"g (float[N,3,8] x, float[N,3,8] t) => (float[A,B,C] y) {{ {nodes} }}",
            u=normal(4, 3, 1),
            v=normal(4, 3, 1),
            w=normal(3, 1, 1),
        ),
        merge_siblings,
    )


@pytest.mark.parametrize(("height", "merged"), [("1", True), ("3", False), ("H", False)])
def test_axes_before_the_one_that_grows_must_have_size_1(height, merged):
    """The channels can be split into what is next to them only."""
    names = [f"a_name_that_is_long_{i}" for i in range(4)]
    convs = " ".join(f"{name} = Conv(x, w{i})" for i, name in enumerate(names))
    before = model(
        f"g (float[N,2,{height},1] x) => (float[N,3,A,4] y) {{ {convs} y = Concat<axis=3>({', '.join(names)}) }}",
        **{f"w{i}": normal(3, 2, 1, 1) for i in range(4)},
    )
    after, outcome = apply(before, merge_siblings)
    assert bool(outcome.changes) == merged
    assert_equivalent(before, after, rtol=1e-6)
