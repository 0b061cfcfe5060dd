"""Multiply-adds and parameters, counted by hand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxzip.prune.rules import analyse
from onnxzip.prune.sizes import Sizes, needed, sizes
from onnxzip.runtime import Session
from tests.prune.nets import Net


def sizes_of(model: ir.Model, batch: dict[str, np.ndarray]) -> tuple[Sizes, np.ndarray]:
    state = analyse(model)
    copy = model.clone()
    made = {o.name: o for n in copy.graph for o in n.outputs}
    copy.graph.outputs.clear()
    copy.graph.outputs.extend(made[n] for n in needed(model) if n in made)
    shapes = {n: a.shape for n, a in ({**batch, **Session(copy, level="none").run(batch)}).items()}
    roots = state.channels.roots()
    return sizes(state, roots, shapes), roots


def test_convs_count_each_weight_once_a_pixel() -> None:
    net = Net(2, 3, 10, 10)
    wide = net.op("Relu", net.conv("x", 16, 3))  # 8 x 8 pixels
    deep = net.conv(wide, 16, 1, group=16, pad=1)
    model = net.model(net.conv(deep, 4, 16, 1, bias=False))
    found, roots = sizes_of(model, {"x": net.random(2, 3, 10, 10)})
    gone = np.zeros(len(roots), np.bool_)
    assert found.total("multiply-adds", gone) == 2 * 64 * (16 * 27 + 16 * 9 + 4 * 16)
    assert found.total("parameters", gone) == 16 * 27 + 16 + 16 * 9 + 16 + 4 * 16
    gone[roots[analyse(model).layers[0].ids[:6]]] = True
    assert found.total("multiply-adds", gone) == 2 * 64 * (10 * 27 + 10 * 9 + 4 * 10)
    assert found.total("parameters", gone) == 10 * 27 + 10 + 10 * 9 + 10 + 4 * 10


def test_products_of_computed_operands_count_too() -> None:
    net = Net(2, 5, 8)
    left = net.op("MatMul", "x", net.weight(net.random(8, 6)))
    right = net.op("Transpose", "x", perm=[0, 2, 1])
    model = net.model(left, net.op("MatMul", "x", right), ranks=(3, 3))
    found, roots = sizes_of(model, {"x": net.random(2, 5, 8)})
    assert found.total("multiply-adds", np.zeros(len(roots), np.bool_)) == 10 * 8 * 6 + 2 * 5 * 5 * 8


def test_gemm_counts_by_rows() -> None:
    net = Net(7, 8)
    model = net.model(net.gemm("x", 6, 8), ranks=(2,))
    found, roots = sizes_of(model, {"x": net.random(7, 8)})
    assert found.total("multiply-adds", np.zeros(len(roots), np.bool_)) == 7 * 8 * 6
