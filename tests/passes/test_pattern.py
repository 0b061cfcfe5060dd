"""Products and sums in any spelling, and what lies between two values."""

import pytest

from onnxzip.passes.pattern import affine, between, product, total
from tests.helpers.graphs import model


def output(nodes, **arrays):
    graph = model(f"g (float[4] x, float[4] z) => (float[4] y) {{ {nodes} }}").graph
    return graph.outputs[0], {v.name: v for v in (*graph.inputs, *(o for n in graph for o in n.outputs))}


TWO = "two = Constant<value_float = 2.0>() "


@pytest.mark.parametrize(
    ("nodes", "scalar", "over", "under"),
    [
        ("a = Mul(x, two) y = Mul(z, a)", 2.0, "zx", ""),
        ("a = Div(x, two) y = Div(a, z)", 0.5, "x", "z"),
        ("a = Div(two, x) y = Div(z, a)", 0.5, "zx", ""),
        ("a = Neg(x) b = Reciprocal(z) y = Mul(a, b)", -1.0, "x", "z"),
        ("three = Constant<value_float = 3.0>() y = Pow(x, three)", 1.0, "xxx", ""),
        ("y = Pow(x, z)", 1.0, "y", ""),
        ("a = Mul(x, two) b = Mul(a, z) y = Mul(a, b)", 1.0, "aaz", ""),  # a is read twice: one factor
        ("nought = Constant<value_float = 0.0>() y = Div(x, nought)", 1.0, "y", ""),
    ],
)
def test_product(nodes, scalar, over, under):
    value, _ = output(TWO + nodes if "two" in nodes else nodes)
    found = product(value)
    assert found.scalar == scalar
    assert sorted(v.name for v in found.over) == sorted(over)
    assert [v.name for v in found.under] == list(under)


@pytest.mark.parametrize(
    ("nodes", "number", "plus", "minus"),
    [
        ("a = Add(x, two) y = Sub(a, z)", 2.0, "x", "z"),
        ("a = Sub(x, two) y = Sub(z, a)", 2.0, "z", "x"),
        ("a = Neg(x) y = Sum(a, z, two)", 2.0, "z", "x"),
        ("a = Mul(x, two) y = Add(a, z)", 0.0, "az", ""),
    ],
)
def test_total(nodes, number, plus, minus):
    value, _ = output(TWO + nodes)
    found = total(value)
    assert found.number == number
    assert sorted(v.name for v in found.plus) == sorted(plus)
    assert [v.name for v in found.minus] == list(minus)


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("a = Mul(x, two) y = Sub(two, a)", (-2.0, 2.0)),
        ("a = Add(x, two) y = Mul(two, a)", (2.0, 4.0)),
        ("a = Add(x, two) b = Div(a, two) y = Add(b, two)", (0.5, 3.0)),
    ],
)
def test_affine(nodes, expected):
    value, values = output(TWO + nodes)
    assert affine(value) == (*expected, values["x"])


def test_affine_of_two_values_is_none():
    assert affine(output("y = Add(x, z)")[0]) is None


def test_between_is_closed():
    value, values = output("a = Exp(x) b = Sin(a) c = Cos(a) y = Add(b, c)")
    assert [n.op_type for n in between(value, [values["x"]])] == ["Add", "Sin", "Cos", "Exp"]
    assert between(value, [values["b"]]) is None  # c depends on something else
    value, values = output("a = Exp(x) b = Sin(a) y = Add(b, a)")
    assert [n.op_type for n in between(value, [values["a"]])] == ["Add", "Sin"]
    value, values = output("a = Exp(x) b = Sin(a) c = Cos(b) y = Mul(b, z)")
    assert between(value, [values["a"], values["z"]]) is None  # c reads b
