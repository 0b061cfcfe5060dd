"""Which channels may take a factor."""

import numpy as np
import pytest

from onnxzip.quantize.ties import Ties
from tests.helpers.graphs import model
from tests.quantize.audit import normal

HEAD = "agraph (float[N,4,8,8] x) => (float[N,4,8,8] y)"


def free_of(body: str, head: str = HEAD) -> dict[str, bool]:
    """By the names of what layers make: whether all of their channels are free."""
    weights = {n: normal(4, 4, 1, 1) for n in ("u", "v", "w")}
    net = model(f"{head} {{ {body} }}", **weights, wide=normal(4, 8, 1, 1), six=np.array(6, np.float32))
    ties = Ties(net)
    return {layer.result.name or "": bool(ties.free(layer.result).all()) for layer in ties.layers}


@pytest.mark.parametrize("between", ["Relu(a)", "LeakyRelu(a)", "Identity(a)", "MaxPool<kernel_shape=[1,1]>(a)"])
def test_homogeneous_operators_carry_factors(between: str) -> None:
    assert free_of(f"a = Conv(x, u) r = {between} y = Conv(r, v)") == {"a": True, "y": False}


@pytest.mark.parametrize("between", ["Sigmoid(a)", "Clip(a, , six)", "Mul(a, a)"])
def test_other_operators_lock(between: str) -> None:
    assert free_of(f"a = Conv(x, u) r = {between} y = Conv(r, v)") == {"a": False, "y": False}


def test_second_reader_that_is_no_layer_locks() -> None:
    assert free_of("a = Conv(x, u) s = Sigmoid(a) b = Conv(a, v) y = Add(b, s)")["a"] is False


def test_weights_read_twice_lock() -> None:
    assert free_of("a = Conv(x, u) y = Conv(a, u)") == {"a": False, "y": False}


def test_concat_keeps_channels_apart_where_one_branch_is_locked() -> None:
    found = free_of(
        "a = Conv(x, u) b = Conv(x, v) s = Sigmoid(b) c = Concat<axis=1>(a, b) d = Conv(c, wide) y = Add(d, s)"
    )
    assert found["a"] is True
    assert found["b"] is False


def test_sum_ties_its_channels() -> None:
    net = model(
        f"{HEAD} {{ a = Conv(x, u) b = Conv(x, v) c = Add(a, b) y = Conv(c, w) }}",
        u=normal(4, 4, 1, 1),
        v=normal(4, 4, 1, 1),
        w=normal(4, 4, 1, 1),
    )
    ties = Ties(net)
    a, b = (ties.of(layer.result).tolist() for layer in ties.layers[:2])
    assert a == b == ties.of(ties.layers[2].source).tolist()
    assert all(ties.free(layer.result).all() for layer in ties.layers[:2])


def test_sum_that_broadcasts_another_axis_locks() -> None:
    net = model(
        "agraph (float[N,4,8,4] x, float[8,4] z) => (float[N,4,8,4] y) { a = Conv(x, u) g = Gemm(z, k) c = Add(a, g) y = Conv(c, w) }",
        u=normal(4, 4, 1, 1),
        k=normal(4, 4),
        w=normal(4, 4, 1, 1),
    )
    ties = Ties(net)
    assert not any(ties.free(layer.result).any() for layer in ties.layers)
