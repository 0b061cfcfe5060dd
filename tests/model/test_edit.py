"""Edits that keep the interface."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzip.model.check import problems
from onnxzip.model.edit import Names, add_constant, can_replace, new_node, remove, replace, sole_consumer
from onnxzip.model.signature import signature
from tests.helpers.graphs import assert_nodes, model


def test_a_replacement_takes_over_the_name_of_an_output():
    m = model("agraph (float[N] x) => (float[N] y) { t = Relu(x) y = Identity(t) }")
    relu, identity = tuple(m.graph)
    replace(identity.outputs[0], relu.outputs[0])
    remove(identity)
    assert_nodes(m, "y = Relu(x)")
    assert problems(m, signature(m)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "agraph (float[N] x) => (float[N] y) { y = Identity(x) }",  # the input keeps its name
        "agraph (float[N] x) => (float[N] t, float[N] y) { t = Relu(x) y = Identity(t) }",  # so does another output
    ],
)
def test_refuses_where_both_names_are_interface(text):
    m = model(text)
    identity = list(m.graph)[-1]
    assert not can_replace(identity.outputs[0], identity.inputs[0])
    with pytest.raises(ValueError, match="cannot stand in"):
        replace(identity.outputs[0], identity.inputs[0])


def test_an_outer_value_cannot_become_the_output_of_a_body():
    m = model("""agraph (bool c, float[N] x) => (float[N] y) { t = Relu(x)
        y = If (c) <then_branch = a () => (float[N] p) { p = Identity(t) }, else_branch = b () => (float[N] q) { q = Neg(t) }> }""")
    inner = next(n for n in m.graph.all_nodes() if n.op_type == "Identity")
    assert not can_replace(inner.outputs[0], inner.inputs[0])


def test_names_are_fresh_across_bodies_and_constants_register():
    m = model("agraph (float[N] x) => (float[N] y) { w = Relu(x) y = Abs(w) }")
    name = Names(m).fresh("w")
    value = add_constant(m.graph, np.zeros(1, np.float32), name)
    m.graph.insert_before(list(m.graph)[1], node := new_node("Add", [list(m.graph)[0].outputs[0], value], "s"))
    replace(list(m.graph)[0].outputs[0], list(m.graph)[0].outputs[0])
    list(m.graph)[2].replace_input_with(0, node.outputs[0])
    assert name == "w_1"
    assert_nodes(m, "w = Relu(x)\ns = Add(w, w_1)\ny = Abs(s)")
    assert problems(m, signature(m)) == ()
    assert sole_consumer(node.outputs[0]) is list(m.graph)[2]
    assert sole_consumer(m.graph.outputs[0]) is None


def test_the_check_finds_what_is_broken():
    m = model("agraph (float[N] x) => (float[N] y) { t = Relu(x) y = Abs(t) }")
    expected = signature(m)
    m.graph.outputs[0].name = "z"
    assert any("output" in p for p in problems(m, expected))
    m = model("agraph (float[N] x) => (float[N] y) { t = Relu(x) y = Abs(t) }")
    relu, absolute = tuple(m.graph)
    relu.replace_input_with(0, absolute.outputs[0])
    assert any("not defined before" in p for p in problems(m, expected))
