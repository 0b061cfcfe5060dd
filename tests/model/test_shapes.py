"""Shapes come from the interface, not from what exporters declare in between."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxzip.model.load import load
from onnxzip.model.shapes import Shapes, forget
from onnxzip.passes.context import Context
from tests.helpers.graphs import model


def test_shapes_ranks_and_types_with_symbolic_axes():
    m = model(
        "agraph (float[N,3] x) => (float[N,4] y) { t = MatMul(x, w) s = Shape(t) y = Relu(t) }",
        w=np.zeros((3, 4), np.float32),
    )
    shapes, (matmul, shape, _) = Shapes(m), tuple(m.graph)
    assert shapes.of(matmul.outputs[0]) == ("N", 4)
    assert shapes.static(matmul.outputs[0]) is None
    assert shapes.static(shape.outputs[0]) == (2,)
    assert shapes.dtype(shape.outputs[0]).name == "INT64"
    assert shapes.rank(None) is None


def test_a_declared_shape_that_freezes_an_axis_is_not_believed():
    """failures.md 11: the exporter's value_info says 1 where the interface says N."""
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[N,3] x) => (float[N,3] y) <float[1,3] t> { t = Relu(x) y = Abs(t) }'
    )
    m = load(proto).model
    assert Shapes(m).of(next(iter(m.graph)).outputs[0]) == ("N", 3)


def test_unknown_operators_keep_what_is_declared():
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18, "my" : 1]> g (float[N,3] x) => (float[N,3] y) <float[7] t> { t = my.Op(x) y = my.Op(t) }'
    )
    m = load(proto).model
    assert Shapes(m).static(next(iter(m.graph)).outputs[0]) == (7,)


def test_bodies_are_seen_and_forget_drops_only_inner_shapes():
    proto = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]> g (bool c, float[N] x) => (float[N] y) <float[N] t>
        { t = Relu(x) y = If (c) <then_branch = a () => (float[N] p) { p = Abs(t) }, else_branch = b () => (float[N] q) { q = Neg(t) }> }""")
    m = load(proto).model
    inner = next(n for n in m.graph.all_nodes() if n.op_type == "Abs").outputs[0]
    assert Shapes(m).rank(inner) == 1
    forget(m)
    assert next(iter(m.graph)).outputs[0].shape is None
    assert m.graph.outputs[0].shape is not None


def test_a_sliced_axis_of_opset_10_has_no_name():
    """Inference of Slice-10 copies the name of the whole axis; believed, a real Slice would look like nothing."""
    m = model(
        '<ir_version: 5, opset_import: ["" : 10]> g (float[N,H] x) => (float[N,K] y) { y = Slice(x, a, b, c) }',
        a=np.array([0]),
        b=np.array([512]),
        c=np.array([1]),
    )
    shape = Shapes(m).of(m.graph.outputs[0])
    assert shape is not None
    assert "H" not in shape


def test_what_a_loop_carries_may_change_its_shape():
    m = model("""g (int64 n, float[2,3] v0) => (float[K,3] v2) {
        c = Constant <value = bool {1}> ()
        v2 = Loop (n, c, v0) <body = b (int64 i, bool k, float[2,3] v) => (bool k2, float[M,3] w) { k2 = Identity(k) w = Concat <axis = 0> (v, v) }>
    }""")
    carried = next(n for n in m.graph.all_nodes() if n.op_type == "Concat").inputs[0]
    assert Shapes(m).static(carried) is None


def test_a_large_tile_is_not_computed():
    m = model(
        "g (float[1] x) => (float[M] y) { t = Tile(one, r) y = Add(x, t) }",
        one=np.ones(1, np.float32),
        r=np.array([10**11]),
    )
    assert Shapes(m).static(next(iter(m.graph)).outputs[0]) == (10**11,)


def test_bodies_read_the_axes_that_are_constants_of_outer_graphs():
    graph = model(
        """g (bool c, float[N,4,1] x) => (float[A,B] y) {
            y = If(c) <
                then_branch = t () => (float[A,B] a) { p = Squeeze(x, axes) a = Neg(p) },
                else_branch = e () => (float[A,B] b) { q = Squeeze(x, axes) b = Abs(q) }>
        }""",
        axes=np.array([2]),
    )
    shapes = Shapes(graph)
    for body in graph.graph.subgraphs():
        for node in body:
            assert shapes.of(node.outputs[0]) == ("N", 4)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Unsqueeze<axes=[-2]>(x)", ("N", 3, 1, 1, 4)),
        ("Squeeze<axes=[-2]>(x)", ("N", 3, 4)),
        ("Slice<axes=[-1], starts=[1], ends=[3]>(x)", None),
    ],
)
def test_axes_that_count_back_before_inference_knew_them(node, expected):
    graph = model(
        f'<ir_version: 5, opset_import: ["" : 9]> g (float[N,3,1,4] x) => (float y) {{ t = {node} y = Relu(t) }}'
    )
    assert Context(graph).shapes.of(next(iter(graph.graph)).outputs[0]) == expected
