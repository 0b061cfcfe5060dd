"""If, Loop and Scan: branches that are known, loops that turn once, what nobody reads, what need not be in a body."""

import numpy as np
import pytest

from onnxzip.model.walk import count_nodes
from onnxzip.passes.hoist_common import hoist_common
from onnxzip.passes.hoist_invariants import hoist_invariants
from onnxzip.passes.merge_initializers import merge_initializers
from onnxzip.passes.remove_dead import remove_dead
from onnxzip.passes.remove_noops import remove_noops
from onnxzip.passes.resolve_ifs import resolve_ifs
from onnxzip.passes.trim_bodies import trim_ifs, trim_loops
from onnxzip.passes.unroll_loops import unroll_loops
from tests.helpers.graphs import assert_nodes, model, op_types
from tests.helpers.numerics import assert_equivalent, run
from tests.passes.helpers import apply, assert_untouched

I64 = np.int64


def bodies(graph):
    return [[n.op_type for n in g] for g in graph.graph.subgraphs()]


# --- resolve_ifs


def test_if_with_a_constant_condition_case_1():
    before = model(
        """g (float[N] x) => (float[N] y, float[N] z) {
            y, z = If(c) <
                then_branch = t () => (float[N] a, float[N] b) <float[1] k = {2.0}> { a = Mul(x, k) b = Relu(a) },
                else_branch = e () => (float[N] d, float[N] f) { d = Neg(x) f = Abs(x) }>
        }""",
        c=np.bool_(True),
    )
    after, _ = apply(before, resolve_ifs)
    assert_nodes(after, "y = Mul(x, k)\nz = Relu(y)")
    assert list(after.graph.initializers) == ["c", "k"]
    assert_equivalent(before, after, rtol=0)


def test_names_that_a_sibling_uses_become_new_ones():
    before = model(
        """g (float[N] x, bool d) => (float[N] y, float[N] z) {
            p = If(c) <
                then_branch = t () => (float[N] a) { s = Neg(x) a = Relu(s) },
                else_branch = e () => (float[N] b) { b = Abs(x) }>
            z = If(d) <
                then_branch = u () => (float[N] a) { s = Abs(x) a = Sqrt(s) },
                else_branch = v () => (float[N] b) { b = Exp(x) }>
            y = Sin(p)
        }""",
        c=np.bool_(True),
    )
    after, _ = apply(before, resolve_ifs)
    assert op_types(after) == ["Neg", "Relu", "If", "Sin"]
    for d in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"x": np.array([-1, 2], np.float32), "d": np.array(d)})


@pytest.mark.parametrize(
    "branch",
    [
        "{ a = Identity(x) }",  # an input of the graph
        "<float[2] a = {1.0, 2.0}> { }",  # a constant
    ],
)
def test_outputs_that_cannot_give_their_name_get_an_identity(branch):
    before = model(
        f"""g (float[2] x) => (float[2] y) {{
            y = If(c) <
                then_branch = t () => (float[2] a) {branch},
                else_branch = e () => (float[2] b) {{ b = Neg(x) }}>
        }}""",
        c=np.bool_(True),
    )
    after, _ = apply(before, resolve_ifs)
    assert op_types(after) == ["Identity"]
    assert_equivalent(before, after, rtol=0)


def test_one_value_for_two_outputs():
    before = model(
        """g (float[2] x) => (float[2] y, float[2] z) {
            y, z = If(c) <
                then_branch = t () => (float[2] a, float[2] a2) { a = Neg(x) a2 = Identity(a) },
                else_branch = e () => (float[2] b, float[2] d) { b = Abs(x) d = Exp(x) }>
        }""",
        c=np.bool_(True),
    )
    after, _ = apply(before, resolve_ifs, remove_noops)
    assert op_types(after) == ["Neg", "Identity"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    ("test", "taken"),
    [
        ("s = Shape(x) i = Gather(s, one) c = Equal(i, four)", "Neg"),
        ("s = Shape(x) i = Gather(s, one) e = Equal(i, four) c = Not(e)", "Abs"),
        ("s = Shape(x) r = Shape(s) i = Gather(r, zero) c = Greater(i, four)", "Abs"),
        ("s = Shape(x) i = Gather(s, zero) t = Shape(w) j = Gather(t, zero) c = Equal(i, j)", "Neg"),
        ("s = Shape(x) i = Gather(s, one) c = Cast<to=9>(i)", "Neg"),
        ("s = Shape(x) i = Gather(s, zero) p = Equal(i, four) q = Less(four, zero) c = And(p, q)", "Abs"),
        ("s = Shape<start=1>(x) u = Squeeze(s) v = Sub(u, one) c = LessOrEqual(v, four)", "Neg"),
    ],
)
def test_conditions_that_follow_from_sizes(test, taken):
    before = model(
        f"""g (float[N,4] x, float[N] w) => (float[N,4] y) {{
            {test}
            y = If(c) <
                then_branch = t () => (float[N,4] a) {{ a = Neg(x) }},
                else_branch = e () => (float[N,4] b) {{ b = Abs(x) }}>
        }}""",
        zero=I64(0),
        one=I64(1),
        four=I64(4),
    )
    after, _ = apply(before, resolve_ifs, remove_dead)
    assert op_types(after) == [taken]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "test",
    [
        "s = Shape(x) i = Gather(s, zero) c = Equal(i, four)",  # N may be 4
        "s = Shape(x) i = Gather(s, zero) t = Shape(w) j = Gather(t, zero) c = Equal(i, j)",  # N may be M
        "s = Shape(x) i = Gather(s, zero) c = Cast<to=9>(i)",  # N may be 0
        "m = ReduceMax<keepdims=0>(x) c = Greater(m, half)",
    ],
)
def test_conditions_that_depend_on_the_input_are_left_alone(test):
    assert_untouched(
        model(
            f"""g (float[N,4] x, float[M] w) => (float[N,4] y) {{
                {test}
                y = If(c) <
                    then_branch = t () => (float[N,4] a) {{ a = Neg(x) }},
                    else_branch = e () => (float[N,4] b) {{ b = Abs(x) }}>
            }}""",
            zero=I64(0),
            four=I64(4),
            half=np.float32(0.5),
        ),
        resolve_ifs,
    )


SQUEEZE = """g (float[N,4,T] x) => ({type} y) {{
    s = Shape(x) i = Gather(s, two) c = Equal(i, one)
    q = If(c) <
        then_branch = t () => (float[N,4] a) {{ a = Squeeze(x, axis) }},
        else_branch = e () => (float[N,4,T] b) {{ b = Identity(x) }}>
    {rest}
}}"""


@pytest.mark.parametrize(
    "rest",
    [
        "y = Gemm(q, w)",
        "u = Unsqueeze(q, zero) k = Transpose<perm=[2,1,0]>(u) y = Squeeze(k)",
        """r = Shape(q) n = Size(r) e = Equal(n, two) d = Not(e)
           y = If(d) <
               then_branch = v () => (float[A,B] f) { f = Gemm(q, w) },
               else_branch = z () => (float[A,B] g) { h = Relu(q) g = Gemm(h, w) }>""",
    ],
)
def test_squeeze_that_must_have_happened_case_2(rest):
    before = model(
        SQUEEZE.format(rest=rest, type="float[A,B]"),
        two=I64(2),
        one=I64(1),
        axis=np.array([-1]),
        zero=np.array([0]),
        w=np.ones((4, 3), np.float32),
    )
    after, _ = apply(before, resolve_ifs, remove_dead)
    assert "Squeeze" in op_types(after)
    assert "Gather" not in op_types(after)
    batch = {"x": np.arange(8, dtype=np.float32).reshape(2, 4, 1)}
    assert_equivalent(before, after, rtol=0, batch=batch)
    for graph in (before, after):
        with pytest.raises(Exception, match=r"."):
            run(graph, {"x": np.ones((2, 4, 3), np.float32)})


@pytest.mark.parametrize(
    ("rest", "axis", "one"),
    [
        ("y = Relu(q)", -1, 1),  # any rank will do
        ("y = Gemm(q, w)", 0, 1),  # another axis than the one that is tested
        ("y = Gemm(q, w)", -1, 2),
    ],
)
def test_squeezes_that_may_not_have_happened_are_left_alone(rest, axis, one):
    text = SQUEEZE.format(rest=rest, type="float[A,B]")
    assert_untouched(
        model(text, two=I64(2), one=I64(one), axis=np.array([axis]), w=np.ones((4, 3), np.float32)), resolve_ifs
    )


@pytest.mark.parametrize(
    ("last", "resolved"),
    [("d = Add(q, k)", 1), ("d = Add(k, q)", 0), ("d = Sub(q, k)", 0), ("d = Add(q, r)", 0)],
)
def test_branches_that_are_the_same_case_3(last, resolved):
    before = model(
        f"""g (bool c, float[2] x) => (float[2] y) {{
            y = If(c) <
                then_branch = t () => (float[2] a) <float[1] k = {{2.0}}> {{ p = Sin(x) a = Add(p, k) }},
                else_branch = e () => (float[2] d) <float[1] k = {{2.0}}, float[1] r = {{3.0}}> {{ q = Sin(x) {last} }}>
        }}"""
    )
    after, outcome = apply(before, resolve_ifs)
    assert outcome.changes == resolved  # the operands must be in the same order as well
    assert ("If" in op_types(after)) == (not resolved)
    for branch in (False, True):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(branch), "x": np.ones(2, np.float32)})


def test_random_branches_are_left_alone():
    assert_untouched(
        model(
            """g (bool c, float[2] x) => (float[2] y) {
                y = If(c) <
                    then_branch = t () => (float[2] a) { a = RandomNormalLike(x) },
                    else_branch = e () => (float[2] b) { b = RandomNormalLike(x) }>
            }"""
        ),
        resolve_ifs,
        hoist_common,
    )


# --- hoist_common, merge_initializers


def test_what_both_branches_compute_is_hoisted():
    before = model(
        """g (bool c, float[2] x) => (float[2] y, float[2] z) {
            y, z = If(c) <
                then_branch = t () => (float[2] a, float[2] m) <float[1] k = {2.0}> { p = Sin(x) q = Mul(p, k) a = Neg(q) m = Cos(x) },
                else_branch = e () => (float[2] b, float[2] n) <float[1] k = {2.0}> { p = Sin(x) q = Mul(p, k) b = Abs(q) n = Cos(x) }>
        }"""
    )
    after, _ = apply(before, merge_initializers, hoist_common)
    assert op_types(after) == ["Sin", "Mul", "Cos", "If"]
    assert bodies(after) == [["Neg"], ["Abs"]]
    assert list(after.graph.initializers) == ["k_1"]
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": np.array([-1, 2], np.float32)})


def test_nodes_at_other_places_are_not_hoisted():
    assert_untouched(
        model(
            """g (bool c, float[2] x) => (float[2] y, float[2] z) {
                y, z = If(c) <
                    then_branch = t () => (float[2] a, float[2] m) { a = Sin(x) m = Cos(x) },
                    else_branch = e () => (float[2] b, float[2] n) { b = Cos(x) n = Sin(x) }>
            }"""
        ),
        hoist_common,
    )


# --- unroll_loops


LOOP = """g (float[2] x) => ({outputs}) {{
    y, s = Loop({given}, x) <body = b (int64 i, bool ci, float[2] v) => (bool co, float[2] w, float[2] t) <float[1] one = {{1.0}}> {{
        co = Identity(ci) f = Cast<to=1>(i) u = Add(v, one) w = Add(u, f) t = Neg(v)
    }}>
}}"""


@pytest.mark.parametrize("given", ["m, ", "m, yes"])
def test_one_turn_is_the_body(given):
    text = LOOP.format(given=given, outputs="float[2] y, float[1,2] s")
    before = model(text, m=I64(1), yes=np.bool_(True))
    after, _ = apply(before, unroll_loops, remove_dead)
    assert "Loop" not in op_types(after)
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize("given", ["m, ", ", no", "m, no"])
def test_no_turn_is_nothing(given):
    before = model(LOOP.format(given=given, outputs="float[2] y"), m=I64(0), no=np.bool_(False))
    after, _ = apply(before, unroll_loops, remove_dead)
    assert_nodes(after, "y = Identity(x)")
    assert_equivalent(before, after, rtol=0)


def test_other_loops_are_left_alone():
    text = LOOP.format(given="m, ", outputs="float[2] y, float[K,2] s")
    assert_untouched(model(text, m=I64(3)), unroll_loops)
    assert_untouched(model(text, m=I64(0)), unroll_loops)  # the shape of an empty scan output
    condition = "g (bool c, float[2] x)"
    text = LOOP.format(given="m, c", outputs="float[2] y, float[K,2] s").replace("g (float[2] x)", condition)
    assert_untouched(model(text, m=I64(1)), unroll_loops)


# --- trim_ifs, trim_loops


def test_outputs_of_an_if_that_nobody_reads_go():
    before = model(
        """g (bool c, float[2] x) => (float[2] y) {
            o, y, q = If(c) <
                then_branch = t () => (float[2] a, float[2] b, float[2] d) { a = Sin(x) b = Neg(x) d = Exp(a) },
                else_branch = e () => (float[2] f, float[2] g, float[2] h) { f = Cos(x) g = Abs(x) h = Exp(f) }>
        }"""
    )
    after, _ = apply(before, trim_ifs, remove_dead)
    assert bodies(after) == [["Neg"], ["Abs"]]
    for c in (True, False):
        assert_equivalent(before, after, rtol=0, batch={"c": np.array(c), "x": np.array([-1, 2], np.float32)})


def test_what_a_loop_carries_for_nothing_goes():
    before = model(
        """g (int64 m, float[2] x, float[2] k) => (float[2] y) {
            d, y, u, s = Loop(m, , x, x, k) <
                body = b (int64 i, bool ci, float[2] dead, float[2] v, float[2] same) => (bool co, float[2] dead2, float[2] w, float[2] same2, float[2] t) {
                    co = Identity(ci) dead2 = Sin(dead) w = Add(v, same) same2 = Identity(same) t = Neg(v)
                }>
        }"""
    )
    after, _ = apply(before, trim_loops, remove_dead)
    assert bodies(after) == [["Identity", "Add"]]
    (loop,) = after.graph
    assert (len(loop.inputs), len(loop.outputs)) == (3, 1)
    for m in (0, 1, 3):
        two = np.array([-1, 2], np.float32)
        assert_equivalent(before, after, rtol=0, batch={"m": np.array(m), "x": two, "k": two})


def test_what_another_carried_value_needs_stays():
    before = model(
        """g (int64 m, float[2] x) => (float[2] y) {
            a, y = Loop(m, , x, x) <
                body = b (int64 i, bool ci, float[2] p, float[2] v) => (bool co, float[2] q, float[2] w) {
                    co = Identity(ci) q = Sin(p) w = Add(v, p)
                }>
        }"""
    )
    assert_untouched(before, trim_loops)


def test_scans_are_trimmed():
    before = model(
        """g (float[2] h, float[T,2] x, float[2,T] z) => (float[2,T] y) {
            n, o, y, r = Scan(h, x, z) <num_scan_inputs=2, scan_input_axes=[0,1], scan_output_axes=[0,1,0],
                body = b (float[2] s, float[2] v, float[2] w) => (float[2] t, float[2] p, float[2] q, float[2] u) {
                    t = Add(s, v) p = Neg(v) q = Exp(w) u = Abs(w)
                }>
        }"""
    )
    after, _ = apply(before, trim_loops, remove_dead)
    (scan,) = after.graph
    assert bodies(after) == [["Exp"]]
    assert scan.attributes.get_ints("scan_input_axes") == (1,)
    assert scan.attributes.get_ints("scan_output_axes") == (1,)
    assert [v.name for v in scan.inputs] == ["z"]
    assert_equivalent(before, after, rtol=0)


def test_one_scan_input_stays():
    before = model(
        """g (float[2] h, float[T,2] x, float[T,2] z) => (float[2] n) {
            n = Scan(h, x, z) <num_scan_inputs=2,
                body = b (float[2] s, float[2] v, float[2] w) => (float[2] t) { t = Sin(s) }>
        }"""
    )
    after, _ = apply(before, trim_loops)
    (scan,) = after.graph
    assert [v.name for v in scan.inputs] == ["h", "x"]
    assert_equivalent(before, after, rtol=0)


# --- hoist_invariants


INVARIANT = """g (int64 n, float[2] x, float[2] k) => (float[2] y) {{
    y = Loop({given}, x) <body = b (int64 i, bool ci, float[2] v) => (bool co, float[2] w) <float[1] two = {{2.0}}> {{
        co = Identity(ci) e = Exp(k) f = Mul(e, two) r = RandomNormalLike(k) z = Sub(r, r) g = Add(v, z) w = Add(g, f)
    }}>
}}"""


def test_what_does_not_change_is_computed_once():
    before = model(INVARIANT.format(given="m, "), m=I64(3))
    after, _ = apply(before, hoist_invariants)
    assert op_types(after) == ["Exp", "Mul", "Loop"]
    assert "RandomNormalLike" in bodies(after)[0]
    two = np.array([-1, 2], np.float32)
    assert_equivalent(before, after, rtol=0, batch={"n": np.array(1), "x": two, "k": two})


def test_bodies_that_may_never_run_are_left_alone():
    assert_untouched(model(INVARIANT.format(given="n, ")), hoist_invariants)
    assert_untouched(model(INVARIANT.format(given="m, "), m=I64(0)), hoist_invariants)
    assert count_nodes(model(INVARIANT.format(given="n, "))) == 8
