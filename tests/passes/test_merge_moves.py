"""Chains that only move elements become one operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxzip.passes.merge_moves import merge_moves
from onnxzip.passes.merge_reshapes import merge_reshapes
from onnxzip.passes.runner import run
from tests.helpers.graphs import initializer, model, op_types
from tests.helpers.numerics import assert_equivalent
from tests.passes.helpers import apply, assert_untouched


def ints(**lists: list[int]) -> dict[str, np.ndarray]:
    return {name: np.array(content, np.int64) for name, content in lists.items()}


SHUFFLE = "a = Reshape(x, split) b = Transpose<perm=[1,0,2]>(a) c = Reshape(b, halves)"


def halves() -> dict[str, np.ndarray]:
    return {**ints(split=[24, 2, 9], halves=[2, -1, 24, 3, 3]), "zero": np.array(0), "one": np.array(1)}


def test_case_2_a_channel_shuffle_is_two_strided_slices():
    before = model(
        f"""g (float[1,48,3,3] x) => (float[1,24,3,3] y, float[1,24,3,3] z) {{
            {SHUFFLE} d = Gather<axis=0>(c, zero) y = Relu(d) e = Gather<axis=0>(c, one) z = Relu(e) }}""",
        **halves(),
    )
    after, outcome = apply(before, merge_moves)
    assert outcome.changes == 1
    assert sorted(op_types(after)) == ["Relu", "Relu", "Slice", "Slice"]
    assert_equivalent(before, after, rtol=0)
    steps = [int(n.inputs[4].const_value.numpy()[0]) for n in after.graph if n.op_type == "Slice"]
    starts = [int(n.inputs[1].const_value.numpy()[0]) for n in after.graph if n.op_type == "Slice"]
    assert (steps, sorted(starts)) == ([2, 2], [0, 1])


def test_case_2_a_split_behind_a_shuffle_with_a_symbolic_batch():
    before = model(
        """g (float[N,96,6] x) => (float[N,48,6] y, float[N,48,6] z) {
            a = Reshape(x, split) b = Transpose<perm=[0,2,1,3]>(a) c = Reshape(b, join) d, e = Split<axis=1>(c, parts) y = Relu(d) z = Neg(e) }""",
        **ints(split=[0, 48, 2, 6], join=[0, -1, 6], parts=[48, 48]),
    )
    after, _ = apply(before, merge_moves)
    assert sorted(op_types(after)) == ["Neg", "Relu", "Slice", "Slice"]
    assert_equivalent(before, after, rtol=0)


CHAINS = [
    ("float[N,4,6] x", "a = Unsqueeze(x, i0) b = Transpose<perm=[1,0,3,2]>(a) c = Squeeze(b, i1)", "Transpose"),
    ("float[N,4,6] x", "a = Reshape(x, i0014) b = Transpose<perm=[0,1,3,2]>(a) c = Reshape(b, i04_6_1)", "Reshape"),
    ("float[N,4,6] x", "a = Slice(x, i0, i2, i1) b = Slice(a, i1, i5, i2)", "Slice"),
    (
        "float[N,4,6] x",
        "a = Transpose<perm=[0,2,1]>(x) b = Gather<axis=1>(a, list) c = Transpose<perm=[0,2,1]>(b)",
        "Gather",
    ),
]
NUMBERS = {
    **ints(i0=[0], i1=[1], i2=[2], i5=[5], i0014=[0, 4, 6, 1], i04_6_1=[0, 4, 6, 1], list=[3, 0, 3, 5]),
}


@pytest.mark.parametrize(("source", "chain", "kind"), CHAINS)
def test_case_1(source, chain, kind):
    last = chain.split(" = ")[-2].split()[-1]
    before = (
        model(
            f"g ({source}) => (float[A,B,C] y) {{ s = Relu(x) {chain.replace('(x', '(s')} y = Neg({last}) }}", **NUMBERS
        )
        if kind != "Reshape"
        else model(
            f"g ({source}) => (float[A,B,C,D] y) {{ s = Relu(x) {chain.replace('(x', '(s')} y = Neg({last}) }}",
            **NUMBERS,
        )
    )
    after, _ = apply(before, merge_moves, merge_reshapes)
    assert op_types(after) == ["Relu", kind, "Neg"]
    assert_equivalent(before, after, rtol=0)


def test_what_moves_nothing_goes():
    before = model(
        """g (float[2,4,6] x) => (float[2,4,6] y) { s = Relu(x)
            a = Reshape(s, flat) b = Transpose<perm=[1,0]>(a) c = Transpose<perm=[1,0]>(b) d = Reshape(c, full) y = Neg(d) }""",
        **ints(flat=[8, 6], full=[2, 4, 6]),
    )
    after, _ = run(before, strict=True)
    assert op_types(after) == ["Relu", "Neg"]
    assert_equivalent(before, after, rtol=0)


def test_a_graph_output_keeps_its_name():
    before = model(
        f"g (float[1,48,3,3] x) => (float[1,24,3,3] y) {{ {SHUFFLE} y = Gather<axis=0>(c, one) }}", **halves()
    )
    after, _ = apply(before, merge_moves)
    assert op_types(after) == ["Slice"]
    assert [o.name for o in after.graph.outputs] == ["y"]
    assert_equivalent(before, after, rtol=0)


@pytest.mark.parametrize(
    "text",
    [
        # the shuffled whole is no single operator
        "g (float[1,48,3,3] x) => (float[A,B,C] y) { a = Reshape(x, split) y = Transpose<perm=[1,0,2]>(a) }",
        # somebody else reads the middle
        f"g (float[1,48,3,3] x) => (float[A,B,C,D] y, float[A,B,C,D,E] z) {{ {SHUFFLE} y = Gather<axis=0>(c, one) z = Relu(c) }}",
        # the middle is an output
        "g (float[1,48,3,3] x) => (float[A,B,C,D,E] c, float[A,B,C,D] y) { "
        + SHUFFLE
        + " y = Gather<axis=0>(c, one) }",
        # the symbolic axis would be cut
        "g (float[N,4] x) => (float[M,4] y) { a = Transpose<perm=[1,0]>(x) b = Slice(a, i0, i5, i1) y = Transpose<perm=[1,0]>(b) }",
    ],
)
def test_left_alone(text):
    assert_untouched(model(text, **halves(), **ints(i0=[0], i1=[1], i5=[5])), merge_moves)


def test_computed_indices_and_unknown_shapes_are_left_alone():
    text = "g (float[4,6] x, int64[1] i) => (float[A,B] y) { a = Transpose<perm=[1,0]>(x) b = Gather<axis=0>(a, i) y = Transpose<perm=[1,0]>(b) }"
    assert_untouched(model(text), merge_moves)


def test_before_opset_10_there_are_no_steps():
    header = '<ir_version: 6, opset_import: ["" : 9]>'
    before = model(
        f"{header} g (float[1,48,3,3] x) => (float[1,24,3,3] y) {{ {SHUFFLE} y = Gather<axis=0>(c, one) }}", **halves()
    )
    assert_untouched(before, merge_moves)
    parts = "a = Slice<axes=[1],starts=[2],ends=[8]>(x) y = Slice<axes=[1],starts=[1],ends=[3]>(a)"
    before = model(f"{header} g (float[1,48,3,3] x) => (float[A,B,C,D] y) {{ {parts} }}")
    after, _ = apply(before, merge_moves)
    assert op_types(after) == ["Slice"]
    assert_equivalent(before, after, rtol=0)


def random_chain(seed: int) -> ir.Model:
    """Up to six random moves of a [2, 4, 6]."""
    rng = np.random.default_rng(seed)
    shape, lines, constants, value = [2, 4, 6], [], {}, "x"
    for i in range(int(rng.integers(2, 7))):
        kind = rng.choice(["transpose", "reshape", "slice", "gather"])
        if kind == "transpose":
            perm = [int(p) for p in rng.permutation(len(shape))]
            lines.append(f"v{i} = Transpose<perm={perm}>({value})")
            shape = [shape[p] for p in perm]
        elif kind == "reshape":
            axis = int(rng.integers(len(shape)))
            parts = [2, shape[axis] // 2] if shape[axis] % 2 == 0 and len(shape) < 5 else [shape[axis]]
            shape = shape[:axis] + parts + shape[axis + 1 :]
            constants[f"c{i}"] = np.array(shape, np.int64)
            lines.append(f"v{i} = Reshape({value}, c{i})")
        elif kind == "slice":
            axis, start = int(rng.integers(len(shape))), int(rng.integers(2))
            size = len(range(start, shape[axis], 2))
            if size == 0:
                continue
            constants |= ints(**{f"s{i}": [start], f"e{i}": [2**31], f"a{i}": [axis], f"p{i}": [2]})
            lines.append(f"v{i} = Slice({value}, s{i}, e{i}, a{i}, p{i})")
            shape[axis] = size
        else:
            axis = int(rng.integers(len(shape)))
            indices = rng.integers(0, shape[axis], 2)
            constants[f"g{i}"] = indices.astype(np.int64)
            lines.append(f"v{i} = Gather<axis={axis}>({value}, g{i})")
            shape[axis] = 2
        value = f"v{i}"
    dims = ",".join(str(d) for d in shape)
    return model(f"g (float[2,4,6] x) => (float[{dims}] y) {{ {' '.join(lines)} y = Relu({value}) }}", **constants)


@pytest.mark.parametrize("seed", range(40))
def test_random_chains(seed):
    before = random_chain(seed)
    after, _ = apply(before, merge_moves)
    assert_equivalent(before, after, rtol=0)


def test_some_random_chains_are_merged():
    assert sum(apply(random_chain(seed), merge_moves)[1].changes > 0 for seed in range(40)) > 10


def test_the_constants_are_small():
    before = model(
        f"g (float[1,48,3,3] x) => (float[1,24,3,3] y) {{ {SHUFFLE} y = Gather<axis=0>(c, one) }}", **halves()
    )
    after, _ = run(before, strict=True)
    assert len(after.graph.initializers) <= 4
    assert all(initializer(after, name).size == 1 for name in after.graph.initializers)
