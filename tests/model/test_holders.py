"""Which layer holds how many bytes, before and after."""

from __future__ import annotations

import numpy as np

from onnxzip.model.holders import by_layer, by_operator
from tests.helpers import graphs

W = np.ones((4, 4), np.float32)


def rows(before, after=None):
    return {h.name: (h.before, h.after) for h in by_layer(before, after or before)}


def test_a_constant_counts_once_for_its_first_reader():
    net = graphs.model("agraph (float[N,4] x) => (float[N,4] z) { [one] y = MatMul(x, w) [two] z = MatMul(y, w) }", w=W)
    assert rows(net) == {"one": (64, 64)}


def test_nodes_of_constants_alone_pass_theirs_on():
    net = graphs.model(
        """agraph (float[N,4] x) => (float[N,4] y) {
            [dq] d = DequantizeLinear(q, s) [turn] t = Transpose(d) [mul] y = MatMul(x, t) }""",
        q=np.ones((4, 4), np.int8),
        s=np.float32(0.5),
    )
    assert rows(net) == {"mul": (20, 20)}
    assert [(h.name, h.before) for h in by_operator(net, net)] == [("MatMul", 20)]


def test_a_layer_keeps_its_name_when_it_becomes_several_nodes():
    before = graphs.model("agraph (float[N,4] x) => (float[N,4] y) { [mul] y = MatMul(x, w) }", w=W)
    after = graphs.model(
        "agraph (float[N,4] x) => (float[N,4] y) { [new] m = MatMul(x, w) [late] y = Mul(m, s) }",
        w=W,
        s=np.float32(2),
    )
    assert rows(before, after) == {"mul": (64, 68)}


def test_a_renamed_layer_is_known_by_its_operator_and_its_reader():
    before = graphs.model(
        "agraph (int64[N] i, float[N,4] x) => (float[N,4] y) { [table] e = Gather(w, i) [sum] y = Add(x, e) }", w=W
    )
    after = graphs.model(
        "agraph (int64[N] i, float[N,4] x) => (float[N,4] y) { [fresh] q = Gather(w, i) [wide] e2 = Identity(q) [sum] y = Add(x, e2) }",
        w=W,
    )
    assert rows(before, after) == {"table": (64, 64)}


def test_what_is_new_and_what_is_gone_have_rows_of_their_own():
    before = graphs.model("agraph (float[N,4] x) => (float[N,4] y) { [old] h = Mul(x, w) [end] y = Relu(h) }", w=W[0])
    after = graphs.model(
        "agraph (float[N,4] x) => (float[N,4] y, float[N,4] z) { [new] n = Mul(x, w) y = Relu(n) z = Abs(n) }", w=W[0]
    )
    assert rows(before, after) == {"old": (16, 0), "new": (0, 16)}


def test_constants_that_nobody_reads_are_left_out():
    net = graphs.model("agraph (float[N,4] x) => (float[N,4] y) { [end] y = Relu(x) }", w=W)
    assert rows(net) == {}
