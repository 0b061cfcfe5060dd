"""Factors put into weights change no result."""

import numpy as np
import pytest

from onnxzip.errors import UsageError
from onnxzip.quantize.packed import pack
from onnxzip.quantize.rescale import rescaled
from onnxzip.quantize.schema import Equalized
from tests.helpers.graphs import initializer, model
from tests.helpers.numerics import run
from tests.quantize.audit import feeds, normal

FACTORS = np.array([0.125, 1, 3, 0.7], np.float32)

NET = model(
    """agraph (float[N,4,8,8] x) => (float[N,5] y)
    {
        a = Conv<pads=[1,1,1,1]>(x, u, b) r = Relu(a) m = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
        d = Conv<group=4, pads=[1,1,1,1]>(m, v) e = Conv(m, w) c = Concat<axis=1>(d, e)
        g = GlobalAveragePool(c) f = Flatten(g) y = Gemm(f, z)
    }""",
    u=normal(4, 4, 3, 3),
    b=normal(4),
    v=normal(4, 1, 3, 3),
    w=normal(4, 4, 1, 1),
    z=normal(8, 5),
)


def entry(tensor: str, factors: np.ndarray = FACTORS) -> Equalized:
    return Equalized(tensor=tensor, factors=pack(factors))


def test_results_stay_and_what_is_made_is_divided() -> None:
    after = rescaled(NET, [entry("a")])
    batch = feeds(NET)[0]
    np.testing.assert_allclose(run(after, batch)["y"], run(NET, batch)["y"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(initializer(after, "b"), initializer(NET, "b") / FACTORS, rtol=1e-6)
    np.testing.assert_allclose(initializer(after, "w"), initializer(NET, "w") * FACTORS.reshape(1, 4, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(initializer(after, "v"), initializer(NET, "v") * FACTORS.reshape(4, 1, 1, 1), rtol=1e-6)


def test_nothing_to_equalize_gives_a_plain_copy() -> None:
    after = rescaled(NET, [])
    assert all((initializer(after, n) == initializer(NET, n)).all() for n in ("u", "b", "v", "w", "z"))


@pytest.mark.parametrize(
    ("tensor", "factors", "why"),
    [
        ("r", FACTORS, "no Conv or Gemm"),
        ("y", np.full(5, 2, np.float32), "changing the results"),
        ("a", FACTORS - 1, "changing the results"),
        ("a", FACTORS[:3], "shape"),
    ],
)
def test_what_does_not_fit_is_refused(tensor: str, factors: np.ndarray, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        rescaled(NET, [entry(tensor, factors)])
