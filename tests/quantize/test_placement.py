"""Which values share a scale and which are quantized, structure only (what the runtime makes of it: test_insert)."""

import numpy as np
import pytest

from onnxzip.quantize.placement import Placement, place
from onnxzip.quantize.targets import CPU
from tests.helpers.graphs import model

W = np.ones((16, 16, 1, 1), np.float32)
WIDE = np.ones((16, 32, 1, 1), np.float32)


def placed(body: str) -> Placement:
    arrays = {"u": W, "v": W, "w": WIDE}
    net = model(
        f"agraph (float[N,16,8,8] x) => (float[N,M,H,W] y) {{ {body} }}",
        **{k: a for k, a in arrays.items() if f" {k})" in body},
    )
    return place(net, CPU, {})


def groups(body: str) -> list[str]:
    return [" ".join(v.name or "" for v in g.values) for g in placed(body).groups]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Conv(x, u) y = Conv(a, v)", ["x", "a", "y"]),
        ("a = Conv(x, u) r = Relu(a) y = Conv(r, v)", ["x", "r", "y"]),
        (
            "a = Conv(x, u) p = MaxPool<kernel_shape=[2,2]>(a) t = Transpose<perm=[0,1,3,2]>(p) y = Conv(t, v)",
            ["x", "a p t", "y"],
        ),
        ("a = Conv(x, u) b = Conv(x, v) c = Concat<axis=1>(a, b) y = Conv(c, w)", ["x", "a b c", "y"]),
        ("a = Conv(x, u) b = Conv(a, v) c = Concat<axis=1>(a, b) y = Conv(c, w)", ["x", "a", "b c", "y"]),
        (
            "a = Conv(x, u) r = Relu(a) b = Conv(x, v) c = Concat<axis=1>(r, b) y = Conv(c, w)",
            ["x", "r", "b", "c", "y"],
        ),
        ("a = Conv(x, u) s = Add(a, x) y = Conv(s, v)", ["x", "a", "s", "y"]),
        ("a = Conv(x, u) s = Softmax(a) y = Conv(s, v)", ["x", "a", "s", "y"]),
        ("a = Conv(x, u) b = Conv(a, v) s = Add(a, b) y = Softmax(s)", ["x", "a", "b"]),
        ("y = Softmax(x)", []),
    ],
)
def test_scales(body: str, expected: list[str]) -> None:
    assert groups(body) == expected


def test_sources_are_where_the_values_come_from() -> None:
    found = placed(
        "a = Conv(x, u) b = Conv(a, v) c = Concat<axis=1>(a, b) p = MaxPool<kernel_shape=[2,2]>(c) y = Conv(p, w)"
    )
    sources = {g.values[0].name: [s.name for s in g.sources] for g in found.groups}
    assert sources == {"x": ["x"], "a": ["a"], "b": ["b", "a"], "y": ["y"]}


def test_made_values_and_others() -> None:
    found = placed("a = Conv(x, u) s = Softmax(a) y = Conv(s, v)")
    assert {v.name for v in found.made} == {"a", "y"}
