"""Local passes: one worklist, each node looked at once and again only near a rewrite."""

from __future__ import annotations

import onnx_ir as ir

from onnxzip.model.edit import discard, replace
from onnxzip.passes.context import Context, Fuel
from onnxzip.passes.local import local, sweep
from tests.helpers.graphs import assert_nodes, model, op_types


@local("Neg")
def cancel(node: ir.Node, context: Context) -> bool:
    """Neg(Neg(x)) is x."""
    middle = node.inputs[0]
    inner = middle.producer() if middle is not None else None
    if inner is None or inner.op_type != "Neg" or node.outputs[0].is_graph_output() or inner.inputs[0] is None:
        return False
    replace(node.outputs[0], inner.inputs[0])
    discard([node.outputs[0]])
    return True


@local("Abs", since=13)
def abs_of_neg(node: ir.Node, context: Context) -> bool:
    """Abs(Neg(x)) is Abs(x)."""
    middle = node.inputs[0]
    inner = middle.producer() if middle is not None else None
    if inner is None or inner.op_type != "Neg":
        return False
    node.replace_input_with(0, inner.inputs[0])
    discard([middle])
    return True


def negs(count: int, opset: int = 18) -> ir.Model:
    lines = " ".join(f"v{i + 1} = Neg(v{i})" for i in range(count))
    return model(
        f'<ir_version: 8, opset_import: ["" : {opset}]> g (float[N] v0) => (float[N] y) {{ {lines} y = Abs(v{count}) }}'
    )


def test_rules_run_until_none_applies():
    m = negs(9)
    outcome = sweep((cancel, abs_of_neg), m, Context(m))
    assert_nodes(m, "y = Abs(v0)")
    assert outcome.changes == sum(s.changes for s in outcome.shares.values())
    assert set(outcome.shares) == {"cancel", "abs_of_neg"}
    assert sweep((cancel, abs_of_neg), m, Context(m)).changes == 0


def test_a_rule_runs_from_its_opset_on():
    m = negs(1, opset=12)
    assert abs_of_neg(m, Context(m)).changes == 0
    assert op_types(m) == ["Neg", "Abs"]


def test_the_first_k_steps_of_two_runs_are_the_same():
    whole = Fuel()
    m = negs(9)
    sweep((cancel, abs_of_neg), m, Context(m, fuel=whole))
    assert len(whole.steps) > 2
    for limit in range(len(whole.steps)):
        part, m = Fuel(limit), negs(9)
        assert sweep((cancel, abs_of_neg), m, Context(m, fuel=part)).changes == limit
        assert part.steps == whole.steps[:limit]


def test_rules_that_undo_each_other_come_to_an_end():
    @local("Sin")
    def forth(node: ir.Node, context: Context) -> bool:
        node.op_type = "Cos"
        return True

    @local("Cos")
    def back(node: ir.Node, context: Context) -> bool:
        node.op_type = "Sin"
        return True

    m = model("g (float[N] x) => (float[N] y) { y = Sin(x) }")
    assert sweep((forth, back), m, Context(m)).changes > 100


def test_bodies_are_swept_too():
    m = model("""g (float[N] x, bool c) => (float[N] y) {
        y = If (c) <then_branch = t () => (float[N] p) { a = Neg(x) b = Neg(a) p = Abs(b) }, else_branch = e () => (float[N] q) { q = Neg(x) }>
    }""")
    assert cancel(m, Context(m)).changes == 1
    assert [n.op_type for g in m.graph.subgraphs() for n in g] == ["Abs", "Neg"]
