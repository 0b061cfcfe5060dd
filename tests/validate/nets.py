"""A small network with seeded weights, and the damages that its comparison must find."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from onnxzip.model.save import to_proto
from tests.helpers.graphs import model

NET = """agraph (float[N,4,8,8] x) => (float[N,5] y, float[N,5] z) {
    c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <pads = [1,1,1,1]> (r1, w2)
    s = Add(c2, r1)
    r2 = Relu(s)
    p = GlobalAveragePool(r2)
    f = Flatten(p)
    y = Gemm <transB = 1> (f, w3, b3)
    t = Tanh(f)
    z = Gemm <transB = 1> (t, w4)
}"""


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"w1": (6, 4, 3, 3), "b1": (6,), "w2": (6, 6, 3, 3), "w3": (5, 6), "b3": (5,), "w4": (5, 6)}
    return {n: (rng.standard_normal(s) * 0.3).astype(np.float32) for n, s in shapes.items()}


def net(changed: Mapping[str, np.ndarray] | None = None, text: str = NET) -> onnx.ModelProto:
    """The network as protobuf, with some weights replaced."""
    return to_proto(model(text, **{**weights(), **(changed or {})}))


def batches(count: int = 2) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal((8, 4, 8, 8)).astype(np.float32)} for _ in range(count)]


def renamed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every inner value and every node has another name."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    kept = {v.name for v in (*copy.graph.input, *copy.graph.output, *copy.graph.initializer)}
    for number, node in enumerate(copy.graph.node):
        node.name = f"node {number}"
        for slots in (node.input, node.output):
            for i, name in enumerate(slots):
                slots[i] = name if name in kept or not name else f"other {name}"
    return copy
