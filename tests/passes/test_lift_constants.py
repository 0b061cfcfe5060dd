import numpy as np

from onnxzip.model.save import model_bytes
from onnxzip.passes.lift_constants import lift_constants
from tests.helpers.graphs import assert_nodes, initializer, model
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def test_every_form_of_constant_becomes_an_initializer():
    before = model("""
        g (float[N,2] x) => (float[N,2] y, int64[1] k) {
            a = Constant<value = float[2] {1.0, 2.0}>()
            b = Constant<value_float = 3.0>()
            c = Constant<value_ints = [7]>()
            d = Add(x, a)
            y = Mul(d, b)
            k = Neg(c)
        }""")
    after, outcome = apply(before, lift_constants)
    assert outcome.changes == 3
    assert_nodes(after, "d = Add(x, a)\ny = Mul(d, b)\nk = Neg(c)")
    assert initializer(after, "b").shape == ()
    assert initializer(after, "c").dtype == np.int64
    assert model_bytes(after) < model_bytes(before)
    assert_equivalent(before, after, rtol=0)


def test_strings_are_lifted():
    before = model(
        """
        g (string[N] x) => (bool[N] y) {
            a = Constant<value_string = "cat">()
            y = Equal(x, a)
        }""".replace("g (", '<ir_version: 8, opset_import: ["" : 19]>\n g (', 1)
    )
    after, _ = apply(before, lift_constants)
    batch = {"x": np.array(["cat", "dog"], dtype=object)}
    assert_nodes(after, "y = Equal(x, a)")
    assert_equivalent(before, after, rtol=0, batch=batch)


def test_a_body_keeps_its_constant():
    before = model("""
        g (bool c, float[N,4] x) => (float[N,4] y) {
            y = If(c) <
                then_branch = t () => (float[N,4] a) { k = Constant<value = float {2.0}>() a = Mul(x, k) },
                else_branch = e () => (float[N,4] b) { b = Relu(x) }>
        }""")
    after, outcome = apply(before, lift_constants)
    assert outcome.changes == 1
    body = next(g for g in after.graph.subgraphs() if g.name == "t")
    assert list(body.initializers) == ["k"]
    assert_equivalent(before, after, rtol=0)


def test_leaves_outputs_alone():
    assert_untouched(
        model("g (float[1] x) => (float y, float[1] z) { y = Constant<value_float = 1.0>() z = Relu(x) }"),
        lift_constants,
    )


def test_a_list_of_integers_takes_no_more_bytes_than_before():
    many = ", ".join(["1"] * 40)
    before = model(f"""
        g (int64[40] x) => (int64[40] y) {{
            a = Constant<value_ints = [{many}]>()
            y = Add(x, a)
        }}""")
    after, outcome = apply(before, lift_constants)
    assert outcome.changes == 1
    assert model_bytes(after) < model_bytes(before)
    assert_equivalent(before, after, rtol=0)
