import numpy as np
import pytest

from onnxzip.quantize.assumed import ALIKE, POSITIVE, assumed_moments
from tests.helpers.graphs import model
from tests.quantize.audit import normal


def moments(body: str, columns: int = 18, taps: int = 9) -> np.ndarray:
    net = model(f"agraph (float[N,2,8,8] x) => (float[N,3,6,6] y) {{ {body} }}", w=normal(3, 2, 3, 3))
    node = next(n for n in net.graph if n.op_type == "Conv")
    return assumed_moments(node, columns, taps)


def test_window_of_signed_values() -> None:
    found = moments("y = Conv(x, w)")
    assert found[0, 0] == 1 + ALIKE
    assert found[0, 1] == ALIKE
    assert found[0, 9] == 0


@pytest.mark.parametrize("before", ["Relu", "Sigmoid"])
def test_positive_values_have_a_mean(before: str) -> None:
    assert moments(f"r = {before}(x) y = Conv(r, w)")[0, 9] == pytest.approx(POSITIVE)
    assert moments(f"r = {before}(x) p = MaxPool<kernel_shape=[1,1]>(r) y = Conv(p, w)")[0, 9] == pytest.approx(
        POSITIVE
    )


def test_clip_counts_only_from_zero_on() -> None:
    text = "z = Constant<value_float={low}>() r = Clip(x, z) y = Conv(r, w)"
    assert moments(text.format(low="0.0"))[0, 9] == pytest.approx(POSITIVE)
    assert moments(text.format(low="-1.0"))[0, 9] == 0


def test_rows_of_signed_values_are_left_alone() -> None:
    net = model("agraph (float[N,8] x) => (float[N,4] y) { t = Tanh(x) y = MatMul(t, w) }", w=normal(8, 4))
    np.testing.assert_array_equal(assumed_moments(net.graph[1], 8, 1), np.eye(8))
