"""A graph that is run in parts gives what it gives in one run, unless a part is changed."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import ModelError
from onnxzip.quantize.segments import reads, walk
from onnxzip.runtime import Session
from tests.helpers.graphs import model
from tests.quantize.audit import Feed, normal

BRANCHES = """g (float[N,8] x) => (float[N,8] y) { a = MatMul(x, w) t = Tanh(a) b = MatMul(t, w) s = Add(b, a) c = MatMul(s, w) y = Add(c, t) }"""


def net(text: str = BRANCHES) -> ir.Model:
    return model(text, w=normal(8, 8))


def data(*sizes: int) -> list[Feed]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((n, 8)).astype(np.float32)} for n in sizes]


def whole(graph: ir.Model, feeds: list[Feed], name: str) -> list[np.ndarray]:
    session = Session(graph, outputs=[name])
    return [session.run(feed)[name] for feed in feeds]


def test_parts_give_what_one_run_gives_in_the_order_of_the_graph() -> None:
    """Values skip segments, and batches differ in size."""
    graph, feeds = net(), data(3, 5)
    found = list(walk(graph, {"c", "a", "b"}, feeds))
    assert [name for name, _ in found] == ["a", "b", "c"]
    for name, arrays in found:
        for array, expected in zip(arrays, whole(graph, feeds, name), strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-5)


def test_what_is_changed_in_a_part_is_what_later_ones_read() -> None:
    graph, feeds = net(), data(3)
    last = None
    for name, arrays in walk(graph, {"a", "c"}, feeds):
        if name == "a":
            arrays[0] += 1
        last = arrays[0]
    changed = model(
        BRANCHES.replace("a = MatMul(x, w)", "m = MatMul(x, w) a = Add(m, one)"),
        w=graph.graph.initializers["w"].const_value.numpy(),  # type: ignore[union-attr]
        one=np.ones(1, np.float32),
    )
    np.testing.assert_allclose(last, whole(changed, feeds, "c")[0], rtol=1e-5, atol=1e-5)


def test_bodies_read_what_earlier_parts_made() -> None:
    text = """g (float[N,8] x, bool k) => (float[N,8] y) { a = MatMul(x, w) d = If(k) <then_branch = one () => (float[N,8] p) { p = Relu(a) },
    else_branch = two () => (float[N,8] q) { q = Neg(a) }> b = MatMul(d, w) y = Identity(b) }"""
    graph = net(text)
    feeds = [{**feed, "k": np.array(n == 0)} for n, feed in enumerate(data(2, 2))]
    for name, arrays in walk(graph, {"a", "b"}, feeds):
        for array, expected in zip(arrays, whole(graph, feeds, name), strict=True):
            np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-5)
    branch = next(n for n in graph.graph if n.op_type == "If")
    assert "a" in {v.name for v in reads(branch)}


def test_without_cuts_or_batches_nothing_is_run() -> None:
    assert list(walk(net(), {"no such tensor"}, data(2))) == []
    assert list(walk(net(), {"a"}, [])) == []


def test_the_model_is_left_alone() -> None:
    graph = net()
    before = [(n.op_type, [v.name for v in n.inputs if v], [o.name for o in n.outputs]) for n in graph.graph]
    types = [(v.type, v.shape) for v in graph.graph.inputs]
    for _, arrays in walk(graph, {"a", "b"}, data(2)):
        arrays[0] += 1
    assert [(n.op_type, [v.name for v in n.inputs if v], [o.name for o in n.outputs]) for n in graph.graph] == before
    assert [(v.type, v.shape) for v in graph.graph.inputs] == types


def test_a_sequence_across_a_cut_is_refused_by_name() -> None:
    text = "g (float[N,8] x) => (float[N,8] y) { l = SequenceConstruct(x, x) a = MatMul(x, w) z = SequenceAt(l, i) b = MatMul(z, w) y = Add(a, b) }"
    graph = model(text, w=normal(8, 8), i=np.array(0))
    with pytest.raises(ModelError, match="value 'l' is no tensor"):
        list(walk(graph, {"a", "b"}, data(2)))
