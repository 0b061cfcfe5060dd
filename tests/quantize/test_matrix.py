"""Weights as rows: the product of the rows with what a layer reads is what the layer computes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.calibrate.patches import site_of
from onnxzip.quantize.matrix import from_rows, groups_of, to_rows
from tests.helpers.graphs import initializer, model
from tests.helpers.numerics import feed, run

RNG = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


CASES = [
    ("Conv<pads=[1,1,1,1]>(x, w)", (4, 6, 5, 5), (8, 6, 3, 3), 0),
    ("Conv<group=2, strides=[2,1]>(x, w)", (4, 6, 5, 5), (8, 3, 3, 2), 0),
    ("Conv<group=6>(x, w)", (4, 6, 5, 5), (12, 1, 3, 3), 0),
    ("Conv(x, w)", (2, 6, 9), (5, 6, 4), 0),
    ("Gemm(x, w)", (4, 6), (6, 5), 1),
    ("Gemm<transB=1>(x, w)", (4, 6), (5, 6), 0),
    ("MatMul(x, w)", (2, 4, 6), (6, 5), 1),
]


def net(body: str, shape: tuple[int, ...], w: np.ndarray) -> ir.Model:
    axes = ",".join("ABCDE"[: len(shape)])
    return model(f"g (float[{','.join(map(str, shape))}] x) => (float[{axes}] y) {{ y = {body} }}", w=w)


@pytest.mark.parametrize(("body", "x", "w", "axis"), CASES, ids=[c[0] for c in CASES])
def test_rows_times_what_is_read_is_the_layer(body: str, x: tuple[int, ...], w: tuple[int, ...], axis: int) -> None:
    layer = net(body, x, weights(*w))
    node, batch = layer.graph[0], feed(layer)
    reading, groups = site_of(node), groups_of(node)
    assert reading is not None
    places = np.arange(int(np.prod(reading.grid(x))))
    read = reading.rows(batch["x"], places).reshape(len(places), groups, -1)
    rows = to_rows(initializer(layer, "w"), axis, groups)
    result = np.einsum("ngk,grk->ngr", read, rows).reshape(len(places), -1)
    np.testing.assert_allclose(result, reading.targets(run(layer, batch)["y"], places), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("body", "x", "w", "axis"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
def test_back_again(body: str, x: tuple[int, ...], w: tuple[int, ...], axis: int, dtype: type[np.generic]) -> None:
    content = (weights(*w) * 40).astype(dtype)
    back = from_rows(to_rows(content, axis, groups_of(net(body, x, weights(*w)).graph[0])), w, axis)
    assert back.dtype == content.dtype
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, content)


def test_only_a_conv_has_groups() -> None:
    assert [groups_of(net(b, x, weights(*w)).graph[0]) for b, x, w, _ in CASES] == [1, 2, 6, 1, 1, 1, 1]
