import onnx
import pytest

from onnxzip.model.load import load
from onnxzip.passes.inline_functions import inline_functions
from onnxzip.passes.runner import run
from tests.helpers.graphs import model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched

TWO = '<domain: "f", opset_import: ["" : 18]> two (x) => (y) { z = Relu(x) y = Neg(z) }'


def functions(main, *bodies):
    header = '<ir_version: 8, opset_import: ["" : 18, "f" : 1]>\n'
    return load(onnx.parser.parse_model(header + main + "\n".join(bodies))).model


def test_calls_become_nodes():
    before = functions(
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y = f.two(x) a = f.three<k=2.0>(y) z = f.two(a) }",
        TWO,
        '<domain: "f", opset_import: ["" : 18, "f" : 1]> three <k> (x) => (y) { c = Constant<value_float: float = @k>() b = f.two(x) y = Mul(b, c) }',
    )
    after, outcome = apply(before, inline_functions)
    assert outcome.changes > 2
    assert not after.functions
    assert op_types(after) == ["Relu", "Neg", "Constant", "Relu", "Neg", "Mul", "Relu", "Neg"]
    assert {n.name for n in after.graph} == {""}
    assert_equivalent(before, after, rtol=0)


def test_the_opset_may_differ_where_the_operators_do_not():
    before = functions("g (float[N,4] x) => (float[N,4] y) { y = f.two(x) }", TWO.replace("18", "16"))
    after, _ = apply(before, inline_functions)
    assert op_types(after) == ["Relu", "Neg"]


def test_values_in_bodies_get_names_of_their_own():
    before = functions(
        "g (float[N,4] x, bool c) => (float[N,4] y) { a = f.choose(c, x) y = f.choose(c, a) }",
        """<domain: "f", opset_import: ["" : 18]> choose (c, x) => (y) {
            y = If(c) <then_branch = t () => (a) { k = Constant<value_float = 3.0>() a = Mul(x, k) }, else_branch = e () => (a) { a = Relu(x) }>
        }""",
    )
    after, _ = apply(before, inline_functions)
    names = [o.name for g in after.graph.subgraphs() for n in g for o in n.outputs]
    assert len(set(names)) == len(names) == 6
    assert not {"a"} & set(names)


def test_an_input_that_is_passed_through():
    before = functions(
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { y, z = f.both(x) }",
        '<domain: "f", opset_import: ["" : 18]> both (x) => (x, y) { y = Relu(x) }',
    )
    after, _ = apply(before, inline_functions)
    assert op_types(after) == ["Relu", "Identity"]
    assert [v.name for v in after.graph.outputs] == ["y", "z"]
    assert [v.name for v in after.graph.inputs] == ["x"]


def test_outputs_may_be_left_out():
    before = functions(
        "g (float[N,4] x) => (float[N,4] y) { y = f.more(x) }",
        '<domain: "f", opset_import: ["" : 18]> more (x) => (y, z) { y = Relu(x) z = Neg(x) }',
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Relu"]


def test_leaves_models_without_functions_alone():
    assert_untouched(model("g (float[N] x) => (float[N] y) { y = Relu(x) }"), inline_functions)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('<domain: "f", opset_import: ["" : 12]> two (x) => (y) { y = Softmax(x) }', "version 12"),
        ('<domain: "f", opset_import: ["" : 18, "f" : 1]> two (x) => (y) { y = f.two(x) }', "calls itself"),
    ],
)
def test_refuses_and_says_why(body, why):
    before = functions("g (float[N,4] x) => (float[N,4] y) { y = f.two(x) }", body)
    outcome = assert_untouched(before, inline_functions)
    assert "f::two" in outcome.notes[0]
    assert why in outcome.notes[0]


def test_functions_stay_when_the_file_would_grow():
    calls = " ".join(f"a{i + 1} = f.long(a{i})" for i in range(1, 40))
    lines = " ".join(f"v{i + 1} = Sin(v{i})" for i in range(30))
    before = functions(
        f"g (float[N,4] a1) => (float[N,4] a40) {{ {calls} }}",
        f'<domain: "f", opset_import: ["" : 18]> long (v0) => (v30) {{ {lines} }}',
    )
    after, records = run(before, strict=True)
    assert len(after.functions) == 1
    assert records[0].name == "inline_functions"
    assert records[0].changes == 0
    assert "larger" in records[0].notes[0]
