import numpy as np

from onnxzip.passes.remove_dead import remove_dead
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def test_nodes_initializers_and_imports_that_nobody_reads_go():
    before = model(
        '<ir_version: 8, opset_import: ["" : 18, "com.unused" : 1]> g (float[N,4] x, float[N,4] z) => (float[N,4] y) { a = Add(z, k) b = Neg(a) y = Relu(x) }',
        k=np.ones((4,), np.float32),
    )
    after, outcome = apply(before, remove_dead)
    assert outcome.changes == 4
    assert_nodes(after, "y = Relu(x)")
    assert not after.graph.initializers
    assert list(after.graph.opset_imports) == [""]
    assert [v.name for v in after.graph.inputs] == ["x", "z"]
    assert_equivalent(before, after, rtol=0)


def test_what_only_a_dead_body_read_goes_too():
    before = model(
        """g (bool c, float[N,4] x) => (float[N,4] y) {
            d = Add(x, k)
            z = If(c) <then_branch = t () => (float[N,4] a) { a = Neg(d) }, else_branch = e () => (float[N,4] b) { b = Relu(d) }>
            y = Relu(x)
        }""",
        k=np.ones((4,), np.float32),
    )
    after, _ = apply(before, remove_dead)
    assert op_types(after) == ["Relu"]
    assert not after.graph.initializers


def test_bodies_are_cleaned():
    before = model(
        """g (bool c, float[N,4] x) => (float[N,4] y) {
            y = If(c) <
                then_branch = t () => (float[N,4] a) <float k = {1.0}, float l = {2.0}> { p = Add(x, k) q = Neg(p) a = Mul(x, l) },
                else_branch = e () => (float[N,4] b) { b = Relu(x) }>
        }"""
    )
    after, outcome = apply(before, remove_dead)
    assert outcome.changes == 3
    body = next(iter(after.graph.subgraphs()))
    assert list(body.initializers) == ["l"]
    assert_equivalent(before, after, rtol=0)


def test_optional_outputs_that_nobody_reads_go():
    before = model("g (float[N,1,4,4] x) => (float[N,1,3,3] y) { a, i = MaxPool<kernel_shape=[2,2]>(x) y = Relu(a) }")
    after, outcome = apply(before, remove_dead)
    assert outcome.changes == 1
    assert len(after.graph[0].outputs) == 1
    assert_equivalent(before, after, rtol=0)


def test_functions_that_nobody_calls_go():
    import onnx

    from onnxzip.model.load import load

    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18, "f" : 1]> g (float[N] x) => (float[N] y) { y = f.one(x) }'
        '<domain: "f", opset_import: ["" : 18]> one (x) => (y) { y = Relu(x) }'
        '<domain: "f", opset_import: ["" : 18]> two (x) => (y) { y = Neg(x) }'
    )
    after, outcome = apply(load(proto).model, remove_dead)
    assert outcome.changes == 1
    assert [f.name for f in after.functions.values()] == ["one"]


def test_leaves_alone():
    before = model(
        """g (float[N,1,4,4] x, float[4] k) => (float[N,1,3,3] y, int64[N,1,3,3] i, float[N,4,4] r) {
            y, i = MaxPool<kernel_shape=[2,2]>(x) a, r = Split<axis=1, split=[0,1]>(x)
        }""".replace(
            "a, r = Split<axis=1, split=[0,1]>(x)",
            "s = Squeeze(x, axes) t = Split<axis=1, num_outputs=1>(s) r = Identity(t)",
        ),
        k=np.ones((4,), np.float32),
        axes=np.array([1], np.int64),
    )
    assert_untouched(before, remove_dead)


def test_refuses_unknown_domains_and_says_so():
    before = model(
        '<ir_version: 8, opset_import: ["" : 18, "my.ops" : 1]> g (float[N] x) => (float[N] y) { a = my.ops.Log(x) y = Relu(x) }'
    )
    outcome = assert_untouched(before, remove_dead)
    assert outcome.notes == ("Log 'a' is not read, but stays: operators of domain 'my.ops' may have effects",)


def test_a_loop_keeps_the_inputs_that_it_must_have():
    before = model("""g (int64 n) => (float[K] y) {
        c = Constant <value = bool {1}> ()
        y = Loop (n, c) <body = b (int64 i, bool k) => (bool k2, float f) { k2 = Identity(k) f = Cast <to = 1> (i) }>
    }""")
    loop = next(n for n in before.graph if n.op_type == "Loop")
    loop.replace_input_with(1, None)  # no condition, which still counts as an input
    after, _ = apply(before, remove_dead)
    assert op_types(after) == ["Loop"]
    assert len(next(iter(after.graph)).inputs) == 2
