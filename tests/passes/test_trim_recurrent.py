"""Inputs of recurrent operators that may be left out."""

import numpy as np
import pytest

from onnxzip.passes.trim_recurrent import trim_recurrent
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

RNG = np.random.default_rng(0)


def weights(gates, hidden=4, given=3):
    return {
        "w": RNG.standard_normal((1, gates * hidden, given)).astype(np.float32),
        "r": RNG.standard_normal((1, gates * hidden, hidden)).astype(np.float32),
        "b": np.zeros((1, 2 * gates * hidden), np.float32),
    }


def test_zeros_are_left_out_cases_1_and_2():
    before = model(
        """g (float[T,N,3] x) => (float[T,1,N,4] y) {
            s = Shape<start=1, end=2>(x) t = Concat<axis=0>(one, s, four) h = ConstantOfShape(t)
            c = Expand(zero, t)
            y = LSTM<hidden_size=4>(x, w, r, b, , h, c, p)
        }""",
        one=np.array([1]),
        four=np.array([4]),
        zero=np.float32(0),
        p=np.zeros((1, 12), np.float32),
        **weights(4),
    )
    after, _ = apply(before, trim_recurrent)
    (node,) = after.graph
    assert op_types(after) == ["LSTM"]
    assert [v and v.name for v in node.inputs] == ["x", "w", "r", None, None, None, None, None]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("RNN", 1)])
def test_whole_lengths_are_left_out_case_3(op, gates):
    before = model(
        f"g (float[5,2,3] x, float[1,2,4] h) => (float[5,1,2,4] y) {{ y = {op}<hidden_size=4>(x, w, r, b, n, h) }}",
        n=np.array([5, 5], np.int32),
        **weights(gates),
    )
    after, _ = apply(before, trim_recurrent)
    (node,) = after.graph
    assert [v and v.name for v in node.inputs] == ["x", "w", "r", None, None, "h"]
    assert_equivalent(before, after, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "arrays"),
    [
        ("float[T,N,3]", {"h": np.zeros((1, 2, 4), np.float32)}),  # the batch is pinned to 2
        ("float[T,2,3]", {"h": np.full((1, 2, 4), 1e-9, np.float32)}),
        ("float[5,2,3]", {"n": np.array([5, 4], np.int32)}),
        ("float[T,2,3]", {"n": np.array([5, 5], np.int32)}),
    ],
)
def test_others_are_left_alone(x, arrays):
    held = weights(3)
    held["b"][0, 0] = 1
    lengths, state = ("n" if "n" in arrays else ""), ("h" if "h" in arrays else "")
    assert_untouched(
        model(f"g ({x} x) => (float y) {{ y = GRU<hidden_size=4>(x, w, r, b, {lengths}, {state}) }}", **arrays, **held),
        trim_recurrent,
    )
