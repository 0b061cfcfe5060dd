import math

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.model.shapes import Shapes
from onnxzip.quantize.kernels import Kernel, activation_bounds, recognise
from onnxzip.quantize.targets import CPU
from tests.helpers.graphs import model


def kernel(body: str, shape: str = "N,32", **arrays: np.ndarray) -> Kernel | str | None:
    arrays = {"w": np.ones((32, 48), np.float32), "b": np.ones(48, np.float32)} | arrays
    net = model(
        f"agraph (float[{shape}] x) => (float[P,Q] y) {{ {body} }}",
        **{k: v for k, v in arrays.items() if f" {k})" in body or f" {k}," in body},
    )
    return recognise(net.graph[0], Shapes(net), CPU, ())


@pytest.mark.parametrize(
    ("body", "role", "axis", "end", "bias_add"),
    [
        ("y = Gemm(x, w, b)", "gemm", 1, None, None),
        ("y = Gemm<transB=1>(x, t, b)", "gemm", 0, None, None),
        ("y = MatMul(x, w)", "matmul", 1, None, None),
        ("m = MatMul(x, w) y = Add(m, b)", "gemm", 1, None, "Add"),
        ("m = MatMul(x, w) y = Add(m, x)", "matmul", 1, "m", None),
        ("m = MatMul(x, w) y = Relu(m)", "matmul", 1, "y", None),
        ("m = MatMul(x, w) r = Relu(m) y = Add(m, r)", "matmul", 1, None, None),
    ],
)
def test_cases_of_the_docstring(body: str, role: str, axis: int, end: str | None, bias_add: str | None) -> None:
    found = kernel(body, t=np.ones((48, 32), np.float32))
    assert isinstance(found, Kernel)
    assert (found.role, found.axis, found.end and found.end.name, found.bias_add and found.bias_add.op_type) == (
        role,
        axis,
        end,
        bias_add,
    )


def test_bias_of_unknown_rank_is_left_where_it_is() -> None:
    found = kernel("r = Reshape(x, s) y = Relu(r)", s=np.array([1, -1]))
    assert found is None
    net = model(
        "agraph (float[N] x, int64[M] s) => (float[P,Q] y) { r = Reshape(x, s) m = MatMul(r, w) y = Add(m, b) }",
        w=np.ones((32, 48), np.float32),
        b=np.ones(48, np.float32),
    )
    found = recognise(net.graph[1], Shapes(net), CPU, ())
    assert isinstance(found, Kernel)
    assert (found.role, found.bias_add) == ("matmul", None)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (None, None, (-math.inf, math.inf)),
        (0, 6, (0, 6)),
        (-1, None, (-1, math.inf)),
        (-3.4028235e38, 6, (-math.inf, 6)),
        (1, 6, None),
        (-3, -1, None),
        (-3, 0, None),
    ],
)
def test_bounds_of_a_clip(low: float | None, high: float | None, expected: tuple[float, float] | None) -> None:
    value = [None if v is None else ir.Value(name="v", const_value=ir.tensor(np.float32(v))) for v in (low, high)]
    graph = ir.Graph([], [], nodes=[], initializers=[], name="g")
    for i, v in enumerate(value):
        if v is not None:
            v.name = f"v{i}"
            graph.register_initializer(v)
    assert activation_bounds(ir.node("Clip", [ir.Value(name="x"), *value])) == expected


def test_bounds_that_are_computed_are_unknown() -> None:
    assert activation_bounds(ir.node("Clip", [ir.Value(name="x"), ir.Value(name="low"), None])) is None
