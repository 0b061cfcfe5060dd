"""What a model holds: constants wherever they stand, equal ones, dynamic axes by name."""

from __future__ import annotations

import numpy as np

from onnxzip.model.contents import dynamic_axes, types_of, weights_of
from tests.helpers.graphs import model

TEXT = """g (bool c, float[N,4] x) => (float[N,4] y) {
    k = Constant <value = int64[1] {3}> ()
    a = Add(x, big)
    b = Mul(a, same)
    d = Sub(b, twin)
    e = Mul(d, same)
    y = If (c) <then_branch = t () => (float[N,4] p) { w = Constant <value = float[4] {1, 2, 3, 4}> () p = Add(e, w) },
                else_branch = f () => (float[N,4] q) { q = Abs(e) }>
}"""


def found():
    four = np.arange(4, dtype=np.float32)
    return weights_of(model(TEXT, big=np.zeros((2, 1, 4), np.float32), same=four, twin=four.copy()))


def test_constants_of_all_graphs_largest_first():
    assert [(w.name, w.type, w.elements, w.bytes) for w in found()] == [
        ("big", "float32[2,1,4]", 8, 32),
        ("same", "float32[4]", 4, 16),
        ("twin", "float32[4]", 4, 16),
        ("w", "float32[4]", 4, 16),
        ("k", "int64[1]", 1, 8),
    ]


def test_readers_and_copies():
    by_name = {w.name: w for w in found()}
    assert by_name["same"].readers == 2
    assert {n: w.copy_of for n, w in by_name.items()} == {
        "big": None,
        "same": None,
        "twin": "same",
        "w": None,
        "k": None,
    }


def test_bytes_by_type():
    assert types_of(found()) == {"float32": 80, "int64": 8}


def test_dynamic_axes_by_name():
    m = model("g (float[N,3,?] x, float[N] z) => (float[M] y) { y = Compress(z, c) }", c=np.ones(2, np.bool_))
    assert dynamic_axes(m) == {"N": ("x[0]", "z[0]"), "?": ("x[2]",), "M": ("y[0]",)}
