import gc
import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.errors import PassError
from onnxzip.model.save import to_proto
from onnxzip.model.walk import count_nodes
from onnxzip.passes import PASSES
from onnxzip.passes.context import Context, Outcome
from onnxzip.passes.remove_noops import remove_noops
from onnxzip.passes.runner import run
from tests.helpers.graphs import model, op_types
from tests.helpers.large_graphs import (
    constant_chain,
    many_initializers,
    many_readers,
    mixed_graph,
    nested_ifs,
    shared_constant,
    unary_chain,
)
from tests.helpers.numerics import assert_equivalent

TEXT = "g (float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Identity(a) c = Neg(b) y = Neg(c) }"


def throws(graph: ir.Model, context: Context) -> Outcome:
    graph.graph.remove(graph.graph[-1])
    raise KeyError("half way")


def breaks(graph: ir.Model, context: Context) -> Outcome:
    graph.graph[0].outputs[0].name = "y"
    return Outcome(1)


def renames(graph: ir.Model, context: Context) -> Outcome:
    graph.graph.outputs[0].name = "other"
    return Outcome(1)


def grows(graph: ir.Model, context: Context) -> Outcome:
    graph.graph.doc_string = "x" * 500
    return Outcome(1)


def lies(graph: ir.Model, context: Context) -> Outcome:
    for node in graph.graph:
        if node.op_type == "Relu":
            node.op_type = "Abs"
            return Outcome(1)
    return Outcome()


def never_settles(graph: ir.Model, context: Context) -> Outcome:
    graph.graph.doc_string = "a" if graph.graph.doc_string == "b" else "b"
    return Outcome(1)


BAD = [(throws, "threw KeyError"), (breaks, "name that is taken"), (renames, "output"), (grows, "grow from")]


@pytest.mark.parametrize(("bad", "why"), BAD)
def test_a_bad_pass_is_taken_back_and_the_rest_goes_on(bad, why):
    before = model(TEXT)
    after, records = run(before, (remove_noops, bad))
    assert op_types(after) == ["Relu", "Neg", "Neg"]
    assert [r.name for r in records] == ["remove_noops", bad.__name__]
    assert why in records[1].taken_back
    assert records[1].changes == 0
    assert records[0].changes == 1
    assert records[0].taken_back is None
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(("bad", "why"), BAD)
def test_strict_raises_and_names_the_pass(bad, why):
    with pytest.raises(PassError, match=f"{bad.__name__}.*{why}"):
        run(model(TEXT), (remove_noops, bad), strict=True)


def test_numbers_are_verified_where_the_caller_can():
    before, seen = model(TEXT), []

    def verify(candidate: ir.Model) -> str | None:
        seen.append(op_types(candidate))
        return "the numbers differ" if "Abs" in op_types(candidate) else None

    after, records = run(before, (lies, remove_noops), verify=verify)
    assert op_types(after) == ["Relu", "Neg", "Neg"]
    assert records[0].taken_back == "the numbers differ"
    assert len(seen) == 2
    with pytest.raises(PassError, match="numbers differ"):
        run(before, (lies,), verify=verify, strict=True)


def test_the_given_model_is_never_touched():
    before = model(TEXT)
    bytes_before = to_proto(before).SerializeToString(deterministic=True)
    run(before)
    assert to_proto(before).SerializeToString(deterministic=True) == bytes_before


def test_two_runs_give_the_same_bytes():
    before = model(
        "g (float[N,3,8,8] x) => (float[N,4,8,8] y) { a = Conv(x, w) b = Mul(a, s) c = Mul(b, s) d = Sin(c) e = Sin(c) y = Add(d, e) }",
        w=np.ones((4, 3, 1, 1), np.float32),
        s=np.full((4, 1, 1), 2, np.float32),
    )
    first, second = (to_proto(run(before)[0]).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_strict_and_lenient_runs_agree():
    before = model(TEXT)
    assert to_proto(run(before)[0]) == to_proto(run(before, strict=True)[0])


def test_the_fixed_point_has_a_bound():
    calls = []

    def counted(graph: ir.Model, context: Context) -> Outcome:
        calls.append(None)
        return never_settles(graph, context)

    before = model(TEXT)
    before.graph.doc_string = "a"
    _, records = run(before, (counted,), rounds=5)
    assert len(calls) == 5
    assert records[0].changes == 5


def test_every_pass_runs_until_nothing_changes():
    before = model(TEXT)
    after, records = run(before, strict=True)
    assert [r.name for r in records] == [p.__name__ for p in PASSES]
    assert run(after, strict=True)[0].graph.num_nodes() == after.graph.num_nodes()
    assert sum(r.changes for r in run(after, strict=True)[1]) == 0
    assert all(r.seconds >= 0 for r in records)
    assert {r.nodes for r in records if not r.changes} == {after.graph.num_nodes()}


def test_what_was_odd_before_is_nobodys_fault():
    before = model(TEXT)
    before.graph[1].outputs[0].name = "a"  # a name twice; onnxruntime would refuse it, the passes need not
    _, records = run(before, (remove_noops,))
    assert records[0].taken_back is None


def test_old_ir_versions_are_raised_when_a_constant_is_no_input():
    before = model(TEXT)
    before.ir_version = 3
    assert run(before, (remove_noops,))[0].ir_version == 3
    lifted = model("g (float[N,4] x) => (float[N,4] y) { a = Constant<value = float {2.0}>() y = Add(x, a) }")
    lifted.ir_version = 3
    assert run(lifted, strict=True)[0].ir_version == 4


@pytest.mark.parametrize(
    ("build", "limit"),
    [
        (mixed_graph, 6),
        *((b, 8) for b in (unary_chain, shared_constant, many_readers, many_initializers, constant_chain)),
    ],
)
def test_the_cost_grows_with_the_graph(build, limit):
    """Four times the nodes take about four times as long; sixteen times would be the square."""

    def seconds(count: int) -> float:
        graph = build(count)
        start = time.process_time()
        run(graph, strict=True)
        return time.process_time() - start

    seconds(100)
    gc.collect()
    gc.freeze()  # what other tests left behind is not this graph's cost
    try:
        small, large = (min(seconds(count) for _ in range(2)) for count in (1000, 4000))
    finally:
        gc.unfreeze()
    assert large < limit * small


@pytest.mark.parametrize(
    ("build", "left"),
    [(mixed_graph, 0.7), (unary_chain, 0.51), (many_readers, 0.51), (many_initializers, 1), (constant_chain, 0.01)],
)
def test_what_can_go_goes_from_large_graphs_too(build, left):
    after, _ = run(build(3000), strict=True)
    assert count_nodes(after) <= left * 3000 + 2


def test_bodies_may_be_nested_deeply():
    """Deeper than a protobuf can be parsed; so no file holds more."""
    before = nested_ifs(50)
    after, _ = run(before, strict=True)
    assert count_nodes(after) == count_nodes(before) - 1


INLINED = """
<ir_version: 8, opset_import: ["" : 18, "f" : 1]>
g (float[N,4] x) => (float[N,4] y) { a = f.long_function(x) b = f.long_function(a) y = f.long_function(b) }
<domain: "f", opset_import: ["" : 18]>
long_function (x) => (y) { c = Constant<value = float[4] {1.5, 2.5, 3.5, 4.5}>() d = Add(x, c) e = Identity(d) y = Relu(e) }
"""


def test_passes_after_one_that_may_grow_the_file_are_not_to_blame_for_it():
    before = model(INLINED)
    after, records = run(before, verify=lambda m: None, strict=True)
    assert op_types(after) == ["Add", "Relu"] * 3
    assert not [r.notes for r in records if r.notes]


def test_a_table_may_grow_the_file_until_it_is_folded():
    table = np.arange(32, dtype=np.float32).reshape(4, 8)
    before = model("g (int64[N] i) => (float[N,8] y) { r = Gather(t, i) y = Neg(r) }", t=table)
    for verify in (None, lambda m: None):
        after, _ = run(before, verify=verify, strict=True)
        assert op_types(after) == ["Gather"]
        assert_equivalent(before, after, rtol=0, batch={"i": np.array([0, 3])})
